//! The loop of the request as a drawn state machine, with where a run is in it.

use model::publication::RunSummary;
use model::run::State;

use super::put;

const WIDTH: f64 = 700.0;
const HEIGHT: f64 = 148.0;
const BOX: (f64, f64) = (96.0, 30.0);
const STEP: f64 = 120.0;
const ROWS: [f64; 2] = [8.0, 92.0];

/// Column and row of each state.
const PLACES: [(State, usize, usize); 10] = [
    (State::Interview, 0, 0),
    (State::Setup, 1, 0),
    (State::BuildLocal, 2, 0),
    (State::Deploy, 3, 0),
    (State::Test, 4, 0),
    (State::Complete, 5, 0),
    (State::Restart, 1, 1),
    (State::Fix, 2, 1),
    (State::Wait1Hr, 4, 1),
    (State::Wait6Hr, 5, 1),
];

/// An SVG for inline use.
pub fn machine(run: &RunSummary) -> String {
    let mut out = format!(
        "<svg class=\"machine\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"State machine: {} is in {}, \
         {} of {} tests passed\" xmlns=\"http://www.w3.org/2000/svg\">\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">\
         <path class=\"tip\" d=\"M0 0L8 4L0 8z\"/></marker></defs>\n",
        crate::html::Escaped(run.run.as_str()),
        run.state,
        run.passed,
        run.tests,
    );
    edges(&mut out);
    for (state, column, row) in PLACES {
        let (x, y) = (column as f64 * STEP, ROWS[row]);
        put(
            &mut out,
            format_args!(
                "<g class=\"state {}\"><rect x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" rx=\"6\"/>\
                 <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{state}</text></g>\n",
                class(run, state),
                BOX.0,
                BOX.1,
                x + BOX.0 / 2.0,
                y + 20.0,
            ),
        );
    }
    pips(&mut out, run);
    out.push_str("</svg>\n");
    out
}

fn edges(out: &mut String) {
    let (w, h) = BOX;
    let mut edge = |class: &str, d: String| {
        put(
            out,
            format_args!("<path class=\"edge {class}\" d=\"{d}\" marker-end=\"url(#tip)\"/>\n"),
        );
    };
    let middle = ROWS[0] + h / 2.0;
    for column in 0..5 {
        let x = f64::from(column) * STEP + w;
        edge("", format!("M{x} {middle}h{}", STEP - w));
    }
    let (top, bottom) = (ROWS[0] + h, ROWS[1]);
    // TEST to a wait and back, twice.
    let test = 4.0 * STEP;
    edge("wait", format!("M{} {top}V{bottom}", test + 40.0));
    edge("wait", format!("M{} {bottom}V{top}", test + 60.0));
    edge(
        "wait",
        format!("M{} {top}L{} {bottom}", test + 76.0, test + STEP + 20.0),
    );
    edge(
        "wait",
        format!("M{} {bottom}L{} {top}", test + STEP + 40.0, test + 92.0),
    );
    // A failure: to FIX, or after a wait to RESTART.
    edge(
        "fail",
        format!("M{} {top}V62H{}V{bottom}", test + 24.0, 2.0 * STEP + 60.0),
    );
    edge(
        "fail",
        format!("M{} {top}V76H{}V{bottom}", test + 12.0, STEP + 60.0),
    );
    edge("fail", format!("M{} {bottom}V{top}", 2.0 * STEP + 36.0));
    edge("fail", format!("M{} {bottom}V{top}", STEP + 36.0));
}

fn class(run: &RunSummary, state: State) -> &'static str {
    if run.state == state {
        return match state {
            State::Complete => "here done",
            State::Fix | State::Restart => "here trouble",
            _ => "here",
        };
    }
    let passed = run.passed;
    let is_done = match state {
        State::Interview => true,
        State::Setup | State::BuildLocal | State::Deploy => order(run.state) > order(state),
        State::Test => run.state == State::Complete,
        State::Wait1Hr => passed >= 2,
        State::Wait6Hr => passed >= 3,
        _ => false,
    };
    if is_done { "done" } else { "" }
}

fn order(state: State) -> u8 {
    match state {
        State::Interview => 0,
        State::Setup | State::Restart => 1,
        State::BuildLocal | State::Fix => 2,
        State::Deploy => 3,
        State::Test | State::Wait1Hr | State::Wait6Hr | State::Stopped | State::Complete => 4,
    }
}

/// One circle a TEST: full where it passed.
fn pips(out: &mut String, run: &RunSummary) {
    for test in 0..run.tests.min(8) {
        let x = 4.0 * STEP
            + BOX.0 / 2.0
            + (f64::from(test) - f64::from(run.tests.min(8) - 1) / 2.0) * 14.0;
        let class = if test < run.passed { "passed" } else { "open" };
        put(
            out,
            format_args!("<circle class=\"pip {class}\" cx=\"{x}\" cy=\"134\" r=\"4.5\"/>\n"),
        );
    }
}
