//! Regions on a map of the world, joined by links in the colour of their path.
//!
//! The projection is equirectangular: a degree is as long everywhere, which is
//! all that is needed to see which side of an ocean a node is on.

use std::collections::BTreeMap;

use model::attempt::ObservedPath;
use model::inventory::Place;

use crate::html::{Escaped, put};

/// Coastlines, in half degrees from the north-west corner; simplified from Natural
/// Earth's 1:110m land, which is in the public domain.
const LAND: &str = include_str!("land.path");

/// Latitudes shown; nobody rents hosts beyond.
const NORTH: f64 = 78.0;
const SOUTH: f64 = -56.0;
const PER_DEGREE: f64 = 2.0;
const WIDTH: f64 = 360.0 * PER_DEGREE;
const HEIGHT: f64 = (NORTH - SOUTH) * PER_DEGREE;

const LABEL_HEIGHT: f64 = 11.0;
const LETTER_WIDTH: f64 = 5.6;

/// A region with what stands there.
#[derive(Debug, Clone, PartialEq)]
pub struct Site<'a> {
    pub region: &'a str,
    pub place: Place,
    pub nodes: usize,
    /// How many of them are behind a NAT.
    pub behind_nat: usize,
}

/// All cells between two regions, by path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    pub direct: usize,
    pub relayed: usize,
    pub none: usize,
    pub unmeasured: usize,
}

impl Traffic {
    pub fn add(&mut self, path: ObservedPath) {
        *match path {
            ObservedPath::Direct => &mut self.direct,
            ObservedPath::Relayed => &mut self.relayed,
            ObservedPath::None => &mut self.none,
            ObservedPath::Unmeasured => &mut self.unmeasured,
        } += 1;
    }

    /// The path that a reader must not overlook comes first.
    fn class(self) -> &'static str {
        match self {
            Self { none: 1.., .. } => "none",
            Self { relayed: 1.., .. } => "relayed",
            Self { direct: 1.., .. } => "direct",
            Self { .. } => "unmeasured",
        }
    }

    fn describe(self) -> String {
        let parts = [
            (self.direct, "direct"),
            (self.relayed, "relayed"),
            (self.none, "without a path"),
            (self.unmeasured, "not measured"),
        ];
        let there = parts.iter().filter(|(count, _)| *count > 0);
        let words: Vec<String> = there
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        words.join(", ")
    }
}

/// An SVG for inline use. Links are keyed by region, both ways together; one
/// whose region is not among the sites is left out.
pub fn map(sites: &[Site<'_>], links: &BTreeMap<(&str, &str), Traffic>) -> String {
    let mut out = format!(
        "<svg class=\"map\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\" \
         xmlns=\"http://www.w3.org/2000/svg\">\n\
         <path class=\"land\" transform=\"translate(0 {})\" d=\"{LAND}\"/>\n",
        in_words(sites, links),
        -(90.0 - NORTH) * PER_DEGREE,
    );
    let at: BTreeMap<&str, (f64, f64)> =
        sites.iter().map(|s| (s.region, project(s.place))).collect();
    // What failed is drawn last and lies on top.
    for class in ["unmeasured", "direct", "relayed", "none"] {
        for ((from, to), traffic) in links.iter().filter(|(_, t)| t.class() == class) {
            if let (Some(a), Some(b)) = (at.get(from), at.get(to)) {
                link(&mut out, (from, *a), (to, *b), *traffic);
            }
        }
    }
    sites.iter().for_each(|site| dot(&mut out, site));
    labels(&mut out, sites);
    out.push_str("</svg>\n");
    out
}

/// For those who hear the picture instead of seeing it.
fn in_words(sites: &[Site<'_>], links: &BTreeMap<(&str, &str), Traffic>) -> String {
    let mut all = Traffic::default();
    for link in links.values() {
        all.direct += link.direct;
        all.relayed += link.relayed;
        all.none += link.none;
        all.unmeasured += link.unmeasured;
    }
    let regions = match sites.len() {
        1 => "1 region".to_owned(),
        count => format!("{count} regions"),
    };
    match all.describe() {
        paths if paths.is_empty() => format!("Map of {regions}"),
        paths => format!("Map of {regions}; paths between nodes: {paths}"),
    }
}

fn project(place: Place) -> (f64, f64) {
    let x = (place.longitude.clamp(-180.0, 180.0) + 180.0) * PER_DEGREE;
    let y = (NORTH - place.latitude.clamp(SOUTH, NORTH)) * PER_DEGREE;
    (x, y)
}

/// An arc that bends to the north, as routes on such a map do.
fn link(out: &mut String, from: (&str, (f64, f64)), to: (&str, (f64, f64)), traffic: Traffic) {
    let ((a, (x1, y1)), (b, (x2, y2))) = (from, to);
    let title = format!("{a} – {b}: {}", traffic.describe());
    let class = traffic.class();
    if a == b {
        put!(
            out,
            "<circle class=\"link {class}\" cx=\"{x1:.1}\" cy=\"{y1:.1}\" r=\"7\"><title>{}</title></circle>\n",
            Escaped(&title)
        );
        return;
    }
    let length = (x2 - x1).hypot(y2 - y1);
    let (x, y) = (f64::midpoint(x1, x2), f64::midpoint(y1, y2) - 0.18 * length);
    put!(
        out,
        "<path class=\"link {class}\" d=\"M{x1:.1} {y1:.1}Q{x:.1} {:.1} {x2:.1} {y2:.1}\"><title>{}</title></path>\n",
        y.max(2.0),
        Escaped(&title)
    );
}

fn dot(out: &mut String, site: &Site<'_>) {
    let (x, y) = project(site.place);
    let class = if site.behind_nat == site.nodes {
        "site nat"
    } else {
        "site"
    };
    put!(
        out,
        "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.2\"><title>{}: {} nodes, {} behind a NAT</title></circle>\n",
        Escaped(site.region),
        site.nodes,
        site.behind_nat
    );
}

struct Box {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

impl Box {
    fn overlaps(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }
}

/// Each label at the nearest free place around its dot, with a line to it where
/// that is not next to it.
fn labels(out: &mut String, sites: &[Site<'_>]) {
    let mut taken: Vec<Box> = sites
        .iter()
        .map(|site| {
            let (x, y) = project(site.place);
            Box {
                left: x - 4.0,
                top: y - 4.0,
                right: x + 4.0,
                bottom: y + 4.0,
            }
        })
        .collect();
    for site in sites {
        let (x, y) = project(site.place);
        let shown: String = site.region.chars().take(24).collect();
        let text = if site.nodes > 1 {
            format!("{shown} ×{}", site.nodes)
        } else {
            shown
        };
        let width = text.chars().count() as f64 * LETTER_WIDTH;
        let candidates = (0..8).flat_map(|ring| {
            let far = 8.0 + 9.0 * f64::from(ring);
            [
                (1.0, 0.0),
                (-1.0, 0.0),
                (0.8, -0.8),
                (0.8, 0.8),
                (-0.8, -0.8),
                (-0.8, 0.8),
            ]
            .map(|(right, down)| (x + right * far, y + down * far, right > 0.0))
        });
        let place = |&(lx, ly, rightwards): &(f64, f64, bool)| Box {
            left: if rightwards { lx } else { lx - width },
            top: ly - LABEL_HEIGHT / 2.0,
            right: if rightwards { lx + width } else { lx },
            bottom: ly + LABEL_HEIGHT / 2.0,
        };
        let is_free = |b: &Box| {
            b.left >= 0.0
                && b.right <= WIDTH
                && b.top >= 0.0
                && b.bottom <= HEIGHT
                && !taken.iter().any(|t| t.overlaps(b))
        };
        let chosen = candidates
            .into_iter()
            .find(|candidate| is_free(&place(candidate)))
            .unwrap_or((x + 8.0, y, true));
        let (lx, ly, rightwards) = chosen;
        if (lx - x).hypot(ly - y) > 9.0 {
            put!(
                out,
                "<line class=\"leader\" x1=\"{x:.1}\" y1=\"{y:.1}\" x2=\"{lx:.1}\" y2=\"{ly:.1}\"/>\n"
            );
        }
        let anchor = if rightwards { "start" } else { "end" };
        put!(
            out,
            "<text class=\"region\" x=\"{lx:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>\n",
            ly + 3.2,
            Escaped(&text)
        );
        taken.push(place(&chosen));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(region: &str, latitude: f64, longitude: f64) -> Site<'_> {
        Site {
            region,
            place: Place {
                latitude,
                longitude,
            },
            nodes: 1,
            behind_nat: 0,
        }
    }

    #[test]
    fn the_corners_of_the_world_stay_on_the_map() {
        assert_eq!(
            project(Place {
                latitude: 99.0,
                longitude: -400.0
            }),
            (0.0, 0.0)
        );
        assert_eq!(
            project(Place {
                latitude: -90.0,
                longitude: 180.0
            }),
            (WIDTH, HEIGHT)
        );
    }

    #[test]
    fn a_link_has_the_colour_of_what_went_wrong() {
        let mut traffic = Traffic::default();
        traffic.add(ObservedPath::Direct);
        traffic.add(ObservedPath::None);
        let links = BTreeMap::from([(("a", "b"), traffic), (("a", "nowhere"), traffic)]);
        let svg = map(&[site("a", 0.0, 0.0), site("b", 10.0, 10.0)], &links);
        assert_eq!(svg.matches("class=\"link none\"").count(), 1);
        assert!(svg.contains("a – b: 1 direct, 1 without a path"), "{svg}");
    }

    #[test]
    fn labels_of_neighbours_do_not_cover_each_other() {
        let sites: Vec<_> = (0..6).map(|_| site("Nuremberg", 50.0, 11.0)).collect();
        let svg = map(&sites, &BTreeMap::new());
        let mut places: Vec<&str> = svg
            .lines()
            .filter(|l| l.contains("class=\"region\""))
            .map(|l| l.split(" text-anchor").next().unwrap())
            .collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 6);
    }

    #[test]
    fn hostile_regions_stay_text() {
        let svg = map(&[site("</text><script>", 0.0, 0.0)], &BTreeMap::new());
        assert!(!svg.contains("<script"));
    }
}
