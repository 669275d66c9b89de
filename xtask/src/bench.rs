//! What the README promises, measured: each value beside its limit.
//!
//! A bench is a command of `vps-test` that prints, among whatever else it says,
//! one line of JSON per measurement: `{"name":"lab up","value":4.2}`. Names,
//! units and limits stand here, so that a bench cannot set its own.

use std::process::{ExitCode, Stdio};

use anyhow::bail;
use serde::Deserialize;

use crate::{setup, shell};

/// A command and the measurements that it owes.
struct Bench {
    name: &'static str,
    command: &'static [&'static str],
    figures: &'static [Figure],
}

struct Figure {
    name: &'static str,
    unit: &'static str,
    limit: Limit,
}

#[derive(Clone, Copy)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

const BENCHES: &[Bench] = &[
    Bench {
        name: "lab",
        command: &["bench", "lab"],
        figures: &[
            at_most("ten hosts up", "s", 6.0),
            at_most("ten hosts down", "s", 3.0),
            at_least("TCP through the WAN, of a veth pair", "%", 60.0),
            at_most("added delay off the set value, p99", "ms", 1.0),
            at_most("drops not asked for", "packets", 0.0),
        ],
    },
    Bench {
        name: "deploy",
        command: &["bench", "deploy"],
        figures: &[
            at_least("deploy, times faster than scp then ssh", "×", 4.0),
            at_most("redeploy without a change", "s", 1.5),
        ],
    },
    Bench {
        name: "matrix",
        command: &["bench", "matrix"],
        figures: &[
            at_most("cold 72-pair ant-quic matrix, no delay", "s", 20.0),
            at_most("start to the first full matrix", "s", 60.0),
            at_most("start to a decided verdict and the proof", "s", 240.0),
        ],
    },
    Bench {
        name: "peers",
        command: &["bench", "peers"],
        figures: &[
            at_most("300 peers, start to 1,000 pairs", "s", 300.0),
            at_most("memory a peer, of 30", "MiB", 16.0),
            at_most("memory a peer, of 100", "MiB", 16.0),
            at_most("memory a peer, of 300", "MiB", 16.0),
            at_most("time a pair, of 30 peers", "ms", 250.0),
            at_most("time a pair, of 100 peers", "ms", 250.0),
            at_most("time a pair, of 300 peers", "ms", 250.0),
        ],
    },
    Bench {
        name: "capture",
        command: &["bench", "capture"],
        figures: &[at_most("capture on failures, added to a matrix", "%", 10.0)],
    },
    Bench {
        name: "registry",
        command: &["bench", "registry"],
        figures: &[
            at_least("heartbeats answered, of those due", "%", 99.0),
            at_most("registry under load, p99", "ms", 20.0),
            at_most("memory of the registry for each peer", "kB", 64.0),
        ],
    },
    Bench {
        name: "nat",
        command: &["bench", "nat"],
        figures: &[
            at_most("certifying four NAT boxes", "s", 3.0),
            at_most("certifying all nine behaviours", "s", 8.0),
            at_least("TCP through a NAT box, of the path without", "%", 80.0),
        ],
    },
];

const fn at_most(name: &'static str, unit: &'static str, limit: f64) -> Figure {
    Figure {
        name,
        unit,
        limit: Limit::AtMost(limit),
    }
}

const fn at_least(name: &'static str, unit: &'static str, limit: f64) -> Figure {
    Figure {
        name,
        unit,
        limit: Limit::AtLeast(limit),
    }
}

#[derive(Debug, PartialEq, Deserialize)]
struct Measurement {
    name: String,
    value: f64,
}

/// A row of the table; `None` where the bench did not say.
struct Row {
    figure: &'static Figure,
    value: Option<f64>,
}

/// Fails (status 1) where a limit is missed or a figure was not measured.
pub fn run(names: &[String]) -> anyhow::Result<ExitCode> {
    let chosen = choose(names)?;
    setup::run()?;
    // All of it, so that the run's own build finds what it needs.
    shell::run(shell::cargo().args(["build", "--workspace"]))?;
    let mut rows = Vec::new();
    for bench in chosen {
        rows.extend(measure(bench)?);
    }
    print!("{}", table(&rows));
    let missed = rows.iter().filter(|row| !row.holds()).count();
    if missed == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("bench: {missed} of {} limits missed", rows.len());
    Ok(ExitCode::FAILURE)
}

fn choose(names: &[String]) -> anyhow::Result<Vec<&'static Bench>> {
    let known = || {
        let names: Vec<_> = BENCHES.iter().map(|bench| bench.name).collect();
        names.join(", ")
    };
    for name in names {
        if !BENCHES.iter().any(|bench| bench.name == name) {
            bail!("there is no bench `{name}`; there are {}", known());
        }
    }
    Ok(BENCHES
        .iter()
        .filter(|bench| names.is_empty() || names.iter().any(|name| name == bench.name))
        .collect())
}

/// A bench that fails leaves its figures unmeasured, which misses their limits.
fn measure(bench: &'static Bench) -> anyhow::Result<Vec<Row>> {
    let program = shell::target_directory()?.join("debug/vps-test");
    let mut command = shell::as_root(program)?;
    command
        .current_dir(shell::workspace())
        .args(bench.command)
        .stderr(Stdio::inherit());
    let measurements = match shell::capture(&mut command) {
        Ok(output) => measurements(&String::from_utf8_lossy(&output.stdout)),
        Err(error) => {
            eprintln!("bench: {}: {error:#}", bench.name);
            Vec::new()
        }
    };
    Ok(rows(bench.figures, &measurements))
}

fn measurements(output: &str) -> Vec<Measurement> {
    output
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn rows(figures: &'static [Figure], measurements: &[Measurement]) -> Vec<Row> {
    figures
        .iter()
        .map(|figure| Row {
            figure,
            value: measurements
                .iter()
                .find(|measurement| measurement.name == figure.name)
                .map(|measurement| measurement.value),
        })
        .collect()
}

impl Row {
    fn holds(&self) -> bool {
        match (self.value, self.figure.limit) {
            (None, _) => false,
            (Some(value), Limit::AtMost(limit)) => value <= limit,
            (Some(value), Limit::AtLeast(limit)) => value >= limit,
        }
    }
}

fn table(rows: &[Row]) -> String {
    let mut table = format!("{:<44} {:>16} {:>16}\n", "", "value", "limit");
    for row in rows {
        let unit = row.figure.unit;
        let value = row
            .value
            .map_or_else(|| "not measured".to_owned(), |v| format!("{v:.2} {unit}"));
        let limit = match row.figure.limit {
            Limit::AtMost(limit) => format!("≤ {limit} {unit}"),
            Limit::AtLeast(limit) => format!("≥ {limit} {unit}"),
        };
        let mark = if row.holds() { "ok" } else { "MISSED" };
        table += &format!("{:<44} {value:>16} {limit:>16}  {mark}\n", row.figure.name);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIGURES: &[Figure] = &[at_most("up", "s", 6.0), at_least("share", "%", 60.0)];

    fn measured(output: &str) -> Vec<Row> {
        rows(FIGURES, &measurements(output))
    }

    #[test]
    fn limits_are_inclusive_and_other_lines_do_not_matter() {
        let rows =
            measured("hello\n{\"name\":\"up\",\"value\":6}\n{\"name\":\"share\",\"value\":60.0}\n");
        assert!(rows.iter().all(Row::holds));
        let rows = measured("{\"name\":\"up\",\"value\":6.1}\n{\"name\":\"share\",\"value\":59}\n");
        assert!(!rows.iter().any(Row::holds));
    }

    #[test]
    fn what_was_not_measured_misses_its_limit() {
        let rows = measured("");
        assert!(!rows.iter().any(Row::holds));
        let table = table(&rows);
        assert!(table.contains("not measured"), "{table}");
        assert_eq!(table.matches("MISSED").count(), 2);
    }

    #[test]
    fn an_unknown_bench_is_told_what_there_is() {
        let error = choose(&["latency".into()]).map(|_| ()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("lab, deploy, matrix, peers, capture, registry")
        );
        assert_eq!(choose(&["lab".into()]).unwrap().len(), 1);
        assert_eq!(choose(&[]).unwrap().len(), BENCHES.len());
    }
}
