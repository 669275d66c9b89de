//! The file's shape with everything optional, so that the parser can say where a
//! key is unknown or a value is of the wrong kind.

use super::*;

macro_rules! shape {
    ($name:ident { $($field:ident: $kind:ty),* $(,)? }) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "read for its errors; the values come from the merged file")]
        pub struct $name { $($field: Option<$kind>),* }
    };
}

shape!(Config {
    workspace: String,
    fleet: String,
    state_dir: String,
    modules: BTreeMap<String, Module>,
    suites: BTreeMap<String, crate::suite::SuiteConfig>,
    focuses: BTreeMap<String, Vec<String>>,
    build: Build,
    deploy: Deploy,
    bootstrap: Bootstrap,
    criteria: Criteria,
    tests: Tests,
    soak: Soak,
    fix: Fix,
    notify: Notify,
});
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "read for its errors; the values come from the merged file"
)]
pub struct Module {
    binary: Option<String>,
    #[serde(rename = "crate")]
    crate_dir: Option<String>,
    tests: Option<Vec<String>>,
    project: Option<String>,
    stack: Option<String>,
    licence: Option<String>,
    companions: Option<BTreeMap<String, crate::config::Companion>>,
}
shape!(Build {
    command: String,
    target_dir: String,
    path: String,
    release: Release,
    fallback: String,
});
shape!(Release {
    repo: String,
    tag: String,
    pattern: String
});
shape!(Deploy {
    install_path: String,
    service_prefix: String,
    nodes: Nodes,
    peers_per_node: u16
});
shape!(Bootstrap { registry: String, nodes: Vec<String> });
shape!(Criteria {
    custom: String,
    improvement: Improvement
});
shape!(Improvement {
    margin: f64,
    tolerance: f64
});
shape!(Tests {
    connectivity: Connectivity,
    throughput: Throughput
});
shape!(Throughput {
    pairs: u32,
    streams: Vec<u16>,
    seconds: u64
});
shape!(Connectivity {
    families: Vec<Family>,
    sample: u32,
    success_criteria: PerCategory,
    margins: PerCategory,
    budget: u32,
    payload_bytes: u64,
    concurrency: Concurrency,
    nat_cooloff_seconds: u64,
    timeout_seconds: u64,
});
shape!(PerCategory {
    direct: f64,
    nat_traversed: f64,
    relay: f64
});
shape!(Concurrency {
    total: usize,
    per_node: usize
});
shape!(Soak {
    wait_1hr: Wait,
    wait_6hr: Wait,
    regression_tolerance: f64,
    probe_seconds: u64,
});
shape!(Fix {
    command: String,
    agent: FixAgent,
    test_command: String,
    max_attempts: u32,
    max_changed_lines: u64,
    protected: Vec<String>,
    timeout: Wait,
    wait: Wait,
});
shape!(Notify { hook: String, webhook: String, on: Vec<NoticeKind> });
