//! NAT behaviour in the words of RFC 4787.

mod classify;
pub mod theory;

pub use classify::{Certificate, Front, classify, describe};

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Which inner flows share one outer port (RFC 4787, section 4.1).
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
pub enum Mapping {
    /// Endpoint-independent.
    #[serde(rename = "EIM")]
    Eim,
    /// Address-dependent.
    #[serde(rename = "ADM")]
    Adm,
    /// Address- and port-dependent.
    #[serde(rename = "APDM")]
    Apdm,
}

/// Who may send to a mapped port (RFC 4787, section 5).
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
pub enum Filtering {
    /// Anybody.
    #[serde(rename = "EIF")]
    Eif,
    /// Addresses that were sent to.
    #[serde(rename = "ADF")]
    Adf,
    /// Addresses and ports that were sent to.
    #[serde(rename = "APDF")]
    Apdf,
}

/// One of the nine combinations.
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
pub struct Behaviour {
    pub mapping: Mapping,
    pub filtering: Filtering,
}

impl Behaviour {
    pub const FULL_CONE: Self = Self {
        mapping: Mapping::Eim,
        filtering: Filtering::Eif,
    };
    pub const ADDRESS_RESTRICTED: Self = Self {
        mapping: Mapping::Eim,
        filtering: Filtering::Adf,
    };
    pub const PORT_RESTRICTED: Self = Self {
        mapping: Mapping::Eim,
        filtering: Filtering::Apdf,
    };
    pub const SYMMETRIC: Self = Self {
        mapping: Mapping::Apdm,
        filtering: Filtering::Apdf,
    };

    /// Of a stateful firewall without translation: a port is its own mapping, and
    /// only who was sent to gets in.
    pub const FIREWALL: Self = Self::PORT_RESTRICTED;

    /// The older name, where there is one: "Full Cone", "Symmetric", ….
    pub fn classic_name(self) -> Option<&'static str> {
        match self {
            Self::FULL_CONE => Some("Full Cone"),
            Self::ADDRESS_RESTRICTED => Some("Address Restricted"),
            Self::PORT_RESTRICTED => Some("Port Restricted"),
            Self::SYMMETRIC => Some("Symmetric"),
            _ => None,
        }
    }
}

/// `EIM/APDF`.
impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mapping = match self.mapping {
            Mapping::Eim => "EIM",
            Mapping::Adm => "ADM",
            Mapping::Apdm => "APDM",
        };
        let filtering = match self.filtering {
            Filtering::Eif => "EIF",
            Filtering::Adf => "ADF",
            Filtering::Apdf => "APDF",
        };
        f.pad(&format!("{mapping}/{filtering}"))
    }
}

/// Reads `EIM/APDF`.
impl std::str::FromStr for Behaviour {
    type Err = NotABehaviour;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let not = || NotABehaviour {
            given: text.to_owned(),
        };
        let (mapping, filtering) = text.split_once('/').ok_or_else(not)?;
        let mapping = match mapping {
            "EIM" => Mapping::Eim,
            "ADM" => Mapping::Adm,
            "APDM" => Mapping::Apdm,
            _ => return Err(not()),
        };
        let filtering = match filtering {
            "EIF" => Filtering::Eif,
            "ADF" => Filtering::Adf,
            "APDF" => Filtering::Apdf,
            _ => return Err(not()),
        };
        Ok(Self { mapping, filtering })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not MAPPING/FILTERING of RFC 4787, such as EIM/APDF")]
pub struct NotABehaviour {
    given: String,
}

/// What a NAT box is asked to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatSpec {
    pub behaviour: Behaviour,
}

/// What the prober saw, and nothing it concluded (see `nat::classify`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observations {
    /// One inner port, seen from several outer endpoints.
    pub mapping: MappingProbe,
    /// Who got through to a mapped port that had only sent to reflector A's primary.
    pub filtering: FilteringProbe,
    /// Whether a datagram to one's own mapped address came back; `None` if not tried.
    pub hairpin: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappingProbe {
    pub local: SocketAddr,
    /// The outer address that each destination saw, in the order A, A', B.
    /// `None`: no answer. B is missing where there is one reflector only.
    pub seen_by: Vec<(SocketAddr, Option<SocketAddr>)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilteringProbe {
    pub local: SocketAddr,
    pub mapped: Option<SocketAddr>,
    /// From A's primary, which was sent to. False: no UDP at all.
    pub from_contacted: bool,
    /// From A's other port.
    pub from_other_port: bool,
    /// From B, which was never sent to; `None` where there is one reflector only.
    pub from_other_address: Option<bool>,
}
