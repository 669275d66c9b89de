//! Who uses a host for what, and until when: a file on the host for each set of
//! units, so that two controllers do not overwrite each other.

use std::time::Duration;

use crate::error::FleetError;
use crate::host::Host;
use crate::quote::quote;

const DIRECTORY: &str = "/var/lib/vps-test/leases";

const COMMAND: Duration = Duration::from_secs(20);

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What the units of one project begin with: different projects run side by side.
    pub units: String,
    /// `USER@HOST:DIRECTORY`; the same owner takes its own lease again.
    pub owner: String,
    /// By the host's own clock, so that nobody else's matters.
    pub lifetime: Duration,
}

/// Somebody else, who has it already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub owner: String,
    pub left: Duration,
}

impl Host {
    /// Takes or renews a lease; one that has expired is taken over.
    ///
    /// # Errors
    /// The host cannot keep it.
    pub async fn lease(&self, lease: &Lease) -> Result<Option<Holder>, FleetError> {
        let script = format!(
            "set -eu; mkdir -p {DIRECTORY}; exec 9<{DIRECTORY}; flock 9
file={DIRECTORY}/{units}; owner={owner}; now=$(date +%s); until=0; held=
if [ -e \"$file\" ]; then read -r until held < \"$file\" || true; fi
if [ \"$held\" != \"$owner\" ] && [ \"${{until:-0}}\" -gt \"$now\" ]; then echo \"held $((until - now)) $held\"; exit 0; fi
printf '%s %s\\n' $((now + {lifetime})) \"$owner\" > \"$file.new\"; mv \"$file.new\" \"$file\"; echo taken",
            units = quote(&lease.units),
            owner = quote(&lease.owner),
            lifetime = lease.lifetime.as_secs(),
        );
        let said = self
            .script_ok(&script, None, COMMAND)
            .await
            .map_err(|e| e.or_full(DIRECTORY, 1))?;
        Ok(holder(said.trim()))
    }

    /// Gives it back; somebody else's stays.
    ///
    /// # Errors
    /// The session broke.
    pub async fn release(&self, lease: &Lease) -> Result<(), FleetError> {
        let script = format!(
            "[ -d {DIRECTORY} ] || exit 0; exec 9<{DIRECTORY}; flock 9
file={DIRECTORY}/{units}; owner={owner}; held=
if [ -e \"$file\" ]; then read -r until held < \"$file\" || true; fi
if [ \"$held\" = \"$owner\" ]; then rm -f \"$file\"; fi
rmdir --ignore-fail-on-non-empty {DIRECTORY}",
            units = quote(&lease.units),
            owner = quote(&lease.owner),
        );
        self.script_ok(&script, None, COMMAND).await.map(drop)
    }
}

/// From `held SECONDS OWNER`.
fn holder(said: &str) -> Option<Holder> {
    let (left, owner) = said.strip_prefix("held ")?.split_once(' ')?;
    Some(Holder {
        owner: owner.to_owned(),
        left: Duration::from_secs(left.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_named_with_the_time_that_is_left() {
        let found = holder("held 90 eve@laptop:/home/eve/my runs/p").unwrap();
        assert_eq!(found.owner, "eve@laptop:/home/eve/my runs/p");
        assert_eq!(found.left.as_secs(), 90);
        assert_eq!(holder("taken"), None);
    }
}
