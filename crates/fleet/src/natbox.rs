//! A NAT on a host: a network namespace `natbox` behind nftables rules, as a
//! systemd unit that survives a reboot. `docs/nat-boxes.md` explains each line.

mod script;

pub(crate) use script::let_forward;

use std::net::Ipv4Addr;
use std::time::Duration;

use model::nat::NatSpec;
use model::protocol::PortRange;

use crate::error::FleetError;
use crate::host::{Host, ONE_AT_A_TIME, PUT};
use crate::quote::quote;

/// Where services behind the box live.
pub const INNER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 213, 77, 2);

const DIRECTORY: &str = "/var/lib/vps-test/natbox";

const QUICK: Duration = Duration::from_secs(30);

/// What a host's NAT is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NatBox {
    pub spec: NatSpec,
    /// Source ports that services behind it use: what strangers send there must
    /// not make conntrack entries of its own.
    pub ports: PortRange,
}

impl NatBox {
    pub const UNIT: &str = "vps-test-natbox.service";
    pub const NETNS: &str = "/run/netns/natbox";
}

impl Host {
    /// Makes the host's NAT box what it is asked to be; does nothing where it is.
    ///
    /// # Errors
    /// The host refuses.
    pub async fn apply_nat(&self, nat_box: &NatBox) -> Result<(), FleetError> {
        let label = serde_json::to_string(&nat_box.spec).unwrap_or_default();
        let script = format!(
            "set -eu; {ONE_AT_A_TIME}
{PUT}
mkdir -p {DIRECTORY}; cd {DIRECTORY}
put {DIRECTORY}/label {label}
put {DIRECTORY}/up {up}
put {DIRECTORY}/down {down}
put /etc/systemd/system/{unit} {service}
if [ -e {DIRECTORY}/applied ] && systemctl is-active -q {unit} && [ -e {netns} ] &&
  nft list table ip vps_test_natbox >/dev/null 2>&1; then exit 0; fi
systemctl daemon-reload
systemctl enable -q {unit} 2>/dev/null
systemctl restart {unit} || {{ journalctl -u {unit} -n 20 --no-pager -o cat >&2; exit 1; }}
touch {DIRECTORY}/applied",
            netns = NatBox::NETNS,
            label = quote(&label),
            up = quote(&script::up(nat_box)),
            down = quote(script::DOWN),
            service = quote(script::SERVICE),
            unit = NatBox::UNIT,
        );
        self.script_ok(&script, None, Duration::from_secs(90))
            .await
            .map(drop)
            .map_err(|e| e.or_full(DIRECTORY, script.len() as u64))
    }

    /// What the host's NAT box was asked to be; `None` where there is none.
    ///
    /// # Errors
    /// The host refuses.
    pub async fn nat_label(&self) -> Result<Option<NatSpec>, FleetError> {
        let script = format!(
            "[ ! -e {DIRECTORY}/applied ] || [ ! -e {} ] || cat {DIRECTORY}/label",
            NatBox::NETNS
        );
        let text = self.script_ok(&script, None, QUICK).await?;
        Ok(serde_json::from_str(&text).ok())
    }

    /// Has the box forget its mappings: what is behind it keeps its ports and gets
    /// other outer ones.
    ///
    /// # Errors
    /// There is no box, or no `conntrack` on the host.
    pub async fn rebind_nat(&self, nat_box: &NatBox) -> Result<(), FleetError> {
        let script = script::rebind(nat_box);
        self.script_ok(&script, None, QUICK).await.map(drop)
    }

    /// Has the box do as another would, for the time: what is behind it runs on, and is
    /// seen at other ports. What the box is asked to be stays as it is; after
    /// [`Host::restore_nat`], or the next [`Host::apply_nat`], it is that again.
    ///
    /// # Errors
    /// There is no box, or no `conntrack` on the host.
    pub async fn disguise_nat(&self, as_other: &NatBox) -> Result<(), FleetError> {
        let script = format!("rm -f {DIRECTORY}/applied\n{}", script::swap(as_other));
        self.script_ok(&script, None, QUICK).await.map(drop)
    }

    /// Ends a disguise.
    ///
    /// # Errors
    /// As [`Host::disguise_nat`].
    pub async fn restore_nat(&self, own: &NatBox) -> Result<(), FleetError> {
        let script = format!("{}touch {DIRECTORY}/applied", script::swap(own));
        self.script_ok(&script, None, QUICK).await.map(drop)
    }

    /// Removes the host's NAT box, if there is one. Says whether there was.
    ///
    /// # Errors
    /// The host refuses.
    pub async fn remove_nat(&self) -> Result<bool, FleetError> {
        let unit = NatBox::UNIT;
        let script = format!(
            "[ -e /etc/systemd/system/{unit} ] || {{ echo none; exit 0; }}
{firewall}systemctl disable -q --now {unit} 2>/dev/null
[ -e {DIRECTORY}/down ] && sh {DIRECTORY}/down
rm -rf /etc/systemd/system/{unit} {DIRECTORY}
systemctl daemon-reload",
            firewall = crate::firewall::REMOVE,
        );
        let said = self.script_ok(&script, None, QUICK).await?;
        Ok(said.trim() != "none")
    }
}
