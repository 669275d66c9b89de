//! A success rate as a picture: the interval of what the true rate may be,
//! against the target and the margin below it.

use model::proof::{CriterionResult, PassResult};
use model::stats::Verdict;

use crate::html::{Escaped, put};

const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 40.0;
const PAD: f64 = 14.0;

/// Percent on a line from `floor` to 100.
struct Scale {
    floor: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn at(&self, percent: f64) -> f64 {
        let share = (percent - self.floor) / (100.0 - self.floor);
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }
}

/// A round number below all that is to be seen.
fn floor<'a>(criteria: impl IntoIterator<Item = &'a CriterionResult>) -> f64 {
    let lowest = criteria
        .into_iter()
        .map(|c| {
            c.interval
                .map_or(100.0, |[low, _]| low)
                .min(c.target - c.margin)
        })
        .fold(100.0, f64::min);
    (((lowest - 4.0) / 10.0).floor() * 10.0).clamp(0.0, 90.0)
}

/// An SVG for inline use.
pub fn interval(c: &CriterionResult) -> String {
    let scale = Scale {
        floor: floor([c]),
        from: PAD,
        to: WIDTH - PAD,
    };
    let x = |percent: f64| scale.at(percent);
    let mut out = format!(
        "<svg class=\"interval {}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\" xmlns=\"http://www.w3.org/2000/svg\">",
        class(c.verdict),
        Escaped(&describe(c)),
    );
    let (bad, target) = (x(c.target - c.margin), x(c.target));
    put!(
        out,
        "<rect class=\"refused\" x=\"{:.1}\" y=\"8\" width=\"{:.1}\" height=\"14\"/>",
        x(scale.floor),
        bad - x(scale.floor)
    );
    put!(
        out,
        "<rect class=\"between\" x=\"{bad:.1}\" y=\"8\" width=\"{:.1}\" height=\"14\"/>",
        (target - bad).max(0.0)
    );
    put!(
        out,
        "<line class=\"target\" x1=\"{target:.1}\" y1=\"4\" x2=\"{target:.1}\" y2=\"26\"/>"
    );
    put!(
        out,
        "<line class=\"axis\" x1=\"{:.1}\" y1=\"22\" x2=\"{:.1}\" y2=\"22\"/>",
        x(scale.floor),
        x(100.0)
    );
    if let Some([low, high]) = c.interval {
        put!(
            out,
            "<line class=\"range\" x1=\"{:.1}\" y1=\"15\" x2=\"{:.1}\" y2=\"15\"/>",
            x(low),
            x(high)
        );
        put!(
            out,
            "<circle class=\"point\" cx=\"{:.1}\" cy=\"15\" r=\"4.5\"/>",
            x(rate(c))
        );
    }
    for (percent, anchor) in [(scale.floor, "start"), (100.0, "end")] {
        put!(
            out,
            "<text x=\"{:.1}\" y=\"36\" text-anchor=\"{anchor}\">{percent:.0}%</text>",
            x(percent)
        );
    }
    put!(
        out,
        "<text x=\"{:.1}\" y=\"36\" text-anchor=\"middle\">{}</text>",
        middle(bad),
        format_args!("{:.0}", c.target - c.margin)
    );
    out.push_str("</svg>");
    out
}

/// Not on top of the numbers at both ends.
fn middle(x: f64) -> f64 {
    x.clamp(PAD + 36.0, WIDTH - PAD - 40.0)
}

/// One criterion in every TEST of the run, from left to right.
pub fn trend(name: &str, passes: &[PassResult]) -> String {
    let results: Vec<(&PassResult, &CriterionResult)> = passes
        .iter()
        .filter_map(|p| Some((p, p.criteria.iter().find(|c| c.name == name)?)))
        .collect();
    let (width, height) = (64.0 + 72.0 * results.len() as f64, 150.0);
    let scale = Scale {
        floor: floor(results.iter().map(|(_, c)| *c)),
        from: height - 34.0,
        to: 12.0,
    };
    let label: Vec<String> = results.iter().map(|(_, c)| describe(c)).collect();
    let mut out = format!(
        "<svg class=\"trend\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" role=\"img\" aria-label=\"{}\" xmlns=\"http://www.w3.org/2000/svg\">",
        Escaped(&label.join("; then ")),
    );
    for percent in [scale.floor, 100.0] {
        let y = scale.at(percent);
        put!(
            out,
            "<line class=\"axis\" x1=\"38\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\"/><text x=\"34\" y=\"{:.1}\" text-anchor=\"end\">{percent:.0}%</text>",
            width - 6.0,
            y + 3.5
        );
    }
    for (index, (pass, c)) in results.iter().enumerate() {
        let x = 74.0 + 72.0 * index as f64;
        let target = scale.at(c.target);
        put!(
            out,
            "<g class=\"{}\"><title>{}</title>",
            class(c.verdict),
            Escaped(&describe(c))
        );
        put!(
            out,
            "<line class=\"target\" x1=\"{:.1}\" y1=\"{target:.1}\" x2=\"{:.1}\" y2=\"{target:.1}\"/>",
            x - 30.0,
            x + 30.0
        );
        if let Some([low, high]) = c.interval {
            put!(
                out,
                "<line class=\"range\" x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\"/>",
                scale.at(low),
                scale.at(high)
            );
            put!(
                out,
                "<circle class=\"point\" cx=\"{x:.1}\" cy=\"{:.1}\" r=\"4.5\"/>",
                scale.at(rate(c))
            );
        }
        put!(
            out,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            height - 18.0,
            pass.at.strftime("%H:%M")
        );
        put!(
            out,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}/{}</text></g>",
            height - 5.0,
            c.successes,
            c.attempts
        );
    }
    out.push_str("</svg>");
    out
}

/// In percent; meaningless without attempts.
pub fn rate(c: &CriterionResult) -> f64 {
    100.0 * c.successes as f64 / c.attempts.max(1) as f64
}

pub fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Inconclusive => "inconclusive",
        Verdict::Fail => "fail",
    }
}

fn describe(c: &CriterionResult) -> String {
    let Some([low, high]) = c.interval else {
        return format!("{}: no attempts, {}", c.name, c.verdict);
    };
    format!(
        "{}: {} of {}, {:.1}%, 95% interval {low:.1} to {high:.1}, target {} minus {}, {}",
        c.name,
        c.successes,
        c.attempts,
        rate(c),
        c.target,
        c.margin,
        c.verdict
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(successes: u64, attempts: u64, interval: Option<[f64; 2]>) -> CriterionResult {
        CriterionResult {
            name: "direct".into(),
            target: 99.0,
            margin: 4.0,
            attempts,
            successes,
            interval,
            verdict: Verdict::Pass,
            ..CriterionResult::default()
        }
    }

    #[test]
    fn the_scale_begins_below_all_that_is_shown() {
        assert_eq!(floor([&result(72, 72, Some([95.0, 100.0]))]), 90.0);
        assert_eq!(floor([&result(1, 9, Some([0.3, 48.2]))]), 0.0);
        assert_eq!(floor([&result(0, 0, None)]), 90.0);
    }

    #[test]
    fn no_data_has_no_point() {
        assert!(!interval(&result(0, 0, None)).contains("class=\"point\""));
        assert!(interval(&result(0, 0, None)).contains("no attempts"));
        assert!(interval(&result(72, 72, Some([95.0, 100.0]))).contains("72 of 72, 100.0%"));
    }
}
