//! `vps-test-registry`: serve, and make what serving needs.

use std::error::Error;
use std::io::{IsTerminal as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use registry::certify::{Outcome, Request};
use registry::{Config, Server, Tls, Token};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The registry of a vps-test fleet: who is there, since when, with what values
#[derive(Debug, Parser)]
#[command(name = "vps-test-registry", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API, the metrics and the overview page
    Serve(Serve),
    /// Make a self-signed certificate, unless the one that is there serves
    Certify(Certify),
    /// Make a random token, unless there is one
    Token(MakeToken),
    /// Print what a registry answers, for scripts on its host
    Get(Get),
}

#[derive(Debug, Args)]
struct Serve {
    /// Where to listen; port 0 takes a free one, which is printed
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Certificate chain in PEM, leaf first
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Private key in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Holds the token that every write needs
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Seconds of silence after which a peer counts as gone
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    ttl: u64,
    /// Serve plain HTTP on an address that is not loopback
    #[arg(long, conflicts_with = "cert")]
    plain_http: bool,
}

#[derive(Debug, Args)]
struct Certify {
    /// DNS name that clients use; may be given more than once
    #[arg(long = "name", value_name = "HOST", required = true)]
    names: Vec<String>,
    /// IP address that clients use; may be given more than once
    #[arg(long = "address", value_name = "IP")]
    addresses: Vec<IpAddr>,
    /// Directory for cert.pem and key.pem
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct MakeToken {
    /// File for the token, readable by its owner alone
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct Get {
    /// `/api/peers`, `/api/metrics`, `/health`
    path: String,
    #[arg(long, value_name = "https://HOST:PORT")]
    url: String,
    /// The certificate (PEM) that the registry must show or be signed by
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(args) => serve(args),
        Command::Certify(args) => certify(args),
        Command::Token(args) => token(&args),
        Command::Get(args) => get(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vps-test-registry: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: Serve) -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // journald stamps every line itself.
        .without_time()
        .init();
    let tls = match (args.cert, args.key) {
        (Some(cert), Some(key)) => Tls::Certificate { cert, key },
        _ if args.plain_http => Tls::Plain,
        _ => Tls::LoopbackOnly,
    };
    let config = Config {
        listen: args.listen,
        token: Token::read(&args.token_file)?,
        ttl: Duration::from_secs(args.ttl),
        tls,
    };
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(run(config))
}

async fn run(config: Config) -> Result<(), Box<dyn Error>> {
    let server = Server::bind(config)?;
    let stop = server.stopper();
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    writeln!(std::io::stdout(), "listening on {}", server.url())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
        }
        stop();
    });
    Ok(server.run().await?)
}

fn certify(args: Certify) -> Result<(), Box<dyn Error>> {
    let request = Request {
        names: args.names,
        addresses: args.addresses,
        directory: args.out,
    };
    let done = match request.certify()? {
        Outcome::Made => "made",
        Outcome::Kept => "kept",
    };
    println!("{done} {}", request.cert().display());
    Ok(())
}

fn token(args: &MakeToken) -> Result<(), Box<dyn Error>> {
    let done = if Token::create(&args.out)? {
        "made"
    } else {
        "kept"
    };
    println!("{done} {}", args.out.display());
    Ok(())
}

fn get(args: &Get) -> Result<(), Box<dyn Error>> {
    let body = registry::client::get(&args.url, &args.path, args.ca.as_deref())?;
    println!("{body}");
    Ok(())
}
