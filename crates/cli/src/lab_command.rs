//! `vps-test lab …`

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::{Args, Subcommand};
use lab::{HostState, LabError, Twin, UpOptions};
use miette::{IntoDiagnostic, WrapErr};

use crate::exit;
use crate::inventory_file;
use crate::project::Project;

#[derive(Debug, Args)]
pub struct LabArgs {
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    /// Boot a fleet on this machine
    Up {
        /// Inventory to boot; by default the one in ./fleets
        #[arg(long, value_name = "FILE")]
        fleet: Option<PathBuf>,
        #[command(flatten)]
        twin: Name,
    },
    /// Remove a twin and everything it left
    Down {
        #[command(flatten)]
        twin: Name,
    },
    /// Show the hosts and what the emulated internet did
    Status {
        #[command(flatten)]
        twin: Name,
        #[arg(long)]
        json: bool,
    },
    /// Run a command on a host, over SSH
    Exec {
        #[command(flatten)]
        twin: Name,
        node: String,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Open a loopback port that leads to a host's TCP port
    Forward {
        #[command(flatten)]
        twin: Name,
        /// NODE:PORT
        target: String,
        /// Where to listen; port 0 is any
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: std::net::SocketAddr,
    },
    /// Print the path of the twin's ssh_config
    SshConfig {
        #[command(flatten)]
        twin: Name,
    },
    /// The twin itself
    #[command(hide = true)]
    Serve {
        #[command(flatten)]
        twin: Name,
    },
    /// ssh's ProxyCommand
    #[command(hide = true)]
    Connect {
        #[command(flatten)]
        twin: Name,
        host: String,
        port: u16,
    },
}

#[derive(Debug, Args)]
struct Name {
    /// The twin's name; several may be up side by side
    #[arg(long, default_value = "twin")]
    name: String,
}

pub fn run(args: LabArgs) -> miette::Result<ExitCode> {
    match args.command {
        LabCommand::Up { fleet, twin } => up(fleet, &twin.name),
        LabCommand::Down { twin } => {
            Twin::down(&twin.name)?;
            println!("twin `{}` is down; nothing of it is left", twin.name);
            Ok(ExitCode::SUCCESS)
        }
        LabCommand::Status { twin, json } => status(&twin.name, json),
        LabCommand::Exec {
            twin,
            node,
            command,
        } => exec(&twin.name, &node, &command),
        LabCommand::Forward {
            twin,
            target,
            listen,
        } => forward(&twin.name, &target, listen),
        LabCommand::SshConfig { twin } => {
            println!("{}", Twin::open(&twin.name)?.ssh_config().display());
            Ok(ExitCode::SUCCESS)
        }
        LabCommand::Serve { twin } => {
            lab::serve(&twin.name)?;
            Ok(ExitCode::SUCCESS)
        }
        LabCommand::Connect { twin, host, port } => {
            let connection = lab::connect(&twin.name, &host, port)?;
            lab::send_fd(std::io::stdout(), &connection)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn up(fleet: Option<PathBuf>, name: &str) -> miette::Result<ExitCode> {
    let file = inventory_file::find(fleet.or_else(Project::configured_fleet))?;
    let text = inventory_file::text(&file)?;
    model::inventory::read(&file.display().to_string(), &text)?;
    let began = std::time::Instant::now();
    let twin = Twin::up(
        &UpOptions {
            name,
            inventory: &text,
        },
        |p| eprintln!("{} of {} hosts answer", p.ready, p.hosts),
    )?;
    warn_of_hosts_off(&twin)?;
    println!(
        "twin `{name}` of fleet `{}` is up, {:.1} s",
        twin.fleet().name,
        began.elapsed().as_secs_f64()
    );
    println!(
        "ssh    ssh -F {} {}",
        twin.ssh_config().display(),
        twin.fleet().nodes[0].name
    );
    println!(
        "exec   vps-test lab exec --name {name} {} -- uptime",
        twin.fleet().nodes[0].name
    );
    println!("down   vps-test lab down --name {name}");
    Ok(ExitCode::SUCCESS)
}

/// One that was up already may have lost some since.
fn warn_of_hosts_off(twin: &Twin) -> Result<(), LabError> {
    for host in twin.status()?.hosts {
        if let HostState::Off(why) = host.state {
            eprintln!("{} is off: {why}", host.name);
        }
    }
    Ok(())
}

fn status(name: &str, json: bool) -> miette::Result<ExitCode> {
    let status = Twin::open(name)?.status()?;
    if json {
        println!(
            "{}",
            serde_json::to_string_pretty(&status).into_diagnostic()?
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "twin `{}` of fleet `{}`, daemon {}",
        status.name, status.fleet, status.daemon_pid
    );
    for host in &status.hosts {
        let state = match &host.state {
            HostState::Booting => "booting".to_owned(),
            HostState::Ready => "ready".to_owned(),
            HostState::Off(why) => format!("off: {why}"),
        };
        let addresses: Vec<_> = host.addresses.iter().map(ToString::to_string).collect();
        println!(
            "  {:<16} {:<16} {state}, {} reboots",
            host.name,
            addresses.join(" "),
            host.reboots
        );
    }
    let (wan, late) = (status.wan, status.lateness);
    println!(
        "WAN: {} packets delivered, {} lost as asked, {} dropped unasked; lateness p50 {:.2} ms, p99 {:.2} ms",
        wan.delivered, wan.lost, wan.unasked, late.p50_ms, late.p99_ms
    );
    Ok(ExitCode::SUCCESS)
}

fn exec(name: &str, node: &str, command: &[String]) -> miette::Result<ExitCode> {
    let twin = Twin::open(name)?;
    check_host(&twin, node)?;
    let quoted: Vec<String> = command.iter().map(|word| fleet::quote(word)).collect();
    let status = Command::new("ssh")
        .arg("-F")
        .arg(twin.ssh_config())
        .arg("-q")
        .arg(node)
        .arg("--")
        .arg(quoted.join(" "))
        .status()
        .into_diagnostic()
        .wrap_err("cannot start ssh")?;
    Ok(status
        .code()
        .map_or(ExitCode::from(exit::INFRASTRUCTURE), |code| {
            ExitCode::from(u8::try_from(code).unwrap_or(255))
        }))
}

fn check_host(twin: &Twin, node: &str) -> Result<(), LabError> {
    let nodes = &twin.fleet().nodes;
    if nodes
        .iter()
        .any(|n| n.name.as_str() == node || n.hostname == node)
    {
        return Ok(());
    }
    Err(LabError::NoSuchHost {
        name: twin.name().into(),
        node: node.into(),
    })
}

fn forward(name: &str, target: &str, listen: std::net::SocketAddr) -> miette::Result<ExitCode> {
    let twin = Twin::open(name)?;
    let (node, port) = target
        .rsplit_once(':')
        .and_then(|(node, port)| Some((node.to_owned(), port.parse::<u16>().ok()?)))
        .ok_or_else(|| {
            miette::miette!(help = "such as saorsa-1:443", "`{target}` is not NODE:PORT")
        })?;
    check_host(&twin, &node)?;
    let listener = TcpListener::bind(listen)
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot listen at {listen}"))?;
    println!(
        "{} leads to {node}:{port}; stop with ctrl-c",
        listener.local_addr().into_diagnostic()?
    );
    for incoming in listener.incoming().flatten() {
        match twin.connect(&node, port) {
            Ok(outgoing) => splice(incoming, outgoing),
            Err(error) => eprintln!("{error}"),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Copies both ways until both sides are done.
fn splice(a: std::net::TcpStream, b: std::net::TcpStream) {
    let pair = |from: &std::net::TcpStream, to: &std::net::TcpStream| {
        Some((from.try_clone().ok()?, to.try_clone().ok()?))
    };
    for (mut from, mut to) in [pair(&a, &b), pair(&b, &a)].into_iter().flatten() {
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Write);
        });
    }
}
