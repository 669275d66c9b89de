//! The heat map of a connectivity matrix: callers down, callees across.
//!
//! Colour and sign say the observed path, saturation the share of attempts that
//! succeeded, the strip on the left what theory predicted, a dashed border that it
//! knows no path. Every cell carries its whole story as a tooltip, so that the
//! picture needs no legend to be checked.

use std::collections::HashMap;
use std::fmt::Write as _;

use model::attempt::ObservedPath;
use model::nat::theory::{Category, Prediction};
use model::proof::MatrixCell;
use model::protocol::ClaimedPath;

use crate::by_nodes::by_nodes;
use crate::html::Escaped;
use crate::natural::natural_key;

const CELL: usize = 44;
const GAP: usize = 3;
/// Room for a row's name, which is cut to [`NAME_SHOWN`] characters.
const LEFT: usize = 132;
const TOP: usize = 96;
/// The last column's name leans out this far.
const RIGHT: usize = 64;
const NAME_SHOWN: usize = 16;
const LEGEND: usize = 40;
/// The legend's own width.
const WIDTH_MIN: usize = 620;

/// Upper bounds of the steps of [`connect_times`], in milliseconds.
const STEPS: [f64; 5] = [50.0, 100.0, 200.0, 400.0, 800.0];

/// An SVG for inline use; it takes its colours from [`crate::STYLE`].
pub fn matrix(cells: &[MatrixCell]) -> String {
    grid(cells, &label(cells), draw, &PATHS)
}

/// The same grid, coloured by how long the first attempt took to connect.
pub fn connect_times(cells: &[MatrixCell]) -> String {
    let mut times: Vec<f64> = cells.iter().filter_map(|c| c.connect_ms).collect();
    times.sort_by(f64::total_cmp);
    let label = match (times.first(), times.get(times.len() / 2), times.last()) {
        (Some(first), Some(median), Some(last)) => format!(
            "connect times of {} pairs: {first:.0} to {last:.0} ms, median {median:.0} ms",
            times.len()
        ),
        _ => "no connect time was measured".to_owned(),
    };
    grid(cells, &label, draw_time, &TIMES)
}

fn grid(
    cells: &[MatrixCell],
    label: &str,
    draw: fn(&mut String, &MatrixCell, usize, usize),
    keys: &[(&str, &str)],
) -> String {
    let names = names(cells);
    let width = (LEFT + names.len() * (CELL + GAP) + RIGHT).max(WIDTH_MIN);
    let height = TOP + names.len() * (CELL + GAP) + LEGEND;
    let mut out = format!(
        "<svg class=\"matrix\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-label=\"{}\" xmlns=\"http://www.w3.org/2000/svg\">\n",
        Escaped(label),
    );
    names_along_both_sides(&mut out, &names);
    let position: HashMap<&str, usize> = names.iter().enumerate().map(|(i, n)| (*n, i)).collect();
    for cell in &by_nodes(cells) {
        let row = position[cell.pair.from.as_str()];
        let column = position[cell.pair.to.as_str()];
        draw(&mut out, cell, row, column);
    }
    legend(&mut out, height, keys);
    out.push_str("</svg>\n");
    out
}

fn draw_time(out: &mut String, cell: &MatrixCell, row: usize, column: usize) {
    let (x, y) = (LEFT + offset(column), TOP + offset(row));
    let (class, text) = match cell.connect_ms {
        Some(ms) => {
            let step = STEPS.iter().filter(|bound| ms >= **bound).count();
            (format!("t{step}"), format!("{ms:.0}"))
        }
        None => ("unmeasured".to_owned(), "–".to_owned()),
    };
    push(
        out,
        format_args!(
            "<g class=\"cell {class}\"><title>{}</title>\
             <rect x=\"{x}\" y=\"{y}\" width=\"{CELL}\" height=\"{CELL}\" rx=\"6\"/>\
             <text x=\"{}\" y=\"{}\" class=\"time\" text-anchor=\"middle\">{text}</text></g>\n",
            Escaped(&story(cell)),
            x + CELL / 2,
            y + CELL / 2 + 4,
        ),
    );
}

/// Every node that occurs, once, in the order that people count in.
fn names(cells: &[MatrixCell]) -> Vec<&str> {
    let mut names: Vec<&str> = cells
        .iter()
        .flat_map(|cell| [cell.pair.from.as_str(), cell.pair.to.as_str()])
        .collect();
    names.sort_by(|a, b| natural_key(a).cmp(&natural_key(b)));
    names.dedup();
    names
}

fn label(cells: &[MatrixCell]) -> String {
    let count = |path: ObservedPath| cells.iter().filter(|c| c.observed == path).count();
    format!(
        "{} pairs: {} direct, {} relayed, {} without a path, {} unmeasured",
        cells.len(),
        count(ObservedPath::Direct),
        count(ObservedPath::Relayed),
        count(ObservedPath::None),
        count(ObservedPath::Unmeasured),
    )
}

fn names_along_both_sides(out: &mut String, names: &[&str]) {
    for (index, name) in names.iter().enumerate() {
        let (short, middle) = (shortened(name), offset(index) + CELL / 2);
        let (x, y) = (LEFT - 10, TOP + middle + 4);
        push(
            out,
            format_args!(
                "<text class=\"name\" x=\"{x}\" y=\"{y}\" text-anchor=\"end\">{}</text>\n",
                Escaped(&short)
            ),
        );
        let (x, y) = (LEFT + middle + 4, TOP - 8);
        push(
            out,
            format_args!(
                "<text class=\"name\" transform=\"translate({x} {y}) rotate(-50)\">{}</text>\n",
                Escaped(&short)
            ),
        );
    }
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= NAME_SHOWN {
        return name.to_owned();
    }
    let kept: String = name.chars().take(NAME_SHOWN - 1).collect();
    format!("{kept}…")
}

fn offset(index: usize) -> usize {
    index * (CELL + GAP)
}

fn draw(out: &mut String, cell: &MatrixCell, row: usize, column: usize) {
    let (x, y) = (LEFT + offset(column), TOP + offset(row));
    let never = if cell.predicted == Prediction::Never {
        " never"
    } else {
        ""
    };
    push(
        out,
        format_args!(
            "<g class=\"cell {}{never}\"><title>{}</title>\
             <rect x=\"{x}\" y=\"{y}\" width=\"{CELL}\" height=\"{CELL}\" rx=\"6\" fill-opacity=\"{:.2}\"/>\
             <path class=\"theory {}\" d=\"M{} {}v{}\"/>\
             <text x=\"{}\" y=\"{}\" class=\"sign\" text-anchor=\"middle\">{}</text>\
             <text x=\"{}\" y=\"{}\" class=\"count\" text-anchor=\"middle\">{}</text></g>\n",
            class(&cell.observed),
            Escaped(&story(cell)),
            opacity(cell),
            prediction(&cell.predicted),
            x + 4,
            y + 6,
            CELL - 12,
            x + CELL / 2 + 2,
            y + 20,
            sign(&cell.observed),
            x + CELL / 2 + 2,
            y + 36,
            share(cell),
        ),
    );
}

fn class(path: &ObservedPath) -> &'static str {
    match path {
        ObservedPath::Direct => "direct",
        ObservedPath::Relayed => "relayed",
        ObservedPath::None => "none",
        ObservedPath::Unmeasured => "unmeasured",
    }
}

/// So that the picture reads without colour, too.
fn sign(path: &ObservedPath) -> &'static str {
    match path {
        ObservedPath::Direct => "●",
        ObservedPath::Relayed => "◐",
        ObservedPath::None => "✕",
        ObservedPath::Unmeasured => "?",
    }
}

/// Full where every attempt did what the path's colour says.
fn opacity(cell: &MatrixCell) -> f64 {
    if cell.attempts == 0 || cell.observed == ObservedPath::None {
        return 1.0;
    }
    0.35 + 0.65 * cell.successes as f64 / cell.attempts as f64
}

fn share(cell: &MatrixCell) -> String {
    if cell.attempts == 0 {
        return "–".to_owned();
    }
    format!("{}/{}", cell.successes, cell.attempts)
}

/// Everything that is known about a cell, a line each.
fn story(cell: &MatrixCell) -> String {
    let mut story = format!(
        "{}: {}, theory: {}, observed: {}, claimed: {}, {} of {} attempts",
        cell.pair,
        category(&cell.category),
        prediction(&cell.predicted),
        class(&cell.observed),
        claim(cell.claimed),
        cell.successes,
        cell.attempts,
    );
    if let Some(reference) = &cell.reference {
        let _ = write!(story, ", plain UDP: {}", class(reference));
    }
    if let Some(milliseconds) = cell.connect_ms {
        let _ = write!(story, ", connected in {milliseconds:.0} ms");
    }
    if let Some(failure) = &cell.failure {
        let _ = write!(story, ", first failure: {failure}");
    }
    story
}

fn category(category: &Category) -> &'static str {
    match category {
        Category::Direct => "the callee is public",
        Category::NatTraversed => "the callee is behind a NAT",
        Category::Relay => "only a relay can connect them",
    }
}

fn prediction(prediction: &Prediction) -> &'static str {
    match prediction {
        Prediction::Always => "always",
        Prediction::Sometimes => "sometimes",
        Prediction::Never => "never",
    }
}

fn claim(path: ClaimedPath) -> &'static str {
    match path {
        ClaimedPath::Direct => "direct",
        ClaimedPath::Punched => "punched",
        ClaimedPath::Relayed => "relayed",
        ClaimedPath::Unknown => "unknown",
    }
}

const PATHS: [(&str, &str); 7] = [
    ("direct", "● direct"),
    ("relayed", "◐ relayed"),
    ("none", "✕ no path"),
    ("unmeasured", "? not measured"),
    ("always", "▎theory: always"),
    ("sometimes", "▎sometimes"),
    ("never", "▎never"),
];

const TIMES: [(&str, &str); 6] = [
    ("t0", "■ under 50 ms"),
    ("t1", "■ 50–100"),
    ("t2", "■ 100–200"),
    ("t3", "■ 200–400"),
    ("t4", "■ 400–800"),
    ("t5", "■ more"),
];

fn legend(out: &mut String, height: usize, keys: &[(&str, &str)]) {
    let mut x = 8;
    for (class, text) in keys {
        push(
            out,
            format_args!(
                "<text class=\"key {class}\" x=\"{x}\" y=\"{}\">{text}</text>\n",
                height - 10
            ),
        );
        x += 14 + text.chars().count() * 7;
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text)
        .expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use model::attempt::Pair;
    use model::inventory::NodeName;

    use super::*;

    fn cell(from: &str, to: &str, observed: ObservedPath) -> MatrixCell {
        MatrixCell {
            suite: model::suite::SuiteName::default(),
            pair: Pair::of_nodes(NodeName::new(from), NodeName::new(to)),
            category: Category::NatTraversed,
            predicted: Prediction::Always,
            observed,
            claimed: ClaimedPath::Punched,
            attempts: 3,
            successes: 2,
            reference: Some(ObservedPath::Direct),
            connect_ms: Some(61.4),
            failure: Some("timeout: no answer".into()),
        }
    }

    #[test]
    fn every_pair_is_a_cell_with_its_story() {
        let svg = matrix(&[
            cell("n-10", "n-9", ObservedPath::Direct),
            cell("n-9", "n-10", ObservedPath::Relayed),
        ]);
        assert_eq!(svg.matches("class=\"cell ").count(), 2);
        assert!(svg.contains(
            "<title>n-10 → n-9: the callee is behind a NAT, theory: always, observed: direct, \
             claimed: punched, 2 of 3 attempts, plain UDP: direct, connected in 61 ms, \
             first failure: timeout: no answer</title>"
        ));
        assert!(svg.contains("2 pairs: 1 direct, 1 relayed, 0 without a path, 0 unmeasured"));
    }

    #[test]
    fn rows_count_as_people_do() {
        let svg = matrix(&[cell("n-10", "n-9", ObservedPath::Direct)]);
        let nine = svg.find(">n-9<").unwrap();
        let ten = svg.find(">n-10<").unwrap();
        assert!(nine < ten);
    }

    #[test]
    fn hostile_names_and_reasons_stay_text() {
        let mut bad = cell("</text><script>", "\"x", ObservedPath::None);
        bad.failure = Some("</title><script>alert(1)</script>".into());
        let svg = matrix(&[bad]);
        assert!(!svg.contains("<script"));
        assert_eq!(svg.matches("</title>").count(), 1);
    }

    #[test]
    fn no_attempt_is_not_zero_of_zero() {
        let mut empty = cell("a", "b", ObservedPath::Unmeasured);
        (empty.attempts, empty.successes) = (0, 0);
        assert!(matrix(&[empty]).contains(">–</text>"));
    }

    #[test]
    fn an_empty_matrix_is_a_picture_too() {
        assert!(matrix(&[]).ends_with("</svg>\n"));
    }

    #[test]
    fn a_cell_that_theory_forbids_is_marked() {
        let mut never = cell("a", "b", ObservedPath::Direct);
        never.predicted = Prediction::Never;
        assert!(matrix(&[never]).contains("class=\"cell direct never\""));
    }
}
