//! The matrix as a grid: callers down, callees across, a glyph a cell.

use std::collections::{BTreeMap, BTreeSet};

use model::attempt::{Attempt, Counted, Pair};
use model::event::{Plan, PlanNode};
use model::family::Family;
use model::inventory::NodeName;
use model::nat::Behaviour;

use super::paint::{Paint, Style};

/// What a cell shows, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Glyph {
    /// No attempt yet.
    Open,
    Direct,
    Relayed,
    Infrastructure,
    Failed,
}

impl Glyph {
    /// Of a finished attempt.
    pub fn of(attempt: &Attempt) -> Self {
        match attempt.verdict() {
            Counted::Infrastructure => Self::Infrastructure,
            Counted::Failure => Self::Failed,
            Counted::Success if attempt.is_relayed() => Self::Relayed,
            Counted::Success => Self::Direct,
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Self::Direct => "●",
            Self::Relayed => "◐",
            Self::Failed => "✗",
            Self::Infrastructure => "!",
            Self::Open => "·",
        }
    }

    fn style(self) -> Style {
        match self {
            Self::Direct => Style::Good,
            Self::Relayed => Style::Note,
            Self::Failed => Style::Bad,
            Self::Infrastructure => Style::Warn,
            Self::Open => Style::Dim,
        }
    }
}

/// The first attempt of every pair decides its glyph; the worst pair of peers that
/// of their nodes.
#[derive(Debug, Default)]
pub struct Grid {
    nodes: Vec<PlanNode>,
    cells: BTreeMap<Pair, Glyph>,
    /// Several peers stand behind a sign.
    has_peers: bool,
}

impl Grid {
    /// Of the tested nodes of a plan, without any attempt.
    pub fn of_plan(plan: &Plan) -> Self {
        let tested = plan.nodes.iter().filter(|n| n.tested);
        Self::new(tested.cloned().collect())
    }

    /// `nodes`: the tested ones, in order.
    fn new(nodes: Vec<PlanNode>) -> Self {
        Self {
            nodes,
            cells: BTreeMap::new(),
            has_peers: false,
        }
    }

    pub fn add(&mut self, attempt: &Attempt) {
        let pair = &attempt.start.cell.pair;
        self.has_peers |= pair.from_peer.is_some() || pair.to_peer.is_some();
        self.cells
            .entry(attempt.start.cell.pair.clone())
            .or_insert_with(|| Glyph::of(attempt));
    }

    /// A grid for each address family that was tried.
    pub fn render(&self, paint: Paint) -> String {
        let mut families: BTreeSet<Family> = self.cells.keys().map(|pair| pair.family).collect();
        if families.is_empty() {
            families.insert(Family::Ipv4);
        }
        let mut out = String::new();
        for family in &families {
            if families.len() > 1 || *family == Family::Ipv6 {
                let title = paint.text(Style::Strong, &family.to_string());
                out.push_str(&format!("  {title}\n"));
            }
            self.render_family(&mut out, *family, paint);
        }
        out.push_str(&legend(paint));
        if self.has_peers {
            let word = "  each sign stands for the worst of the pairs of peers of two nodes\n";
            out.push_str(&paint.text(Style::Dim, word));
        }
        out
    }

    fn render_family(&self, out: &mut String, family: Family, paint: Paint) {
        let nodes: Vec<(&NodeName, String)> = self
            .nodes
            .iter()
            .filter(|node| node.families.contains(&family))
            .map(|node| (&node.name, front_word(node.nat, family)))
            .collect();
        let widest = |text: &dyn Fn(&(&NodeName, String)) -> usize| {
            nodes.iter().map(text).max().unwrap_or(0)
        };
        let name_width = widest(&|(name, _)| name.as_str().len());
        let nat_width = widest(&|(_, nat)| nat.chars().count());
        let column = nodes.len().to_string().len() + 2;
        let margin = 8 + name_width + nat_width;
        let worst = self.worst();
        out.push_str(&format!("{:margin$}", "  caller ↓  callee →"));
        for number in 1..=nodes.len() {
            out.push_str(&paint.text(Style::Dim, &format!("{number:>column$}")));
        }
        out.push('\n');
        for (number, (name, nat)) in (1..).zip(&nodes) {
            let row = format!(
                "  {number:>2}  {:name_width$}  {nat:nat_width$}",
                name.as_str()
            );
            out.push_str(&row);
            for (to, _) in &nodes {
                let glyph = (name != to).then(|| {
                    let pair = Pair {
                        family,
                        ..Pair::of_nodes((*name).clone(), (*to).clone())
                    };
                    worst.get(&pair).copied().unwrap_or(Glyph::Open)
                });
                out.push_str(&cell(glyph, column, paint));
            }
            out.push('\n');
        }
    }

    fn worst(&self) -> BTreeMap<Pair, Glyph> {
        let mut worst = BTreeMap::new();
        for (pair, glyph) in &self.cells {
            let all = worst.entry(pair.without_peers()).or_insert(*glyph);
            *all = (*all).max(*glyph);
        }
        worst
    }
}

/// Blank on the diagonal.
fn cell(glyph: Option<Glyph>, column: usize, paint: Paint) -> String {
    let padding = " ".repeat(column - 1);
    let sign = glyph.map_or_else(|| " ".into(), |g| paint.text(g.style(), g.sign()));
    format!("{padding}{sign}")
}

fn legend(paint: Paint) -> String {
    let entry =
        |glyph: Glyph, word: &str| format!("{} {word}", paint.text(glyph.style(), glyph.sign()));
    format!(
        "  {}   {}   {}   {}\n",
        entry(Glyph::Direct, "direct"),
        entry(Glyph::Relayed, "relayed"),
        entry(Glyph::Failed, "failed"),
        entry(Glyph::Infrastructure, "infrastructure"),
    )
}

/// What stands in front of a node: its NAT, or in IPv6 a firewall.
fn front_word(nat: Option<Behaviour>, family: Family) -> String {
    match (nat, family) {
        (Some(_), Family::Ipv6) => "firewall".into(),
        _ => nat_word(nat),
    }
}

/// `public`, `Full Cone`, `ADM/EIF`.
pub fn nat_word(nat: Option<Behaviour>) -> String {
    match nat {
        None => "public".into(),
        Some(behaviour) => behaviour
            .classic_name()
            .map_or_else(|| behaviour.to_string(), str::to_owned),
    }
}
