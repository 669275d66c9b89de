//! Listening, with or without TLS, until someone says stop.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum_server::Handle;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::api;
use crate::auth::file::Tokens;
use crate::peers::{CAPACITY, Moment, Peers};
use crate::runs::Runs;
use crate::state::{Settings, Shared, State};
use crate::store::{Store, StoreError};

/// How long running requests may go on after a stop was asked for.
const GRACE: Duration = Duration::from_secs(3);

/// A client that opens a connection and says nothing does not hold it.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Longer than a peer's heartbeat interval, so that its connection stays.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);

/// How often what is behind is written, and what changed is noticed.
const TENDING: Duration = Duration::from_secs(1);

/// What to serve and where.
#[derive(Debug)]
pub struct Config {
    pub listen: SocketAddr,
    pub tokens: Tokens,
    /// Directory of the database; `None` keeps it in memory.
    pub data: Option<PathBuf>,
    pub ttl: Duration,
    pub tls: Tls,
    pub settings: Settings,
}

#[derive(Debug)]
pub enum Tls {
    Certificate {
        /// PEM, leaf first.
        cert: PathBuf,
        /// PEM.
        key: PathBuf,
    },
    /// Plain HTTP; refused unless the address is loopback.
    LoopbackOnly,
    /// Plain HTTP on any address, because the operator says so.
    Plain,
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(
        "refusing plain HTTP on {0}, where others could read the token: give --cert and --key \
         (make them with `vps-test-registry certify`), listen on 127.0.0.1, or say --plain-http"
    )]
    PlainHttp(SocketAddr),
    #[error("cannot read `{path}`: {reason}")]
    Pem { path: PathBuf, reason: String },
    #[error("certificate `{cert}` and key `{key}` do not fit together: {source}")]
    Pair {
        cert: PathBuf,
        key: PathBuf,
        source: rustls::Error,
    },
    #[error("cannot listen on {address}: {source}")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("cannot use `{path}`: {source}")]
    Data { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot serve on {address}: {source}")]
    Serve {
        address: SocketAddr,
        source: io::Error,
    },
}

/// A registry that is bound and not yet serving.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<RustlsConfig>,
    shared: Shared,
    handle: Handle<SocketAddr>,
}

impl Server {
    /// Checks everything that can be checked before the first request.
    pub fn bind(config: Config) -> Result<Self, ServeError> {
        let tls = match &config.tls {
            Tls::Certificate { cert, key } => Some(load(cert, key)?),
            Tls::LoopbackOnly if !config.listen.ip().is_loopback() => {
                return Err(ServeError::PlainHttp(config.listen));
            }
            Tls::LoopbackOnly | Tls::Plain => None,
        };
        let listen = |source| ServeError::Listen {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let runs = Runs::new(open_store(config.data.as_deref())?)?;
        let now = Moment::now();
        let mut peers = Peers::new(config.ttl, CAPACITY);
        peers.restore(runs.store().peers()?, now);
        let state = State::new(config.settings, config.tokens, peers, runs);
        state.learn_all_nats()?;
        Ok(Self {
            listener,
            address,
            tls,
            shared: Arc::new(state),
            handle: Handle::new(),
        })
    }

    /// The port that was bound, too, where port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Ends [`Server::run`]: no new connection, and running requests get a moment.
    pub fn stopper(&self) -> impl FnOnce() + Send + 'static {
        let (handle, shared) = (self.handle.clone(), Arc::clone(&self.shared));
        move || {
            shared.stop();
            handle.graceful_shutdown(Some(GRACE));
        }
    }

    /// Serves until the stopper is called.
    pub async fn run(self) -> Result<(), ServeError> {
        let address = self.address;
        let serve = |source| ServeError::Serve { address, source };
        let server = axum_server::from_tcp(self.listener).map_err(serve)?;
        let mut server = server
            .handle(self.handle)
            .first_request_timeout(FIRST_REQUEST_TIMEOUT);
        server
            .http_builder()
            .http1()
            .header_read_timeout(HEADER_TIMEOUT);
        let tending = tokio::spawn(tend(Arc::clone(&self.shared)));
        let service = api::router(Arc::clone(&self.shared))
            .into_make_service_with_connect_info::<SocketAddr>();
        let served = match self.tls {
            Some(tls) => {
                let acceptor = RustlsAcceptor::new(tls);
                server.acceptor(acceptor).serve(service).await
            }
            None => server.serve(service).await,
        };
        tending.abort();
        // The last heartbeats of a stop in good order.
        let shared = self.shared;
        let _ = tokio::task::spawn_blocking(move || shared.tend()).await;
        served.map_err(serve)
    }
}

fn open_store(data: Option<&Path>) -> Result<Store, ServeError> {
    let Some(data) = data else {
        return Ok(Store::in_memory()?);
    };
    std::fs::create_dir_all(data).map_err(|source| ServeError::Data {
        path: data.into(),
        source,
    })?;
    Ok(Store::open(&data.join("registry.sqlite"))?)
}

async fn tend(shared: Shared) {
    let mut tick = tokio::time::interval(TENDING);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let shared = Arc::clone(&shared);
        // A panic in it was printed; the next second tries again.
        let _ = tokio::task::spawn_blocking(move || shared.tend()).await;
    }
}

fn load(cert: &Path, key: &Path) -> Result<RustlsConfig, ServeError> {
    let chain = read_chain(cert)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| pem_error(key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(chain, private)
        })
        .map_err(|source| ServeError::Pair {
            cert: cert.to_owned(),
            key: key.to_owned(),
            source,
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(RustlsConfig::from_config(Arc::new(config)))
}

fn read_chain(cert: &Path) -> Result<Vec<CertificateDer<'static>>, ServeError> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|error| pem_error(cert, &error))?;
    if chain.is_empty() {
        return Err(ServeError::Pem {
            path: cert.to_owned(),
            reason: "no PEM certificate in it".into(),
        });
    }
    Ok(chain)
}

fn pem_error(path: &Path, error: &rustls::pki_types::pem::Error) -> ServeError {
    ServeError::Pem {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}
