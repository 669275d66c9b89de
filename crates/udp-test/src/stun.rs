//! Speaking STUN to a server of RFC 5780: the same questions as to our own
//! reflectors, in the standard's words.
//!
//! A standard server does not say what it has sent, so silence is believed after
//! the whole patience only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use model::nat::{FilteringProbe, MappingProbe};
use model::protocol::{Failure, Reason};
use stun_types::attribute::{AttributeType, RawAttribute, XorMappedAddress};
use stun_types::message::{
    BINDING, Message, MessageWrite, MessageWriteExt, MessageWriteVec, TransactionId,
};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use crate::probe::Patience;

const MAPPED_ADDRESS: AttributeType = AttributeType::new(0x0001);
const CHANGE_REQUEST: AttributeType = AttributeType::new(0x0003);
const OTHER_ADDRESS: AttributeType = AttributeType::new(0x802c);
/// What RFC 3489 called it.
const CHANGED_ADDRESS: AttributeType = AttributeType::new(0x0005);

/// From which of its addresses the server is to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Asked,
    OtherPort,
    OtherAddress,
}

impl Origin {
    /// The flags of CHANGE-REQUEST.
    fn flags(self) -> Option<[u8; 4]> {
        match self {
            Self::Asked => None,
            Self::OtherPort => Some([0, 0, 0, 2]),
            Self::OtherAddress => Some([0, 0, 0, 6]),
        }
    }
}

struct Request {
    to: SocketAddr,
    from: Origin,
    id: TransactionId,
    bytes: Vec<u8>,
}

/// What the server said, and from where.
#[derive(Debug, Clone, Copy)]
struct Answer {
    by: SocketAddr,
    mapped: SocketAddr,
    other: Option<SocketAddr>,
    is_error: bool,
}

impl Request {
    fn new(to: SocketAddr, from: Origin) -> Self {
        let mut message = Message::builder_request(BINDING, MessageWriteVec::new());
        if let Some(flags) = from.flags() {
            // A fresh message has room for one attribute.
            let _ = message.add_attribute(&RawAttribute::new(CHANGE_REQUEST, &flags));
        }
        let bytes = message.finish();
        let id = Message::from_bytes(&bytes).map_or_else(
            |_| TransactionId::generate(),
            |message| message.transaction_id(),
        );
        Self {
            to,
            from,
            id,
            bytes,
        }
    }

    fn take(&self, datagram: &[u8], by: SocketAddr) -> Option<Answer> {
        let message = Message::from_bytes(datagram).ok()?;
        if !message.is_response() || message.transaction_id() != self.id {
            return None;
        }
        let plain = |kind| address(&message.raw_attribute(kind)?.value);
        let mapped = message
            .attribute::<XorMappedAddress>()
            .map_or_else(|_| plain(MAPPED_ADDRESS), |a| Some(a.addr(self.id)));
        let is_error = mapped.is_none();
        let other = plain(OTHER_ADDRESS).or_else(|| plain(CHANGED_ADDRESS));
        Some(Answer {
            by,
            mapped: mapped.unwrap_or(by),
            other,
            is_error,
        })
    }
}

/// The value of MAPPED-ADDRESS and its kin.
fn address(value: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(value.get(2..4)?.try_into().ok()?);
    let ip: IpAddr = match value.get(1)? {
        1 => Ipv4Addr::from(<[u8; 4]>::try_from(value.get(4..8)?).ok()?).into(),
        2 => Ipv6Addr::from(<[u8; 16]>::try_from(value.get(4..20)?).ok()?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Both probes, from two sockets of which nothing was sent yet.
///
/// # Errors
/// The server is no server of RFC 5780.
pub async fn measure(
    server: SocketAddr,
    sockets: [&UdpSocket; 2],
    patience: Patience,
) -> Result<(MappingProbe, FilteringProbe), Failure> {
    let first = ask(sockets[0], &[Request::new(server, Origin::Asked)], patience).await[0];
    let other = match first {
        None => None,
        Some(answer) if answer.is_error => {
            return Err(infrastructure(format!("{server} refuses to answer STUN")));
        }
        Some(answer) => answer.other.filter(|o| *o != server),
    };
    let (mapping, filtering) = tokio::join!(
        mapping(sockets[0], server, first, other, patience),
        filtering(sockets[1], server, other, patience)
    );
    Ok((mapping?, filtering?))
}

async fn mapping(
    socket: &UdpSocket,
    server: SocketAddr,
    first: Option<Answer>,
    other: Option<SocketAddr>,
    patience: Patience,
) -> Result<MappingProbe, Failure> {
    let mut seen_by = vec![(server, first.map(|a| a.mapped))];
    if let Some(other) = other {
        let others = [
            SocketAddr::new(server.ip(), other.port()),
            SocketAddr::new(other.ip(), server.port()),
        ];
        // One address only: where the other port is, it cannot tell.
        let distinct = others.into_iter().filter(|a| *a != server);
        let requests: Vec<Request> = distinct.map(|to| Request::new(to, Origin::Asked)).collect();
        let answers = ask(socket, &requests, patience).await;
        let seen = answers.iter().map(|answer| answer.map(|a| a.mapped));
        seen_by.extend(requests.iter().map(|r| r.to).zip(seen));
    }
    Ok(MappingProbe {
        local: socket
            .local_addr()
            .map_err(|e| infrastructure(e.to_string()))?,
        seen_by,
    })
}

async fn filtering(
    socket: &UdpSocket,
    server: SocketAddr,
    other: Option<SocketAddr>,
    patience: Patience,
) -> Result<FilteringProbe, Failure> {
    let contact = ask(socket, &[Request::new(server, Origin::Asked)], patience).await[0];
    let has_address = other.is_some_and(|other| other.ip() != server.ip());
    let mut probe = FilteringProbe {
        local: socket
            .local_addr()
            .map_err(|e| infrastructure(e.to_string()))?,
        mapped: contact.map(|a| a.mapped),
        from_contacted: contact.is_some(),
        from_other_port: false,
        from_other_address: has_address.then_some(false),
        seen_after_inbound: None,
    };
    if contact.is_none() || other.is_none() {
        return Ok(probe);
    }
    let mut requests = vec![Request::new(server, Origin::OtherPort)];
    requests.extend(has_address.then(|| Request::new(server, Origin::OtherAddress)));
    let answers = ask(socket, &requests, patience).await;
    for (request, answer) in requests.iter().zip(&answers) {
        if let Some(answer) = answer.filter(|a| a.by == server || a.is_error) {
            return Err(infrastructure(format!(
                "{server} was asked to answer from its {:?} and answered from {}: it does not know CHANGE-REQUEST of RFC 5780",
                request.from, answer.by
            )));
        }
    }
    probe.from_other_port = answers[0].is_some();
    probe.from_other_address = answers.get(1).map(Option::is_some);
    Ok(probe)
}

/// Repeats every request until it is answered or patience ends.
async fn ask(socket: &UdpSocket, requests: &[Request], patience: Patience) -> Vec<Option<Answer>> {
    let mut answers = vec![None; requests.len()];
    let mut buffer = [0; 2048];
    let over = patience.over();
    while answers.iter().any(Option::is_none) && Instant::now() < over {
        for (request, answer) in requests.iter().zip(&answers) {
            if answer.is_none() {
                // A send that fails is a datagram lost.
                let _ = socket.send_to(&request.bytes, request.to).await;
            }
        }
        let round = (Instant::now() + patience.every).min(over);
        while answers.iter().any(Option::is_none) {
            let Ok(received) = timeout_at(round, socket.recv_from(&mut buffer)).await else {
                break;
            };
            let Ok((length, by)) = received else {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                continue;
            };
            for (request, answer) in requests.iter().zip(&mut answers) {
                *answer = answer.or_else(|| request.take(&buffer[..length], by));
            }
        }
    }
    answers
}

fn infrastructure(detail: String) -> Failure {
    Failure::new(Reason::Infrastructure, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_to_change_is_what_the_standard_has() {
        let server = "198.18.0.1:3478".parse().unwrap();
        let plain = Request::new(server, Origin::Asked).bytes;
        assert_eq!((plain.len(), &plain[..2]), (20, &[0, 1][..]));
        let both = Request::new(server, Origin::OtherAddress).bytes;
        assert_eq!(both[20..], [0, 3, 0, 4, 0, 0, 0, 6]);
    }

    #[test]
    fn other_address_is_read_in_both_families() {
        let v4 = [0, 1, 0x0d, 0x97, 198, 18, 0, 2];
        assert_eq!(address(&v4), Some("198.18.0.2:3479".parse().unwrap()));
        let mut v6 = vec![0, 2, 0, 80];
        v6.extend(Ipv6Addr::LOCALHOST.octets());
        assert_eq!(address(&v6), Some("[::1]:80".parse().unwrap()));
        assert_eq!(address(&v6[..10]), None);
    }

    #[test]
    fn an_answer_to_somebody_else_is_none() {
        let server = "198.18.0.1:3478".parse().unwrap();
        let (one, other) = (
            Request::new(server, Origin::Asked),
            Request::new(server, Origin::Asked),
        );
        let request = Message::from_bytes(&one.bytes).unwrap();
        let mut response = Message::builder_success(&request, MessageWriteVec::new());
        let mapped = "198.18.7.7:7".parse().unwrap();
        response
            .add_attribute(&XorMappedAddress::new(mapped, one.id))
            .unwrap();
        let bytes = response.finish();
        assert_eq!(one.take(&bytes, server).unwrap().mapped, mapped);
        assert!(other.take(&bytes, server).is_none());
    }
}
