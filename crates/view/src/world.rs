//! A run's nodes on the map, joined by the paths that were observed between them.

use std::collections::BTreeMap;

use model::proof::Proof;

use crate::map::{Site, Traffic, map};

/// An SVG for inline use; `None` where no region has a place.
pub fn world(proof: &Proof) -> Option<String> {
    let mut sites: BTreeMap<&str, Site<'_>> = BTreeMap::new();
    let mut region_of: BTreeMap<&str, &str> = BTreeMap::new();
    for node in proof.plan.nodes.iter().filter(|node| node.tested) {
        let Some(place) = node.place else { continue };
        region_of.insert(node.name.as_str(), &node.region);
        let site = sites.entry(&node.region).or_insert(Site {
            region: &node.region,
            place,
            nodes: 0,
            behind_nat: 0,
        });
        site.nodes += 1;
        site.behind_nat += usize::from(node.nat.is_some());
    }
    if sites.is_empty() {
        return None;
    }
    let mut links: BTreeMap<(&str, &str), Traffic> = BTreeMap::new();
    for cell in &proof.matrix {
        let ends = [&cell.pair.from, &cell.pair.to].map(|end| region_of.get(end.as_str()));
        if let [Some(from), Some(to)] = ends {
            let key = (*from.min(to), *from.max(to));
            links.entry(key).or_default().add(cell.observed);
        }
    }
    let sites: Vec<Site<'_>> = sites.into_values().collect();
    Some(map(&sites, &links))
}
