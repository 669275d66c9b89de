//! The pages' data: which runs, peers and attempts each one shows.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::{OriginalUri, Path, Query, State};
use axum::response::Html;
use jiff::Timestamp;
use model::attempt::Pair;
use model::family::Family;
use model::inventory::NodeName;
use model::proof::Proof;
use model::publication::{RunId, RunSummary};
use serde::Deserialize;
use view::{Frame, Here, Loop, MatrixBy, NodeHealth, NodePage, Person};

use crate::api::blocking;
use crate::auth::Caller;
use crate::auth::token::Scope;
use crate::error::ApiError;
use crate::peers::{Moment, Seen};
use crate::runs::Folded;
use crate::state::{Shared, State as Registry, VERSION};

/// Projects on the first screen, and runs of a page of the history.
const LOOPS_MAX: usize = 12;
const RUNS_PAGE: u32 = 40;

type Page = Result<Html<String>, ApiError>;

/// What a page is asked with; unknown words are ignored, as links grow old.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    run: Option<String>,
    by: Option<String>,
    from: Option<String>,
    to: Option<String>,
    family: Option<String>,
    after: Option<String>,
    a: Option<String>,
    b: Option<String>,
}

/// What all pages have in common.
pub(super) struct Look {
    shared: Shared,
    caller: Caller,
    address: String,
    here: Here,
    title: String,
    keep: String,
}

impl Look {
    fn new(shared: Shared, caller: Caller, uri: &OriginalUri, here: Here, title: &str) -> Self {
        Self {
            shared,
            caller,
            address: uri.to_string(),
            here,
            title: title.to_owned(),
            keep: String::new(),
        }
    }

    fn keeping(mut self, asked: &Asked) -> Self {
        if let Some(run) = &asked.run {
            self.keep = format!("run={run}");
        }
        self
    }

    async fn page(
        self,
        main: impl FnOnce(&Registry, &Caller) -> Result<String, ApiError> + Send + 'static,
    ) -> Page {
        self.page_with(|_, _| Ok(String::new()), main).await
    }

    /// `main` is rendered off the threads that answer heartbeats, once for all
    /// who look at the same page; `own` is for this person alone, and above it.
    async fn page_with(
        self,
        own: impl FnOnce(&Registry, &Caller) -> Result<String, ApiError> + Send + 'static,
        main: impl FnOnce(&Registry, &Caller) -> Result<String, ApiError> + Send + 'static,
    ) -> Page {
        blocking(move || {
            let Self { shared, caller, .. } = &self;
            let own = own(shared, caller)?;
            let main = shared
                .pages
                .page(&self.address, caller.fleet(), || main(shared, caller))?;
            let person = caller.session.as_ref().map(|session| Person {
                name: caller.name(),
                scope: caller.scope().map_or("", |scope| match scope {
                    Scope::Operator => "operator",
                    Scope::Viewer => "viewer",
                    Scope::Peer => "peer",
                }),
                csrf: &session.csrf,
            });
            let frame = Frame {
                title: &self.title,
                here: self.here,
                person,
                keep: &self.keep,
                version: VERSION,
                own: &own,
                main: &main,
            };
            Ok(Html(frame.render()))
        })
        .await
    }
}

pub(super) async fn overview(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    uri: OriginalUri,
) -> Page {
    let look = Look::new(shared, caller, &uri, Here::Overview, "Overview");
    look.page(|registry, caller| {
        let runs = registry.newest_of_each_project(caller)?;
        let proofs: Vec<(&Folded, Option<Proof>)> =
            runs.iter().map(|folded| (folded, folded.proof())).collect();
        let loops: Vec<Loop<'_>> = proofs
            .iter()
            .map(|(folded, _)| Loop {
                run: &folded.summary,
                findings: &folded.run().findings,
                degraded: folded
                    .run()
                    .degraded
                    .iter()
                    .map(|(node, why)| (node.to_string(), why.clone()))
                    .collect(),
            })
            .collect();
        let newest = proofs.first().and_then(|(_, proof)| proof.as_ref());
        let nodes = registry.nodes(caller, newest);
        Ok(view::overview(&loops, &nodes, Timestamp::now()))
    })
    .await
}

pub(super) async fn matrix(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    uri: OriginalUri,
    Query(asked): Query<Asked>,
) -> Page {
    let look = Look::new(shared, caller, &uri, Here::Matrix, "Matrix").keeping(&asked);
    look.page(move |registry, caller| {
        let by = match asked.by.as_deref() {
            Some("latency") => MatrixBy::Latency,
            _ => MatrixBy::Path,
        };
        let family = match asked.family.as_deref() {
            Some("ipv6") => Family::Ipv6,
            _ => Family::Ipv4,
        };
        let open = asked.from.zip(asked.to).map(|(from, to)| Pair {
            family,
            ..Pair::of_nodes(NodeName::new(from), NodeName::new(to))
        });
        registry.of_run(caller, asked.run.as_deref(), |summary, proof| {
            view::matrix_page(summary, proof, by, open.as_ref())
        })
    })
    .await
}

pub(super) async fn map(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    uri: OriginalUri,
    Query(asked): Query<Asked>,
) -> Page {
    let look = Look::new(shared, caller, &uri, Here::Map, "Map").keeping(&asked);
    look.page(move |registry, caller| registry.of_run(caller, asked.run.as_deref(), view::places))
        .await
}

pub(super) async fn nat(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    uri: OriginalUri,
    Query(asked): Query<Asked>,
) -> Page {
    let look = Look::new(shared, caller, &uri, Here::Nat, "NAT").keeping(&asked);
    look.page(move |registry, caller| registry.of_run(caller, asked.run.as_deref(), view::nat))
        .await
}

pub(super) async fn node(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    uri: OriginalUri,
    Path(name): Path<String>,
) -> Page {
    let look = Look::new(shared, caller, &uri, Here::Elsewhere, &name.clone());
    look.page(move |registry, caller| {
        let newest = registry.choose(caller, None, None)?;
        let proof = newest.and_then(|folded| folded.proof());
        let now = Moment::now();
        let nats = registry.nats();
        let table = registry.peers(now);
        let mut peers: Vec<_> = table
            .of_node(caller.fleet(), &name, &nats, now)
            .into_iter()
            .map(|peer| {
                let log = table.log(&peer.peer);
                (peer, log)
            })
            .collect();
        drop(table);
        let node = proof
            .as_ref()
            .and_then(|proof| proof.nodes.iter().find(|node| node.name.as_str() == name));
        if node.is_none() && peers.is_empty() {
            return Err(ApiError::NotFound);
        }
        // The living first, then those that were heard last.
        peers.sort_by_key(|(peer, _)| (!peer.alive, -peer.last_seen));
        let page = NodePage {
            name: &name,
            node,
            peers,
        };
        Ok(view::node(&page, Timestamp::now()))
    })
    .await
}

pub(super) async fn runs(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    uri: OriginalUri,
    Query(asked): Query<Asked>,
) -> Page {
    let look = Look::new(shared, caller, &uri, Here::Runs, "Runs");
    look.page(move |registry, caller| {
        let before = asked.after.as_deref().and_then(|cursor| {
            let (ms, run) = cursor.split_once('.')?;
            Some((ms.parse::<i64>().ok()?, run))
        });
        let store = registry.runs.store();
        let mut rows = store.runs(caller.fleet(), None, before, RUNS_PAGE + 1)?;
        let more = rows.len() > RUNS_PAGE as usize;
        rows.truncate(RUNS_PAGE as usize);
        let next = rows
            .last()
            .filter(|_| more)
            .map(|(ms, run)| format!("{ms}.{}", run.run));
        let runs: Vec<RunSummary> = rows.into_iter().map(|(_, run)| run).collect();
        Ok(view::runs(&runs, next.as_deref(), Timestamp::now()))
    })
    .await
}

pub(super) async fn run(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    uri: OriginalUri,
    Path((project, time)): Path<(String, String)>,
) -> Page {
    let id = format!("{project}/{time}");
    let mut look = Look::new(shared, caller, &uri, Here::Runs, &id);
    look.keep = format!("run={id}");
    let asked = id.clone();
    look.page_with(
        move |registry, caller| registry.decision_on(caller, &asked),
        move |registry, caller| {
            registry.of_run(caller, Some(&id), |summary, proof| {
                view::run(summary, proof, Timestamp::now())
            })
        },
    )
    .await
}

pub(super) async fn compare(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    uri: OriginalUri,
    Query(asked): Query<Asked>,
) -> Page {
    let look = Look::new(shared, caller, &uri, Here::Runs, "Compare");
    look.page(move |registry, caller| {
        let (Some(a), Some(b)) = (asked.a, asked.b) else {
            return Err(ApiError::Query("`a` and `b` are PROJECT/TIME".into()));
        };
        let (left, right) = (registry.named(caller, &a)?, registry.named(caller, &b)?);
        Ok(view::compare((&left.0, &left.1), (&right.0, &right.1)))
    })
    .await
}

impl Registry {
    /// The run that is named, or the newest, rendered.
    fn of_run(
        &self,
        caller: &Caller,
        run: Option<&str>,
        show: impl FnOnce(&RunSummary, &Proof) -> String,
    ) -> Result<String, ApiError> {
        let Some(folded) = self.choose(caller, run, None)? else {
            return Ok("<p class=\"empty\">No run was published here yet.</p>\n".into());
        };
        let proof = folded.proof();
        let proof = proof.ok_or_else(|| ApiError::UnknownRun(folded.summary.run.clone()))?;
        Ok(show(&folded.summary, &proof))
    }

    /// Nothing where the run waits for nobody. The forms are for operators.
    fn decision_on(&self, caller: &Caller, run: &str) -> Result<String, ApiError> {
        let id = RunId::parse(run).ok_or(ApiError::NotFound)?;
        let answer = self.decision(caller, &id)?;
        if !answer.awaits_review {
            return Ok(String::new());
        }
        let may = caller.scope() == Some(Scope::Operator);
        let session = caller.session.as_ref().filter(|_| may);
        let csrf = session.map(|session| session.csrf.as_str());
        let decided = answer.decided.as_ref();
        Ok(view::decision(&id, decided, csrf, Timestamp::now()))
    }

    fn named(&self, caller: &Caller, run: &str) -> Result<(RunSummary, Proof), ApiError> {
        let no = || ApiError::Query(format!("there is no run `{run}` here"));
        let folded = self.choose(caller, Some(run), None)?.ok_or_else(no)?;
        let proof = folded.proof().ok_or_else(no)?;
        Ok((folded.summary, proof))
    }

    fn newest_of_each_project(&self, caller: &Caller) -> Result<Vec<Folded>, ApiError> {
        let mut seen = std::collections::BTreeSet::new();
        let rows = self.runs.store().runs(caller.fleet(), None, None, 200)?;
        let newest = rows
            .into_iter()
            .map(|(_, summary)| summary)
            .filter(|summary| seen.insert((summary.fleet.clone(), summary.project.clone())))
            .take(LOOPS_MAX);
        let mut folded = Vec::new();
        for summary in newest {
            folded.extend(self.runs.find(&summary.run)?);
        }
        Ok(folded)
    }

    /// Nodes of the newest run, and those that only peers speak of.
    fn nodes(&self, caller: &Caller, newest: Option<&Proof>) -> Vec<NodeHealth> {
        let mut nodes: BTreeMap<String, NodeHealth> = BTreeMap::new();
        for node in newest.iter().flat_map(|proof| &proof.nodes) {
            let took_part = matches!(node.reached.as_str(), "reached" | "not tried");
            let health = NodeHealth {
                name: node.name.to_string(),
                region: node.region.clone(),
                role: node.role.clone(),
                nat: Some(node.nat.measured.clone()).filter(|_| node.nat.labelled != "none"),
                degraded: (!took_part).then(|| node.reached.clone()),
                ..NodeHealth::default()
            };
            nodes.insert(health.name.clone(), health);
        }
        let now = Moment::now();
        self.peers(now).visit(caller.fleet(), now, |peer| {
            if !nodes.contains_key(peer.node) {
                let node = NodeHealth {
                    name: peer.node.to_owned(),
                    ..NodeHealth::default()
                };
                nodes.insert(node.name.clone(), node);
            }
            if let Some(node) = nodes.get_mut(peer.node) {
                count(node, &peer);
            }
        });
        let mut nodes: Vec<NodeHealth> = nodes.into_values().collect();
        nodes.sort_by(|a, b| view::natural_key(&a.name).cmp(&view::natural_key(&b.name)));
        nodes
    }
}

fn count(node: &mut NodeHealth, peer: &Seen<'_>) {
    let seen = Timestamp::from_millisecond(peer.last_seen).ok();
    node.last_seen = node.last_seen.max(seen);
    // A process that was replaced is no peer that is missing.
    if !peer.alive {
        node.known += usize::from(node.known == 0);
        return;
    }
    node.alive += 1;
    node.known = node.known.max(node.alive);
    let add = |sum: &mut Option<f64>, name: &str| {
        if let Some(value) = peer.metrics.get(name) {
            *sum = Some(sum.unwrap_or(0.0) + value);
        }
    };
    add(&mut node.memory_bytes, "resident_memory_bytes");
    add(&mut node.attempts, "attempts_total");
    add(&mut node.failures, "dial_failures_total");
}
