//! NAT behaviour in the words of RFC 4787.

mod classify;
mod observations;
mod properties;
pub mod rules;
mod spec;
pub mod theory;

pub use classify::{Certificate, Front, Lifetime, classify, describe};
pub use observations::{FilteringProbe, MappingProbe, Observations, Silence};
pub use properties::{Property, properties};
pub use spec::{Cgnat, Inbound, NatSpec, Udp};

use std::fmt;

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

    /// All nine, the most permissive first.
    pub const ALL: [Self; 9] = {
        const fn of(mapping: Mapping, filtering: Filtering) -> Behaviour {
            Behaviour { mapping, filtering }
        }
        [
            of(Mapping::Eim, Filtering::Eif),
            of(Mapping::Eim, Filtering::Adf),
            of(Mapping::Eim, Filtering::Apdf),
            of(Mapping::Adm, Filtering::Eif),
            of(Mapping::Adm, Filtering::Adf),
            of(Mapping::Adm, Filtering::Apdf),
            of(Mapping::Apdm, Filtering::Eif),
            of(Mapping::Apdm, Filtering::Adf),
            of(Mapping::Apdm, Filtering::Apdf),
        ]
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
