//! `vps-test-registry`: serve, and make what serving needs.

use std::error::Error;
use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use jiff::SignedDuration;
use registry::certify::{Outcome, Request};
use registry::tokens::{self, Tokens};
use registry::{Config, Scope, Server, Settings, Tls};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The registry of a vps-test fleet: who is there, which runs there are, what they came to
#[derive(Debug, Parser)]
#[command(name = "vps-test-registry", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API, the metrics and the dashboard
    Serve(Serve),
    /// Make a self-signed certificate, unless the one that is there serves
    Certify(Certify),
    /// Make, list and revoke tokens; a running registry notices
    #[command(subcommand)]
    Token(TokenCommand),
    /// Print what a registry answers, for scripts on its host
    Get(Ask),
    /// Send standard input to a registry and print what it answers
    Post(Ask),
    /// Print the API as an OpenAPI document
    Openapi,
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
    /// The tokens' records; made and changed with `token`
    #[arg(long, value_name = "FILE")]
    tokens: PathBuf,
    /// Directory for the database; without it everything is gone with the process
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Let anybody read, without a token
    #[arg(long)]
    public_read: bool,
    /// Believe the X-Forwarded-For of a proxy at this address; may be given more than once
    #[arg(long = "trusted-proxy", value_name = "IP")]
    trusted_proxies: Vec<IpAddr>,
    /// Requests a second from one address; four seconds' worth may come at once
    #[arg(long, value_name = "N", default_value_t = 200.0)]
    rate_per_address: f64,
    /// Requests a second with one token
    #[arg(long, value_name = "N", default_value_t = 200.0)]
    rate_per_token: f64,
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

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token and print it, once
    Add(AddToken),
    /// Show who has tokens; no token is shown, as none is kept
    List {
        #[arg(long, value_name = "FILE")]
        tokens: PathBuf,
    },
    /// End the tokens of this id or name at once
    Revoke {
        #[arg(long, value_name = "FILE")]
        tokens: PathBuf,
        #[arg(value_name = "ID|NAME")]
        word: String,
    },
}

#[derive(Debug, Args)]
struct AddToken {
    /// The file of the tokens' records; made if missing
    #[arg(long, value_name = "FILE")]
    tokens: PathBuf,
    /// The fleet that the token is for
    #[arg(long)]
    fleet: String,
    #[arg(long)]
    scope: Scope,
    /// Who has it
    #[arg(long, default_value = "unnamed")]
    name: String,
    /// A token of its own for each of these nodes; prints NODE and TOKEN a line
    #[arg(long = "node", value_name = "NODE")]
    nodes: Vec<String>,
    /// Older tokens of this name, scope, fleet and node end after so many seconds
    #[arg(long, value_name = "SECONDS")]
    replace_after: Option<u32>,
    /// Write it to this file, readable by its owner alone, in place of printing it
    #[arg(long, value_name = "FILE", conflicts_with = "nodes")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Ask {
    /// `/api/peers`, `/api/metrics`, `/health`
    path: String,
    #[arg(long, value_name = "https://HOST:PORT")]
    url: String,
    /// The certificate (PEM) that the registry must show or be signed by
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Holds a token; `-` reads it from the first line of standard input
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(args) => serve(args),
        Command::Certify(args) => certify(args),
        Command::Token(command) => token(&command),
        Command::Get(args) => ask(&args, false),
        Command::Post(args) => ask(&args, true),
        Command::Openapi => openapi(),
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
        tokens: Tokens::open(&args.tokens)?,
        data: args.data,
        ttl: Duration::from_secs(args.ttl),
        settings: Settings {
            public_read: args.public_read,
            trusted_proxies: args.trusted_proxies,
            rate_per_address: args.rate_per_address,
            rate_per_token: args.rate_per_token,
            secure_cookies: matches!(tls, Tls::Certificate { .. }),
        },
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

fn token(command: &TokenCommand) -> Result<(), Box<dyn Error>> {
    match command {
        TokenCommand::Add(args) => add_token(args),
        TokenCommand::List { tokens } => {
            for record in tokens::list(tokens)? {
                let node = record.node.as_deref().unwrap_or("-");
                let until = record
                    .expires_at
                    .map_or_else(|| "-".to_owned(), |at| at.to_string());
                println!(
                    "{} {:<8} {} {} {node} until {until}",
                    record.id, record.scope, record.fleet, record.name
                );
            }
            Ok(())
        }
        TokenCommand::Revoke { tokens, word } => {
            let count = tokens::revoke(tokens, word)?;
            println!("revoked {count}");
            Ok(())
        }
    }
}

fn add_token(args: &AddToken) -> Result<(), Box<dyn Error>> {
    let wish = |node| tokens::Wish {
        name: &args.name,
        scope: args.scope,
        fleet: &args.fleet,
        node,
        replace_after: args
            .replace_after
            .map(|seconds| SignedDuration::from_secs(seconds.into())),
    };
    let wishes: Vec<_> = if args.nodes.is_empty() {
        vec![wish(None)]
    } else {
        args.nodes.iter().map(|node| wish(Some(node))).collect()
    };
    let made = tokens::add(&args.tokens, &wishes)?;
    for (wish, token) in wishes.iter().zip(&made) {
        match (&args.out, wish.node) {
            (Some(out), _) => {
                tokens::write_private(out, format!("{}\n", token.reveal()).as_bytes())?;
                println!("made {}", out.display());
            }
            (None, Some(node)) => println!("{node} {}", token.reveal()),
            (None, None) => println!("{}", token.reveal()),
        }
    }
    Ok(())
}

fn ask(args: &Ask, post: bool) -> Result<(), Box<dyn Error>> {
    let mut input = std::io::stdin().lock();
    let token = match &args.token_file {
        None => None,
        Some(path) if path.as_os_str() == "-" => {
            let mut line = String::new();
            input.read_line(&mut line)?;
            Some(line.trim().to_owned())
        }
        Some(path) => Some(std::fs::read_to_string(path)?.trim().to_owned()),
    };
    let body = if post {
        let mut body = Vec::new();
        input.read_to_end(&mut body)?;
        Some(body)
    } else {
        None
    };
    let asked = registry::client::Ask {
        url: &args.url,
        path: &args.path,
        authority: args.ca.as_deref(),
        token: token.as_deref(),
        body: body.as_deref(),
    };
    println!("{}", asked.send()?);
    Ok(())
}

fn openapi() -> Result<(), Box<dyn Error>> {
    println!("{}", serde_json::to_string_pretty(&registry::openapi())?);
    Ok(())
}
