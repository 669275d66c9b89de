//! The stack's own words in the protocol's.

use ant_quic::{EndpointError, TraversalMethod};
use model::protocol::{ClaimedPath, Failure, Reason};

/// Reported, and not believed: see `docs/agent-protocol.md`.
pub fn claimed(method: TraversalMethod) -> ClaimedPath {
    match method {
        TraversalMethod::Direct => ClaimedPath::Direct,
        TraversalMethod::HolePunch | TraversalMethod::PortPrediction => ClaimedPath::Punched,
        TraversalMethod::Relay => ClaimedPath::Relayed,
    }
}

/// Why the stack did not connect.
pub fn failure(what: &str, error: &EndpointError) -> Failure {
    let detail = format!("{what}: {error}");
    let reason = match error {
        EndpointError::Timeout => Reason::Timeout,
        EndpointError::NoAddress => Reason::NoAddress,
        EndpointError::ConnectionClosed { .. } | EndpointError::ShuttingDown => Reason::Closed,
        // Composite errors carry their cause in words alone.
        _ => by_words(&detail),
    };
    Failure::new(reason, detail)
}

fn by_words(detail: &str) -> Reason {
    let words = detail.to_lowercase();
    let says = |any: &[&str]| any.iter().any(|word| words.contains(word));
    if says(&["reject", "refuse"]) {
        Reason::Refused
    } else if says(&["timed out", "timeout", "deadline"]) {
        Reason::Timeout
    } else {
        Reason::Stack
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_of_composite_errors() {
        let of = |words: &str| failure("dial", &EndpointError::Connection(words.into())).reason;
        assert_eq!(of("handshake timed out"), Reason::Timeout);
        assert_eq!(of("coordination rejected"), Reason::Refused);
        assert_eq!(of("crypto"), Reason::Stack);
        assert_eq!(
            failure("dial", &EndpointError::Timeout).reason,
            Reason::Timeout
        );
    }
}
