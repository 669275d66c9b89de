//! Which addresses a twin's hosts have: out of 198.18.0.0/15 (RFC 2544) and
//! 3018::/16, which no peer-to-peer stack filters (docs/decisions/0011-ipv6-prefix.md).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::inventory::{Fleet, NodeName};

/// /24 networks that are handed out, one an address while they last.
const NETWORKS: usize = 508;

/// The controller's, the last hosts of the ranges.
const CONTROLLER: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 19, 255, 10)),
    IpAddr::V6(Ipv6Addr::new(0x3018, 0xffff, 0, 0, 0, 0, 0, 0x10)),
];

/// The controller speaks IPv6 where a host does.
pub fn of_controller(fleet: &Fleet) -> Vec<IpAddr> {
    let mut all = fleet.nodes.iter().flat_map(|node| &node.addresses);
    let has_v6 = all.any(IpAddr::is_ipv6);
    CONTROLLER
        .into_iter()
        .filter(|address| address.is_ipv4() || has_v6)
        .collect()
}

/// Every node with its twin's addresses, in the fleet's order: one for each that
/// the inventory lists, of the same family.
pub fn assign(fleet: &Fleet) -> Vec<(NodeName, Vec<IpAddr>)> {
    let (mut v4, mut v6) = (0.., 0..);
    let mut next = |like: &IpAddr| match like {
        IpAddr::V4(_) => v4.next().map(|index| IpAddr::V4(v4_address(index))),
        IpAddr::V6(_) => v6.next().map(|index| IpAddr::V6(v6_address(index))),
    };
    fleet
        .nodes
        .iter()
        .map(|node| {
            let addresses = node.addresses.iter().filter_map(&mut next);
            (node.name.clone(), addresses.collect())
        })
        .collect()
}

fn v4_address(index: usize) -> Ipv4Addr {
    let (network, round) = (index % NETWORKS + 1, index / NETWORKS);
    let second = if network < 256 { 18 } else { 19 };
    let low = |n: usize| u8::try_from(n & 0xff).unwrap_or(u8::MAX);
    Ipv4Addr::new(198, second, low(network), low(10 + round))
}

/// A /32 each, as stacks count peers by networks of that size and smaller ones.
fn v6_address(index: usize) -> Ipv6Addr {
    let network = u16::try_from(index + 1).unwrap_or(u16::MAX);
    Ipv6Addr::new(0x3018, network, 0, 0, 0, 0, 0, 0x10)
}

/// The fleet as it runs in the twin: the same, at the twin's addresses.
pub fn relocate(fleet: &Fleet) -> Fleet {
    let mut twin = fleet.clone();
    for (node, (_, addresses)) in twin.nodes.iter_mut().zip(assign(fleet)) {
        node.addresses = addresses;
    }
    twin
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_thousand_addresses_are_distinct_and_in_range() {
        let all: HashSet<_> = (0..3000).map(v4_address).collect();
        assert_eq!(all.len(), 3000);
        assert!(
            all.iter()
                .all(|a| a.octets()[0] == 198 && matches!(a.octets()[1], 18 | 19))
        );
        assert!(!all.iter().any(|a| CONTROLLER.contains(&IpAddr::V4(*a))));
    }

    #[test]
    fn an_address_is_of_the_family_that_the_inventory_says() {
        let text = "fleet: f\nnodes:\n  - { name: a, addresses: [192.0.2.1, \"2001:db8::1\"], role: test }\n  - { name: b, addresses: [\"2001:db8::2\"], role: test }\n";
        let fleet = model::inventory::read("f", text).unwrap();
        let assigned = assign(&fleet);
        let words = |at: usize| assigned[at].1.iter().map(ToString::to_string);
        assert_eq!(words(0).collect::<Vec<_>>(), ["198.18.1.10", "3018:1::10"]);
        assert_eq!(words(1).collect::<Vec<_>>(), ["3018:2::10"]);
    }

    #[test]
    fn a_few_hosts_share_no_network() {
        let networks: HashSet<_> = (0..NETWORKS)
            .map(|i| v4_address(i).octets()[1..3].to_vec())
            .collect();
        assert_eq!(networks.len(), NETWORKS);
    }
}
