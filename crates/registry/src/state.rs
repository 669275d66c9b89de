//! What all requests share.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use axum::http::HeaderMap;
use model::publication::{News, RunId};
use model::registration::Health;
use tokio::sync::{broadcast, watch};

use crate::auth::file::Tokens;
use crate::auth::limit::{Limiter, Rate};
use crate::auth::session::Sessions;
use crate::peers::{Moment, Nats, Peers};
use crate::requests::Requests;
use crate::runs::Runs;

pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Somebody who reads news more slowly than this many come is told that they
/// missed some.
const NEWS_KEPT: usize = 1024;

pub(crate) type Shared = Arc<State>;

/// What the operator chose.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Anybody may read.
    pub public_read: bool,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// Requests a second from one address, and with one token.
    pub rate_per_address: f64,
    pub rate_per_token: f64,
    /// Cookies go over HTTPS only.
    pub secure_cookies: bool,
}

impl Settings {
    /// Whom to count a request for. A header says so only where a proxy that the
    /// operator named wrote it.
    pub fn client_address(&self, remote: IpAddr, headers: &HeaderMap) -> IpAddr {
        let remote = remote.to_canonical();
        if !self.trusted_proxies.contains(&remote) {
            return remote;
        }
        let last = headers
            .get_all("x-forwarded-for")
            .iter()
            .next_back()
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.rsplit(',').next())
            .and_then(|word| word.trim().parse().ok());
        last.unwrap_or(remote)
    }
}

pub(crate) struct Limits {
    pub addresses: Limiter<IpAddr>,
    pub tokens: Limiter<String>,
    /// Wrong tokens.
    pub guesses: Limiter<IpAddr>,
}

pub(crate) struct State {
    pub settings: Settings,
    pub tokens: Tokens,
    pub sessions: Sessions,
    pub limits: Limits,
    pub requests: Requests,
    pub runs: Runs,
    pub pages: crate::pages::Cache,
    news: broadcast::Sender<(String, News)>,
    stopping: watch::Sender<bool>,
    started: Instant,
    peers: Mutex<Peers>,
    nats: RwLock<Nats>,
}

impl State {
    pub fn new(settings: Settings, tokens: Tokens, peers: Peers, runs: Runs) -> Self {
        let limits = Limits {
            addresses: Limiter::new(Rate::per_second(settings.rate_per_address)),
            tokens: Limiter::new(Rate::per_second(settings.rate_per_token)),
            guesses: Limiter::new(Rate {
                per_second: 1.0,
                burst: 20.0,
            }),
        };
        Self {
            settings,
            tokens,
            sessions: Sessions::default(),
            limits,
            requests: Requests::default(),
            runs,
            pages: crate::pages::Cache::default(),
            news: broadcast::channel(NEWS_KEPT).0,
            stopping: watch::channel(false).0,
            started: Instant::now(),
            peers: Mutex::new(peers),
            nats: RwLock::default(),
        }
    }

    /// The table without those who are long gone. Held for microseconds and never
    /// across an await.
    pub fn peers(&self, now: Moment) -> MutexGuard<'_, Peers> {
        // The table's own methods leave it whole even where they panic.
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.sweep(now);
        peers
    }

    pub fn nats(&self) -> Nats {
        self.nats
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes in what a run measured of its nodes' NATs.
    pub fn learn_nats(&self, id: &RunId) {
        let Ok(Some(folded)) = self.runs.find(id) else {
            return;
        };
        let Some(plan) = &folded.run().plan else {
            return;
        };
        let mut nats = self.nats.write().unwrap_or_else(PoisonError::into_inner);
        for node in &plan.nodes {
            let said = match (folded.run().nats.get(&node.name), node.nat) {
                (Some(measured), _) => measured.certificate.describe(),
                (None, None) => "none".into(),
                (None, Some(_)) => continue,
            };
            nats.insert((plan.fleet.clone(), node.name.to_string()), said);
        }
    }

    /// Of the newest run of each fleet, after a restart.
    pub fn learn_all_nats(&self) -> Result<(), crate::store::StoreError> {
        let mut fleets = std::collections::BTreeSet::new();
        for (_, summary) in self.runs.store().runs(None, None, None, 50)? {
            if fleets.insert(summary.fleet) {
                self.learn_nats(&summary.run);
            }
        }
        Ok(())
    }

    pub fn uptime_seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    pub fn health(&self, now: Moment) -> Health {
        let (peers_alive, peers_known) = self.peers(now).count(now);
        Health {
            status: "OK".into(),
            version: VERSION.into(),
            uptime_seconds: self.uptime_seconds(),
            peers_alive,
            peers_known,
            runs: self.runs.count(),
        }
    }

    /// Tells whoever listens and may see this fleet.
    pub fn tell(&self, fleet: &str, news: News) {
        let _ = self.news.send((fleet.to_owned(), news));
    }

    pub fn listen(&self) -> broadcast::Receiver<(String, News)> {
        self.news.subscribe()
    }

    pub fn listeners(&self) -> usize {
        self.news.receiver_count()
    }

    /// Ends streams that would never end by themselves.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// What has to happen now and then: tokens that changed, peers that turned,
    /// and the disk. Blocks on the disk.
    pub fn tend(&self) {
        self.tokens.refresh();
        let now = Moment::now();
        for (peer, fleet, node, alive) in self.peers(now).turned(now) {
            self.tell(&fleet, News::Peer { peer, node, alive });
        }
        let (changed, gone) = self.peers(now).unwritten();
        // In pieces, so that a run's entries need not wait for a large fleet.
        for rows in changed.chunks(256) {
            if let Err(error) = self.runs.store().keep_peers(rows, &[]) {
                tracing::warn!("peers are not kept: {error}");
            }
        }
        if !gone.is_empty()
            && let Err(error) = self.runs.store().keep_peers(&[], &gone)
        {
            tracing::warn!("peers that are gone stay on the disk: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forwarded_address_counts_only_from_a_proxy_that_was_named() {
        let proxy = IpAddr::from([192, 0, 2, 1]);
        let client = IpAddr::from([198, 51, 100, 7]);
        let settings = Settings {
            public_read: false,
            trusted_proxies: vec![proxy],
            rate_per_address: 1.0,
            rate_per_token: 1.0,
            secure_cookies: true,
        };
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "6.6.6.6, 198.51.100.7".parse().unwrap());
        assert_eq!(settings.client_address(proxy, &headers), client);
        let stranger = IpAddr::from([203, 0, 113, 1]);
        assert_eq!(settings.client_address(stranger, &headers), stranger);
        headers.insert("x-forwarded-for", "nonsense".parse().unwrap());
        assert_eq!(settings.client_address(proxy, &headers), proxy);
    }
}
