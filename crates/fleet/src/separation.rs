//! Cutting a host off from others: an nftables table of our own that drops UDP to and
//! from given addresses, outside of any NAT box. SSH is TCP and passes.

use std::net::IpAddr;
use std::time::Duration;

use crate::error::FleetError;
use crate::host::Host;

/// Removed by `clean`.
pub(crate) const TABLE: &str = "inet vps_test_separation";

/// A separation that nobody ends ends by itself.
const LONGEST: Duration = Duration::from_secs(600);

const SOON: Duration = Duration::from_secs(20);

impl Host {
    /// No UDP passes between this host and these addresses until [`Host::rejoin`],
    /// or ten minutes. One call replaces the last.
    ///
    /// # Errors
    /// There is no `nft`, or the kernel refuses.
    pub async fn cut_off(&self, from: &[IpAddr]) -> Result<(), FleetError> {
        let script = "command -v nft >/dev/null || { echo 'nft is not there; install nftables' >&2; exit 1; }; nft -f -";
        let rules = ruleset(from);
        self.script_ok(script, Some(rules.as_bytes()), SOON)
            .await
            .map(drop)
    }

    /// # Errors
    /// The session broke.
    pub async fn rejoin(&self) -> Result<(), FleetError> {
        let script = format!("nft -f - <<RULES\ntable {TABLE}\ndelete table {TABLE}\nRULES");
        self.script_ok(&script, None, SOON).await.map(drop)
    }
}

/// NAT comes between the two chains: both see the addresses of the internet.
fn ruleset(from: &[IpAddr]) -> String {
    let of = |wanted: fn(&IpAddr) -> bool| {
        let matching = from.iter().filter(|ip| wanted(ip));
        let words: Vec<String> = matching.map(ToString::to_string).collect();
        match words.is_empty() {
            true => String::new(),
            false => format!("elements = {{ {} }}", words.join(", ")),
        }
    };
    let (four, six) = (of(IpAddr::is_ipv4), of(IpAddr::is_ipv6));
    let seconds = LONGEST.as_secs();
    format!(
        "table {TABLE}
delete table {TABLE}
table {TABLE} {{
  set away4 {{ type ipv4_addr; timeout {seconds}s; {four} }}
  set away6 {{ type ipv6_addr; timeout {seconds}s; {six} }}
  chain arrived {{
    type filter hook prerouting priority raw; policy accept;
    meta l4proto udp ip saddr @away4 drop
    meta l4proto udp ip6 saddr @away6 drop
  }}
  chain left {{
    type filter hook postrouting priority srcnat + 40; policy accept;
    meta l4proto udp ip daddr @away4 drop
    meta l4proto udp ip6 daddr @away6 drop
  }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_udp_of_the_others_is_dropped_and_only_for_a_time() {
        insta::assert_snapshot!(ruleset(&["198.18.4.10".parse().unwrap()]));
    }
}
