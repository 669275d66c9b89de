//! The agent protocol: what the engine and a tester say to each other.
//!
//! One line of JSON per message over the tester's Unix socket. The engine sends
//! `{"id":7,"method":"dial","params":{…}}`; the tester answers, in any order,
//! `{"id":7,"result":{…}}` or `{"id":7,"error":{…}}`. `docs/agent-protocol.md`
//! explains it for authors of testers in other languages.
//!
//! An attempt, as the engine drives it:
//!
//! 1. `prepare` on both sides: a fresh endpoint on the given port, a fresh
//!    identity, registered with the coordinators.
//! 2. Rung by rung until one succeeds: `expect` on the callee, `dial` on the
//!    caller. Before the relay rung, `announce` on the callee gives the relay
//!    address. The reverse rung is a relay rung with the sides swapped.
//! 3. `exchange` on the side that dialled: payload each way, both acknowledged.
//! 4. `finish` on both sides: what each saw; the endpoint is closed.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::measure::Values;

/// Both sides state it in `hello`; a different major version is refused.
pub const VERSION: u32 = 1;

/// Unique in a run; a tester treats it as opaque.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct AttemptId(pub String);

impl std::fmt::Display for AttemptId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    pub id: u64,
    #[serde(flatten)]
    pub call: Call,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", content = "params", rename_all = "snake_case")]
pub enum Call {
    /// → [`Hello`]
    Hello,
    /// → [`Prepared`]
    Prepare(Prepare),
    /// → [`Empty`]
    Expect(Expect),
    /// → [`Connected`]
    Dial(Dial),
    /// → [`Announced`]
    Announce(Announce),
    /// → [`Exchanged`]
    Exchange(Exchange),
    /// → [`Finished`]
    Finish(Finish),
    /// → [`crate::nat::Observations`]; only testers whose `hello` says `probe`.
    Probe(Probe),
    /// → [`Performed`]; only testers whose `hello` lists `suite:NAME`.
    Perform(Perform),
}

impl Call {
    pub fn method(&self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Prepare(_) => "prepare",
            Self::Expect(_) => "expect",
            Self::Dial(_) => "dial",
            Self::Announce(_) => "announce",
            Self::Exchange(_) => "exchange",
            Self::Finish(_) => "finish",
            Self::Probe(_) => "probe",
            Self::Perform(_) => "perform",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Response {
    pub id: u64,
    #[serde(flatten)]
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Result(serde_json::Value),
    Error(Failure),
}

/// Why a call did not do what it was asked.
#[derive(
    Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, thiserror::Error,
)]
#[error("{reason}: {detail}")]
pub struct Failure {
    pub reason: Reason,
    /// A lower-case fragment with addresses and the stack's own words.
    pub detail: String,
}

impl Failure {
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }
}

#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The rung's time ran out.
    Timeout,
    /// The other side or a coordinator said no.
    Refused,
    /// No address to try on this rung.
    NoAddress,
    /// The connection ended before the work was done.
    Closed,
    /// The bytes that came are not the bytes that were sent.
    Corrupt,
    /// This tester has no such method or rung.
    Unsupported,
    /// The call itself makes no sense (unknown attempt, bad address).
    BadRequest,
    /// The stack reported some other error.
    Stack,
    /// The host's fault, not the stack's: port taken, no memory, no route.
    Infrastructure,
}

impl Reason {
    /// An attempt that ended for this reason says nothing about the stack.
    pub fn is_infrastructure(self) -> bool {
        matches!(
            self,
            Self::Infrastructure | Self::BadRequest | Self::Unsupported
        )
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::NoAddress => "no address",
            Self::Closed => "closed",
            Self::Corrupt => "corrupt",
            Self::Unsupported => "unsupported",
            Self::BadRequest => "bad request",
            Self::Stack => "stack error",
            Self::Infrastructure => "infrastructure",
        })
    }
}

/// Who is at the other end of the socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: u32,
    /// `saorsa-quic-test`
    pub tester: String,
    /// The stack under test: `ant-quic`, `udp`.
    pub stack: String,
    /// The version that is linked in.
    pub stack_version: String,
    pub node: String,
    pub pid: u32,
    /// Lower-case hex SHA-256 of the running executable.
    pub digest: String,
    /// What it can do besides attempts: `probe`, …
    pub capabilities: Vec<String>,
    /// The rungs it knows, in the order an application would climb them.
    pub rungs: Vec<Rung>,
}

/// One way to reach a peer.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// Dial the callee's address.
    Direct,
    /// Punch through the NATs, with a coordinator's help.
    Punched,
    /// Dial the relay address that the callee announced.
    Relayed,
    /// The callee dials the relay address that the caller announced.
    Reverse,
}

impl Rung {
    pub const ALL: [Self; 4] = [Self::Direct, Self::Punched, Self::Relayed, Self::Reverse];
    pub const DIRECT: [Self; 2] = [Self::Direct, Self::Punched];
    pub const RELAYED: [Self; 2] = [Self::Relayed, Self::Reverse];
}

impl std::fmt::Display for Rung {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Direct => "direct",
            Self::Punched => "punched",
            Self::Relayed => "relayed",
            Self::Reverse => "reverse",
        })
    }
}

/// How a connection runs, as the stack itself says.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ClaimedPath {
    Direct,
    Punched,
    Relayed,
    /// The stack does not say.
    Unknown,
}

impl std::fmt::Display for ClaimedPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Direct => "direct",
            Self::Punched => "punched",
            Self::Relayed => "relayed",
            Self::Unknown => "unknown",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepare {
    pub attempt: AttemptId,
    /// Explicit address and port, used by no other attempt.
    pub bind: SocketAddr,
    /// Public coordinators, to learn one's outer address from and be found through.
    pub coordinators: Vec<SocketAddr>,
    /// What this side will send when data flows.
    pub payload: Payload,
    pub timeout_ms: u64,
}

/// See [`crate::payload`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    pub seed: String,
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// Whatever the other side needs to name this peer (a peer id); opaque here.
    pub peer: String,
    pub local: SocketAddr,
    pub observed: Vec<ObservedAddress>,
}

/// One's own outer address, as a third party sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ObservedAddress {
    pub by: SocketAddr,
    pub address: SocketAddr,
}

/// The peer at the other side of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub peer: String,
    /// Where to dial it: its public address, or its outer address as observed.
    pub addresses: Vec<SocketAddr>,
    /// Relay addresses it announced.
    pub relays: Vec<SocketAddr>,
}

/// The named peer is about to dial; a stack whose coordinator says so already
/// has nothing to do, a plain puncher starts to punch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expect {
    pub attempt: AttemptId,
    pub rung: Rung,
    pub target: Target,
    pub timeout_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dial {
    pub attempt: AttemptId,
    pub rung: Rung,
    pub target: Target,
    pub timeout_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Connected {
    /// The other end as this side's socket sees it.
    pub remote: SocketAddr,
    pub claimed: ClaimedPath,
    /// From the first packet of this rung to a usable connection.
    pub elapsed_ms: f64,
}

/// Arrange a relay, if this stack has any, and say where it can be dialled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announce {
    pub attempt: AttemptId,
    pub timeout_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    pub relays: Vec<SocketAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    pub attempt: AttemptId,
    pub timeout_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exchanged {
    pub sent: Sent,
    pub received: Received,
    pub elapsed_ms: f64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Sent {
    pub bytes: u64,
    /// The digest that the other side acknowledged; `None` where no acknowledgement came.
    pub acknowledged_sha256: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Received {
    pub bytes: u64,
    /// Lower-case hex digest of what came.
    pub sha256: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finish {
    pub attempt: AttemptId,
}

/// One side's account of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    pub local: SocketAddr,
    /// Every outer address that anyone told this side it has.
    pub observed: Vec<ObservedAddress>,
    /// The other end, if a connection was made.
    pub remote: Option<SocketAddr>,
    pub claimed: ClaimedPath,
    pub sent: Option<Sent>,
    pub received: Option<Received>,
}

/// Measure the NAT in front of `bind`. The prober is not told what it should find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The address to bind; ports are chosen by the prober out of this range.
    pub address: std::net::IpAddr,
    pub ports: PortRange,
    pub reflectors: Vec<Reflector>,
    /// How long to wait for a datagram before it counts as filtered, at most.
    pub patience_ms: u64,
    /// Silences to keep, each on a mapped port of its own, to see which mappings
    /// outlive them. All at once: the longest is what it takes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silences_ms: Vec<u64>,
    /// Ask this server of RFC 5780 in place of the reflectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stun: Option<SocketAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

/// A public node that answers probes on two ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reflector {
    pub primary: SocketAddr,
    pub alternate: SocketAddr,
}

/// Do one step of a suite. What it does is between the suite and the tester.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Perform {
    /// One round of a suite, whose steps share whatever the tester keeps; or an
    /// attempt that was prepared, whose connection the step uses.
    pub session: AttemptId,
    pub suite: String,
    pub step: String,
    /// Whom this call is to, as `fellows` names the others.
    #[serde(default)]
    pub node: String,
    /// Nodes that no UDP passes to or from, but among themselves.
    #[serde(default)]
    pub cut_off: Vec<String>,
    /// Nodes whose testers were ended in this session, and know nothing of it.
    #[serde(default)]
    pub absent: Vec<String>,
    /// In a round: an address and port for this tester alone, the same in every
    /// step. On an attempt: none, it has its own.
    pub bind: Option<SocketAddr>,
    pub coordinators: Vec<SocketAddr>,
    /// What the other testers last said in this round.
    pub fellows: Vec<Fellow>,
    pub params: serde_json::Value,
    pub timeout_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fellow {
    pub node: String,
    pub said: serde_json::Value,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Performed {
    #[serde(default)]
    pub measures: Vec<Taken>,
    /// For the others' next steps; opaque to the engine.
    #[serde(default)]
    pub said: serde_json::Value,
}

/// Values of a measure that the suite declares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Taken {
    pub name: String,
    #[serde(flatten)]
    pub values: Values,
    #[serde(default)]
    pub conditions: BTreeMap<String, String>,
    /// The first failure's reason, or whatever explains the values.
    #[serde(default)]
    pub detail: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}
