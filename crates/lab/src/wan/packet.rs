//! IPv4 packets as they come from a TUN device with a virtio header: reading
//! them, and splitting super-packets into the packets a wire would carry.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use model::flow::FlowKey;
use model::inventory::Transport;

/// `struct virtio_net_hdr`, before every packet.
pub const HEADER: usize = 10;

const GSO_TCPV4: u8 = 1;
const GSO_UDP_L4: u8 = 5;
const TCP: u8 = 6;
const UDP: u8 = 17;
const FIN_AND_PSH: u8 = 0x09;

/// What the WAN needs to know of a packet, super or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    /// `None` for anything but UDP or TCP, and for later fragments.
    pub flow: Option<FlowKey>,
    /// `None` for a packet that is whole.
    pub fragment: Option<Fragment>,
    /// Packets that a wire would carry.
    pub segments: u64,
    /// UDP or TCP payload of them all.
    pub payload: u64,
    /// Bytes on the wire, IP headers of every segment included.
    pub wire_bytes: u64,
}

/// A part of a packet that was too large for the wire. Only the first says which
/// flow it is of; all of them have the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    pub number: u16,
    pub last: bool,
}

/// Reads a packet with its virtio header; `None` for what is not whole IPv4.
pub fn parse(frame: &[u8]) -> Option<Packet> {
    let ip = frame.get(HEADER..)?;
    if ip.len() < 20 || ip[0] >> 4 != 4 {
        return None;
    }
    let ip_header = usize::from(ip[0] & 0x0f) * 4;
    let source = address(ip, 12);
    let destination = address(ip, 16);
    let transport = transport(ip, ip_header);
    let headers = ip_header + transport.as_ref().map_or(0, |t| t.header);
    let payload = ip.len().saturating_sub(headers) as u64;
    let segments = match gso_size(frame) {
        Some(size) if size > 0 => payload.div_ceil(size as u64).max(1),
        _ => 1,
    };
    Some(Packet {
        source,
        destination,
        flow: transport.map(|t| t.flow(source, destination)),
        fragment: fragment(ip),
        segments,
        payload,
        wire_bytes: payload + segments * headers as u64,
    })
}

fn fragment(ip: &[u8]) -> Option<Fragment> {
    const MORE: u16 = 0x2000;
    const OFFSET: u16 = 0x1fff;
    let word = u16::from_be_bytes([ip[6], ip[7]]);
    (word & (MORE | OFFSET) != 0).then(|| Fragment {
        number: u16::from_be_bytes([ip[4], ip[5]]),
        last: word & MORE == 0,
    })
}

struct TransportHeader {
    kind: Transport,
    source_port: u16,
    destination_port: u16,
    header: usize,
}

impl TransportHeader {
    fn flow(&self, source: Ipv4Addr, destination: Ipv4Addr) -> FlowKey {
        FlowKey {
            transport: self.kind,
            source: SocketAddr::V4(SocketAddrV4::new(source, self.source_port)),
            destination: SocketAddr::V4(SocketAddrV4::new(destination, self.destination_port)),
        }
    }
}

fn transport(ip: &[u8], ip_header: usize) -> Option<TransportHeader> {
    let fragment_offset = u16::from_be_bytes([ip[6], ip[7]]) & 0x1fff;
    let body = ip.get(ip_header..).filter(|_| fragment_offset == 0)?;
    let (kind, header) = match ip[9] {
        UDP if body.len() >= 8 => (Transport::Udp, 8),
        TCP if body.len() >= 20 => (Transport::Tcp, usize::from(body[12] >> 4) * 4),
        _ => return None,
    };
    let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    Some(TransportHeader {
        kind,
        source_port: port(0),
        destination_port: port(2),
        header,
    })
}

fn address(ip: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3])
}

/// Payload bytes of each segment; `None` where the packet is no super-packet.
fn gso_size(frame: &[u8]) -> Option<usize> {
    match frame[1] & 0x7f {
        GSO_TCPV4 | GSO_UDP_L4 => Some(usize::from(u16::from_le_bytes([frame[4], frame[5]]))),
        _ => None,
    }
}

/// The packets that a wire would carry, each with a virtio header of its own and
/// whole checksums.
pub fn split(frame: &[u8]) -> Vec<Vec<u8>> {
    let Some(size) = gso_size(frame).filter(|size| *size > 0) else {
        return vec![frame.to_vec()];
    };
    let ip = &frame[HEADER..];
    let ip_header = usize::from(ip[0] & 0x0f) * 4;
    let Some(transport) = transport(ip, ip_header) else {
        return vec![frame.to_vec()];
    };
    let headers = ip_header + transport.header;
    let Some(payload) = ip.get(headers..) else {
        return vec![frame.to_vec()];
    };
    let count = payload.len().div_ceil(size).max(1);
    (0..count)
        .map(|index| {
            let part = &payload[index * size..payload.len().min((index + 1) * size)];
            segment(
                &ip[..headers],
                ip_header,
                &transport,
                part,
                index,
                index * size,
                index + 1 == count,
            )
        })
        .collect()
}

fn segment(
    headers: &[u8],
    ip_header: usize,
    transport: &TransportHeader,
    part: &[u8],
    index: usize,
    offset: usize,
    last: bool,
) -> Vec<u8> {
    let mut out = vec![0; HEADER];
    out.extend_from_slice(headers);
    out.extend_from_slice(part);
    let ip = &mut out[HEADER..];
    let total = u16::try_from(ip.len()).unwrap_or(u16::MAX);
    let id = u16::from_be_bytes([ip[4], ip[5]]).wrapping_add(u16::try_from(index).unwrap_or(0));
    put(ip, 2, total);
    put(ip, 4, id);
    let body = &mut ip[ip_header..];
    match transport.kind {
        Transport::Tcp => {
            let sequence = u32::from_be_bytes([body[4], body[5], body[6], body[7]]);
            let sequence = sequence.wrapping_add(u32::try_from(offset).unwrap_or(0));
            body[4..8].copy_from_slice(&sequence.to_be_bytes());
            if !last {
                body[13] &= !FIN_AND_PSH;
            }
        }
        Transport::Udp => put(body, 4, u16::try_from(8 + part.len()).unwrap_or(u16::MAX)),
    }
    fill_checksums(ip, ip_header, transport.kind);
    out
}

fn fill_checksums(ip: &mut [u8], ip_header: usize, kind: Transport) {
    put(ip, 10, 0);
    let sum = checksum(&ip[..ip_header], 0);
    put(ip, 10, sum);
    let (at, protocol) = match kind {
        Transport::Tcp => (ip_header + 16, TCP),
        Transport::Udp => (ip_header + 6, UDP),
    };
    put(ip, at, 0);
    let length = ip.len() - ip_header;
    let pseudo = sum_words(&ip[12..20]) + u32::from(protocol) + u32::try_from(length).unwrap_or(0);
    let sum = checksum(&ip[ip_header..], pseudo);
    put(
        ip,
        at,
        if sum == 0 && kind == Transport::Udp {
            0xffff
        } else {
            sum
        },
    );
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

fn sum_words(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])))
        .sum()
}

fn checksum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = start + sum_words(bytes);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp(payload: usize, gso: u16) -> Vec<u8> {
        let mut frame = vec![0; HEADER];
        if gso > 0 {
            frame[1] = GSO_UDP_L4;
            frame[4..6].copy_from_slice(&gso.to_le_bytes());
        }
        let mut ip = vec![
            0x45, 0, 0, 0, 0, 7, 0x40, 0, 64, UDP, 0, 0, 198, 18, 1, 10, 198, 18, 2, 10,
        ];
        put(&mut ip, 2, u16::try_from(28 + payload).unwrap());
        ip.extend_from_slice(&[0x10, 0x00, 0x20, 0x00, 0, 0, 0, 0]);
        ip.extend((0..payload).map(|i| (i % 251) as u8));
        frame.extend(ip);
        frame
    }

    #[test]
    fn forty_datagrams_in_one_read_are_forty_packets() {
        let frame = udp(40 * 1200, 1200);
        let packet = parse(&frame).unwrap();
        assert_eq!(
            (packet.segments, packet.payload, packet.wire_bytes),
            (40, 48_000, 48_000 + 40 * 28)
        );
        let parts = split(&frame);
        assert_eq!(parts.len(), 40);
        for part in &parts {
            let one = parse(part).unwrap();
            assert_eq!((one.segments, one.payload), (1, 1200));
            assert_eq!(one.flow, packet.flow);
            assert_eq!(part[..2], [0, 0], "a whole packet with a finished checksum");
        }
    }

    #[test]
    fn split_packets_have_right_checksums() {
        for part in split(&udp(2500, 1200)) {
            let ip = &part[HEADER..];
            assert_eq!(checksum(&ip[..20], 0), 0, "IP header");
            let pseudo =
                sum_words(&ip[12..20]) + u32::from(UDP) + u32::try_from(ip.len() - 20).unwrap();
            assert_eq!(checksum(&ip[20..], pseudo), 0, "UDP");
        }
    }

    #[test]
    fn the_last_segment_is_what_is_left() {
        let sizes: Vec<_> = split(&udp(2500, 1200))
            .iter()
            .map(|p| parse(p).unwrap().payload)
            .collect();
        assert_eq!(sizes, [1200, 1200, 100]);
    }

    #[test]
    fn what_is_not_ipv4_is_nothing() {
        assert_eq!(parse(&[0; HEADER + 40]), None);
        assert_eq!(parse(&[0; 3]), None);
    }
}
