//! Every metric that there is, by its Prometheus name: what writes them, what
//! explains them and `docs/metrics.md` are made from these tables.

/// What a value means over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until its process starts anew.
    Counter,
    Gauge,
    Histogram,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind: Kind::Counter,
        labels,
        help,
    }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric {
        name,
        kind: Kind::Gauge,
        labels,
        help,
    }
}

/// What goes before a tester's own names where the registry re-exports them.
pub const PEER_PREFIX: &str = "vps_test_peer_";

/// Labels of everything that is said of a peer.
pub const PEER_LABELS: &[&str] = &["node", "project", "peer"];

/// What every tester pushes. One of another language may push others, too.
pub const TESTER: &[Metric] = &[
    counter("requests_total", PEER_LABELS, "Requests of the engine."),
    counter(
        "request_panics_total",
        PEER_LABELS,
        "Requests that ended in a panic.",
    ),
    counter(
        "attempts_total",
        PEER_LABELS,
        "Attempts that were prepared.",
    ),
    counter("dials_total", PEER_LABELS, "Dials of all rungs."),
    counter("dial_failures_total", PEER_LABELS, "Dials that failed."),
    counter("exchanges_total", PEER_LABELS, "Payload exchanges."),
    counter(
        "exchange_failures_total",
        PEER_LABELS,
        "Payload exchanges that failed.",
    ),
    counter(
        "payload_bytes_sent_total",
        PEER_LABELS,
        "Payload bytes that were acknowledged.",
    ),
    counter(
        "payload_bytes_received_total",
        PEER_LABELS,
        "Payload bytes that came.",
    ),
    gauge(
        "attempts_open",
        PEER_LABELS,
        "Attempts that are prepared and not finished.",
    ),
    gauge(
        "uptime_seconds",
        PEER_LABELS,
        "Time since the tester began.",
    ),
    gauge("resident_memory_bytes", PEER_LABELS, "Memory in use."),
    gauge("open_fds", PEER_LABELS, "Open file descriptors."),
];

const RUN_LABELS: &[&str] = &["project", "run"];
const CRITERION_LABELS: &[&str] = &["project", "run", "criterion"];

/// What the registry says of itself, of its peers and of the newest run of each
/// project.
pub const REGISTRY: &[Metric] = &[
    gauge(
        "vps_test_registry_info",
        &["version"],
        "Version of the registry; always 1.",
    ),
    gauge(
        "vps_test_registry_uptime_seconds",
        &[],
        "Time since the registry began.",
    ),
    gauge(
        "vps_test_registry_peers",
        &["state"],
        "Registered peers by state: alive, silent.",
    ),
    gauge("vps_test_registry_runs", &[], "Runs that are kept."),
    gauge(
        "vps_test_registry_event_listeners",
        &[],
        "Open streams of events: live dashboards.",
    ),
    gauge(
        "vps_test_registry_database_bytes",
        &[],
        "Size of the database.",
    ),
    counter(
        "vps_test_registry_http_requests_total",
        &["route", "code"],
        "Requests answered, by route and status.",
    ),
    Metric {
        name: "vps_test_registry_http_request_duration_seconds",
        kind: Kind::Histogram,
        labels: &["le"],
        help: "Time from a request to its answer.",
    },
    gauge(
        "vps_test_registry_peer_up",
        PEER_LABELS,
        "1 where the peer was heard within its time to live.",
    ),
    gauge(
        "vps_test_registry_peer_last_seen_timestamp_seconds",
        PEER_LABELS,
        "Unix time of the last heartbeat.",
    ),
    gauge(
        "vps_test_registry_peer_info",
        &[
            "node",
            "project",
            "peer",
            "tester",
            "stack_version",
            "digest",
        ],
        "What the peer runs; always 1.",
    ),
    gauge(
        "vps_test_run_state",
        &["project", "run", "state"],
        "1 for the state that the run is in.",
    ),
    gauge(
        "vps_test_run_verdict",
        &["project", "run", "verdict"],
        "1 for where the newest TEST stands: PASS, FAIL, INCONCLUSIVE.",
    ),
    gauge(
        "vps_test_run_last_event_timestamp_seconds",
        RUN_LABELS,
        "Unix time of the run's newest event.",
    ),
    gauge(
        "vps_test_run_wait_until_timestamp_seconds",
        RUN_LABELS,
        "Unix time at which the soak that the run is in ends; absent outside.",
    ),
    gauge(
        "vps_test_run_attempts",
        RUN_LABELS,
        "Attempts of the run so far.",
    ),
    gauge(
        "vps_test_run_criterion_success_ratio",
        CRITERION_LABELS,
        "Share of successes in the newest TEST, 0 to 1; absent without attempts.",
    ),
    gauge(
        "vps_test_run_criterion_success_ratio_low",
        CRITERION_LABELS,
        "Lower end of its 95% interval.",
    ),
    gauge(
        "vps_test_run_criterion_success_ratio_high",
        CRITERION_LABELS,
        "Upper end of its 95% interval.",
    ),
    gauge(
        "vps_test_run_criterion_target_ratio",
        CRITERION_LABELS,
        "What the criterion asks for, 0 to 1.",
    ),
    gauge(
        "vps_test_run_criterion_attempts",
        CRITERION_LABELS,
        "Attempts that count for the criterion in the newest TEST.",
    ),
];

/// A tester's metric as the registry re-exports it.
pub fn help_of_tester(name: &str) -> Option<&'static str> {
    let metric = TESTER.iter().find(|metric| metric.name == name)?;
    Some(metric.help)
}

/// The table of `docs/metrics.md`.
pub fn table() -> String {
    let row = |name: &str, metric: &Metric| {
        let labels: Vec<String> = metric.labels.iter().map(|l| format!("`{l}`")).collect();
        format!(
            "| `{name}` | {} | {} | {} |\n",
            metric.kind,
            labels.join(", "),
            metric.help
        )
    };
    let head = "| metric | type | labels | what |\n|---|---|---|---|\n";
    let own: String = REGISTRY.iter().map(|m| row(m.name, m)).collect();
    let testers: String = TESTER
        .iter()
        .map(|m| row(&format!("{PEER_PREFIX}{}", m.name), m))
        .collect();
    format!(
        "# Metrics\n\n<!-- Made from crates/model/src/metrics.rs by `cargo xtask gen`. -->\n\n\
         All of these are on the registry's `/metrics`; Prometheus needs a viewer's token.\n\n\
         ## The registry, its peers and the newest run of each project\n\n{head}{own}\n\
         ## Testers\n\nPushed with heartbeats and re-exported for each live peer, as nothing can \
         be scraped behind a NAT.\nA silent peer's values are left out.\n\n{head}{testers}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_units_are_conventional() {
        for metric in REGISTRY.iter().chain(TESTER) {
            let name = metric.name;
            let is_counter = metric.kind == Kind::Counter;
            assert_eq!(name.ends_with("_total"), is_counter, "{name}");
            for odd in ["_ms", "_millis", "_kb", "_mb", "_percent", "_minutes"] {
                assert!(!name.contains(odd), "{name}");
            }
            assert!(metric.help.ends_with('.'), "{name}");
        }
    }

    #[test]
    fn the_table_has_every_metric_once() {
        let table = table();
        for metric in REGISTRY {
            assert_eq!(table.matches(&format!("`{}`", metric.name)).count(), 1);
        }
        assert!(table.contains("`vps_test_peer_attempts_total`"));
    }
}
