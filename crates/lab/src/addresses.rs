//! Which addresses a twin's hosts have: out of 198.18.0.0/15 (RFC 2544), which
//! no peer-to-peer stack filters as private.

use std::net::{IpAddr, Ipv4Addr};

use model::inventory::{Fleet, NodeName};

/// /24 networks that are handed out, one an address while they last.
const NETWORKS: usize = 508;

/// The controller is the last host of the range.
pub const CONTROLLER: Ipv4Addr = Ipv4Addr::new(198, 19, 255, 10);

/// Every node with its twin's addresses, in the fleet's order.
pub fn assign(fleet: &Fleet) -> Vec<(NodeName, Vec<Ipv4Addr>)> {
    let mut index = 0;
    let mut next = || {
        index += 1;
        address(index - 1)
    };
    fleet
        .nodes
        .iter()
        .map(|node| {
            (
                node.name.clone(),
                node.addresses.iter().map(|_| next()).collect(),
            )
        })
        .collect()
}

fn address(index: usize) -> Ipv4Addr {
    let (network, round) = (index % NETWORKS + 1, index / NETWORKS);
    let second = if network < 256 { 18 } else { 19 };
    let low = |n: usize| u8::try_from(n & 0xff).unwrap_or(u8::MAX);
    Ipv4Addr::new(198, second, low(network), low(10 + round))
}

/// The fleet as it runs in the twin: the same, at the twin's addresses.
pub fn relocate(fleet: &Fleet) -> Fleet {
    let mut twin = fleet.clone();
    for (node, (_, addresses)) in twin.nodes.iter_mut().zip(assign(fleet)) {
        node.addresses = addresses.into_iter().map(IpAddr::V4).collect();
    }
    twin
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_thousand_addresses_are_distinct_and_in_range() {
        let all: HashSet<_> = (0..3000).map(address).collect();
        assert_eq!(all.len(), 3000);
        assert!(
            all.iter()
                .all(|a| a.octets()[0] == 198 && matches!(a.octets()[1], 18 | 19))
        );
        assert!(!all.contains(&CONTROLLER));
    }

    #[test]
    fn a_few_hosts_share_no_network() {
        let networks: HashSet<_> = (0..NETWORKS)
            .map(|i| address(i).octets()[1..3].to_vec())
            .collect();
        assert_eq!(networks.len(), NETWORKS);
    }
}
