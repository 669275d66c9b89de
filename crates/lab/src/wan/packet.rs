//! IP packets as they come from a TUN device with a virtio header: reading
//! them, and splitting super-packets into the packets a wire would carry.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use model::flow::FlowKey;
use model::inventory::Transport;

/// `struct virtio_net_hdr`, before every packet.
pub const HEADER: usize = 10;

const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const TCP: u8 = 6;
const UDP: u8 = 17;
const FIN_AND_PSH: u8 = 0x09;

/// What the WAN needs to know of a packet, super or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    pub source: IpAddr,
    pub destination: IpAddr,
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
    pub number: u32,
    pub last: bool,
}

/// Reads a packet with its virtio header; `None` for what is not whole IP.
pub fn parse(frame: &[u8]) -> Option<Packet> {
    let ip = frame.get(HEADER..)?;
    let network = Network::read(ip)?;
    let transport = network.transport(ip);
    let headers = network.header + transport.as_ref().map_or(0, |t| t.header);
    let payload = ip.len().saturating_sub(headers) as u64;
    let segments = match gso_size(frame) {
        Some(size) if size > 0 => payload.div_ceil(size as u64).max(1),
        _ => 1,
    };
    Some(Packet {
        source: network.source,
        destination: network.destination,
        flow: transport.map(|t| t.flow(&network)),
        fragment: network.fragment,
        segments,
        payload,
        wire_bytes: payload + segments * headers as u64,
    })
}

/// The IP header, with extension headers where it is IPv6.
struct Network {
    source: IpAddr,
    destination: IpAddr,
    /// Bytes before the transport header.
    header: usize,
    protocol: u8,
    fragment: Option<Fragment>,
    /// A later fragment has no transport header.
    is_later_fragment: bool,
}

impl Network {
    fn read(ip: &[u8]) -> Option<Self> {
        match ip.first()? >> 4 {
            4 if ip.len() >= 20 => Some(Self::read_v4(ip)),
            6 if ip.len() >= 40 => Some(Self::read_v6(ip)),
            _ => None,
        }
    }

    fn read_v4(ip: &[u8]) -> Self {
        const MORE: u16 = 0x2000;
        const OFFSET: u16 = 0x1fff;
        let word = u16::from_be_bytes([ip[6], ip[7]]);
        let fragment = (word & (MORE | OFFSET) != 0).then(|| Fragment {
            number: u32::from(u16::from_be_bytes([ip[4], ip[5]])),
            last: word & MORE == 0,
        });
        let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
        Self {
            source: address(12).into(),
            destination: address(16).into(),
            header: usize::from(ip[0] & 0x0f) * 4,
            protocol: ip[9],
            fragment,
            is_later_fragment: word & OFFSET != 0,
        }
    }

    fn read_v6(ip: &[u8]) -> Self {
        const HOP_BY_HOP: u8 = 0;
        const ROUTING: u8 = 43;
        const FRAGMENT: u8 = 44;
        const DESTINATION: u8 = 60;
        let mut network = Self {
            source: v6_address(ip, 8),
            destination: v6_address(ip, 24),
            header: 40,
            protocol: ip[6],
            fragment: None,
            is_later_fragment: false,
        };
        while let Some(extension) = ip.get(network.header..).filter(|rest| rest.len() >= 8) {
            let length = match network.protocol {
                HOP_BY_HOP | ROUTING | DESTINATION => (usize::from(extension[1]) + 1) * 8,
                FRAGMENT => {
                    let word = u16::from_be_bytes([extension[2], extension[3]]);
                    let number = [extension[4], extension[5], extension[6], extension[7]];
                    network.is_later_fragment = word & !7 != 0;
                    network.fragment = Some(Fragment {
                        number: u32::from_be_bytes(number),
                        last: word & 1 == 0,
                    });
                    8
                }
                _ => break,
            };
            network.protocol = extension[0];
            network.header += length;
        }
        network
    }

    fn transport(&self, ip: &[u8]) -> Option<TransportHeader> {
        let body = ip.get(self.header..).filter(|_| !self.is_later_fragment)?;
        let (kind, header) = match self.protocol {
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
}

fn v6_address(ip: &[u8], at: usize) -> IpAddr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&ip[at..at + 16]);
    Ipv6Addr::from(octets).into()
}

struct TransportHeader {
    kind: Transport,
    source_port: u16,
    destination_port: u16,
    header: usize,
}

impl TransportHeader {
    fn flow(&self, network: &Network) -> FlowKey {
        FlowKey {
            transport: self.kind,
            source: SocketAddr::new(network.source, self.source_port),
            destination: SocketAddr::new(network.destination, self.destination_port),
        }
    }
}

/// Payload bytes of each segment; `None` where the packet is no super-packet.
fn gso_size(frame: &[u8]) -> Option<usize> {
    match frame[1] & 0x7f {
        GSO_TCPV4 | GSO_TCPV6 | GSO_UDP_L4 => {
            Some(usize::from(u16::from_le_bytes([frame[4], frame[5]])))
        }
        _ => None,
    }
}

/// The packets that a wire would carry, each with a virtio header of its own and
/// whole checksums.
pub fn split(frame: &[u8]) -> Vec<Vec<u8>> {
    let whole = || vec![frame.to_vec()];
    let Some(size) = gso_size(frame).filter(|size| *size > 0) else {
        return whole();
    };
    let ip = &frame[HEADER..];
    let Some(network) = Network::read(ip) else {
        return whole();
    };
    let Some(transport) = network.transport(ip) else {
        return whole();
    };
    let headers = network.header + transport.header;
    let Some(payload) = ip.get(headers..) else {
        return whole();
    };
    let count = payload.len().div_ceil(size).max(1);
    (0..count)
        .map(|index| {
            let part = &payload[index * size..payload.len().min((index + 1) * size)];
            let place = Place {
                index,
                offset: index * size,
                is_last: index + 1 == count,
            };
            segment(&ip[..headers], &network, &transport, part, place)
        })
        .collect()
}

/// Which part of a super-packet a segment is.
#[derive(Clone, Copy)]
struct Place {
    index: usize,
    /// Payload bytes before it.
    offset: usize,
    is_last: bool,
}

fn segment(
    headers: &[u8],
    network: &Network,
    transport: &TransportHeader,
    part: &[u8],
    place: Place,
) -> Vec<u8> {
    let mut out = vec![0; HEADER];
    out.extend_from_slice(headers);
    out.extend_from_slice(part);
    let ip = &mut out[HEADER..];
    let length = |bytes: usize| u16::try_from(bytes).unwrap_or(u16::MAX);
    match network.source {
        IpAddr::V4(_) => {
            let id = u16::from_be_bytes([ip[4], ip[5]]);
            let total = length(ip.len());
            put(ip, 2, total);
            put(ip, 4, id.wrapping_add(length(place.index)));
        }
        IpAddr::V6(_) => {
            let after_header = length(ip.len() - 40);
            put(ip, 4, after_header);
        }
    }
    let body = &mut ip[network.header..];
    match transport.kind {
        Transport::Tcp => {
            let sequence = u32::from_be_bytes([body[4], body[5], body[6], body[7]]);
            let sequence = sequence.wrapping_add(u32::try_from(place.offset).unwrap_or(0));
            body[4..8].copy_from_slice(&sequence.to_be_bytes());
            if !place.is_last {
                body[13] &= !FIN_AND_PSH;
            }
        }
        Transport::Udp => put(body, 4, length(8 + part.len())),
    }
    fill_checksums(ip, network, transport.kind);
    out
}

fn fill_checksums(ip: &mut [u8], network: &Network, kind: Transport) {
    if network.source.is_ipv4() {
        put(ip, 10, 0);
        let sum = checksum(&ip[..network.header], 0);
        put(ip, 10, sum);
    }
    let at = network.header
        + match kind {
            Transport::Tcp => 16,
            Transport::Udp => 6,
        };
    put(ip, at, 0);
    let sum = checksum(&ip[network.header..], pseudo_header(ip, network));
    let sum = if sum == 0 && kind == Transport::Udp {
        0xffff
    } else {
        sum
    };
    put(ip, at, sum);
}

/// What TCP and UDP sum up besides themselves: addresses, protocol, length.
fn pseudo_header(ip: &[u8], network: &Network) -> u32 {
    let addresses = match network.source {
        IpAddr::V4(_) => &ip[12..20],
        IpAddr::V6(_) => &ip[8..40],
    };
    let length = u32::try_from(ip.len() - network.header).unwrap_or(0);
    sum_words(addresses) + u32::from(network.protocol) + length
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
            let network = Network::read(ip).unwrap();
            assert_eq!(checksum(&ip[20..], pseudo_header(ip, &network)), 0, "UDP");
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

    /// The same from one IPv6 host to another, behind a header with options.
    fn udp6(payload: usize, gso: u16) -> Vec<u8> {
        let mut frame = vec![0; HEADER];
        if gso > 0 {
            frame[1] = GSO_UDP_L4;
            frame[4..6].copy_from_slice(&gso.to_le_bytes());
        }
        let mut ip = vec![0x60, 0, 0, 0, 0, 0, 60, 64];
        for host in [1, 2] {
            ip.extend(Ipv6Addr::new(0x3018, host, 0, 0, 0, 0, 0, 0x10).octets());
        }
        put(&mut ip, 4, u16::try_from(16 + payload).unwrap());
        ip.extend_from_slice(&[UDP, 0, 1, 4, 0, 0, 0, 0]);
        ip.extend_from_slice(&[0x10, 0x00, 0x20, 0x00, 0, 0, 0, 0]);
        ip.extend((0..payload).map(|i| (i % 251) as u8));
        frame.extend(ip);
        frame
    }

    #[test]
    fn ipv6_is_read_behind_extension_headers_and_split() {
        let frame = udp6(2500, 1200);
        let packet = parse(&frame).unwrap();
        assert_eq!((packet.segments, packet.payload), (3, 2500));
        let flow = packet.flow.unwrap();
        assert_eq!(flow.source.to_string(), "[3018:1::10]:4096");
        assert_eq!(flow.destination.to_string(), "[3018:2::10]:8192");
        let parts = split(&frame);
        let sizes: Vec<_> = parts.iter().map(|p| parse(p).unwrap().payload).collect();
        assert_eq!(sizes, [1200, 1200, 100]);
        for part in &parts {
            let ip = &part[HEADER..];
            let length = usize::from(u16::from_be_bytes([ip[4], ip[5]]));
            assert_eq!(length, ip.len() - 40, "payload length");
            let network = Network::read(ip).unwrap();
            assert_eq!(checksum(&ip[48..], pseudo_header(ip, &network)), 0, "UDP");
            assert_eq!(parse(part).unwrap().flow, packet.flow);
        }
    }

    #[test]
    fn ipv6_fragments_have_the_number_of_their_packet() {
        let mut frame = udp6(100, 0);
        let ip = &mut frame[HEADER..];
        ip[6] = 44;
        ip[40..48].copy_from_slice(&[UDP, 0, 0, 1, 0, 0, 0, 9]);
        let first = parse(&frame).unwrap();
        assert!(first.flow.is_some());
        let fragment = first.fragment.unwrap();
        assert_eq!((fragment.number, fragment.last), (9, false));
        frame[HEADER + 42..HEADER + 44].copy_from_slice(&[0, 8]);
        let later = parse(&frame).unwrap();
        assert!(later.flow.is_none() && later.fragment.unwrap().last);
    }

    #[test]
    fn what_is_not_ip_is_nothing() {
        assert_eq!(parse(&[0; HEADER + 40]), None);
        assert_eq!(parse(&[0; 3]), None);
    }
}
