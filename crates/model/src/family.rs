//! The address family that an attempt runs over.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    #[default]
    Ipv4,
    Ipv6,
}

/// What names of measures and criteria of IPv6 end with; IPv4's have no such end.
const SUFFIX: &str = "_ipv6";

impl Family {
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }

    pub fn is_ipv4(&self) -> bool {
        *self == Self::Ipv4
    }

    /// A measure's name in this family: `direct`, `direct_ipv6`.
    pub fn measure(self, name: &str) -> String {
        match self {
            Self::Ipv4 => name.to_owned(),
            Self::Ipv6 => format!("{name}{SUFFIX}"),
        }
    }

    /// The other way round: `direct_ipv6` is `direct` in IPv6.
    pub fn of_measure(name: &str) -> (&str, Self) {
        match name.strip_suffix(SUFFIX) {
            Some(name) => (name, Self::Ipv6),
            None => (name, Self::Ipv4),
        }
    }

    /// Each once, and at least one.
    pub fn are_distinct(families: &[Self]) -> bool {
        let set: BTreeSet<&Self> = families.iter().collect();
        !set.is_empty() && set.len() == families.len()
    }

    /// What plans have that say nothing of families.
    pub fn ipv4_alone() -> Vec<Self> {
        vec![Self::Ipv4]
    }

    pub fn are_ipv4_alone(families: &[Self]) -> bool {
        families == [Self::Ipv4]
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_measures_say_their_family() {
        for family in [Family::Ipv4, Family::Ipv6] {
            let name = family.measure("nat_traversed");
            assert_eq!(Family::of_measure(&name), ("nat_traversed", family));
        }
        assert_eq!(Family::Ipv6.measure("direct"), "direct_ipv6");
    }

    #[test]
    fn a_family_is_listed_once() {
        use Family::{Ipv4, Ipv6};
        assert!(Family::are_distinct(&[Ipv6, Ipv4]) && Family::are_distinct(&[Ipv6]));
        assert!(!Family::are_distinct(&[]) && !Family::are_distinct(&[Ipv4, Ipv6, Ipv4]));
    }
}
