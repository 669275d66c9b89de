//! Where there is no twin: everything else works, against hosts of one's own.

use std::path::PathBuf;

use model::inventory::Fleet;

use crate::ground::Standing;

/// Never made.
pub struct Choice {
    pub name: String,
    pub fleet: Fleet,
    pub inventory: String,
    pub file: Option<PathBuf>,
    pub is_up: bool,
}

pub struct Borrowed;

pub fn is_up(_name: &str) -> bool {
    false
}

impl Choice {
    pub fn of(_name: &str, _configured: Option<PathBuf>) -> miette::Result<Self> {
        miette::bail!(
            help = "name hosts of your own with --fleet FILE, or run this in a Linux VM",
            "the twin needs Linux: it boots hosts in network namespaces"
        )
    }

    pub fn again(_name: &str, _inventory: &str, _booted_for_us: bool) -> miette::Result<Self> {
        Self::of("", None)
    }

    pub fn stand(self, _keep: bool, _say: impl FnMut(String)) -> miette::Result<Standing> {
        Err(Self::of("", None)
            .err()
            .unwrap_or_else(|| miette::miette!("no twin")))
    }
}
