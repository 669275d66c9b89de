//! A twin as its users see it: up, down, and what to ask it in between.

use std::fs::File;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use model::flow::FlowCount;
use model::inventory::{Fleet, Link, NodeName};

use crate::addresses;
use crate::cgroup::Cgroups;
use crate::control::{self, Answer, HostReport, HostState, Request, Status};
use crate::error::LabError;
use crate::fdpass::receive_fd;
use crate::netns::Namespace;
use crate::preflight;
use crate::record::{self, Record};
use crate::run_dir::RunDir;

/// Which fleet to boot, and as what.
#[derive(Debug, Clone)]
pub struct UpOptions<'a> {
    pub name: &'a str,
    /// The inventory's text, which the twin keeps.
    pub inventory: &'a str,
}

/// How far booting has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpProgress {
    pub ready: usize,
    pub hosts: usize,
}

/// A twin that is up.
#[derive(Debug, Clone)]
pub struct Twin {
    run_dir: RunDir,
    fleet: Fleet,
}

impl Twin {
    /// Boots a fleet, or finds it up already.
    ///
    /// # Errors
    /// Something is missing on this machine; another fleet is up under this
    /// name; a host does not come up.
    pub fn up(options: &UpOptions<'_>, progress: impl FnMut(UpProgress)) -> Result<Self, LabError> {
        preflight::check()?;
        let run_dir = RunDir::of(options.name)?;
        // Two that boot it at once: the second finds it up.
        let _held = run_dir.hold()?;
        if ask_status(&run_dir).is_ok() {
            let up = std::fs::read_to_string(run_dir.inventory()).unwrap_or_default();
            return if up == options.inventory {
                Self::open(options.name)
            } else {
                Err(LabError::OtherFleet {
                    name: options.name.into(),
                })
            };
        }
        remove_contents(&run_dir)?;
        let inventory = run_dir.inventory();
        std::fs::write(&inventory, options.inventory)
            .map_err(LabError::file("write", inventory))?;
        let booted = start_daemon(&run_dir).and_then(|mut daemon| {
            wait_ready(&run_dir, &mut daemon, progress)?;
            // It is our child: whoever takes it down waits until it is gone.
            std::thread::spawn(move || daemon.wait());
            Ok(())
        });
        match booted {
            Ok(()) => Self::open(options.name),
            Err(error) => {
                let _ = remove_held(&run_dir);
                Err(error)
            }
        }
    }

    /// # Errors
    /// None of this name is up.
    pub fn open(name: &str) -> Result<Self, LabError> {
        let run_dir = RunDir::of(name)?;
        ask_status(&run_dir).map_err(|error| match error {
            LabError::File { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                LabError::NotRoot
            }
            _ => LabError::NotUp { name: name.into() },
        })?;
        let inventory = run_dir.inventory();
        let text =
            std::fs::read_to_string(&inventory).map_err(LabError::file("read", &inventory))?;
        let fleet = model::inventory::read("fleet.yaml", &text)
            .map_err(|e| LabError::Inventory(e.to_string()))?;
        Ok(Self { run_dir, fleet })
    }

    /// Removes a twin and all that is left of one, up or not.
    ///
    /// # Errors
    /// Something could not be removed.
    pub fn down(name: &str) -> Result<(), LabError> {
        let run_dir = RunDir::of(name)?;
        remove(&run_dir)
    }

    pub fn name(&self) -> &str {
        self.run_dir.name()
    }

    pub fn ssh_config(&self) -> std::path::PathBuf {
        self.run_dir.ssh_config()
    }

    /// The inventory that it was booted from.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Its text.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn inventory(&self) -> Result<String, LabError> {
        let path = self.run_dir.inventory();
        std::fs::read_to_string(&path).map_err(LabError::file("read", &path))
    }

    /// The same, at the addresses that the hosts have here.
    pub fn relocated(&self) -> Fleet {
        addresses::relocate(&self.fleet)
    }

    pub fn status(&self) -> Result<Status, LabError> {
        ask_status(&self.run_dir)
    }

    /// Cumulative counters of all flows that start or end at one of these
    /// endpoints; of all flows for an empty list.
    pub fn flows(&self, touching: &[SocketAddr]) -> Result<Vec<FlowCount>, LabError> {
        match self.ask(&Request::Flows {
            touching: touching.to_vec(),
        })? {
            Answer::Flows(flows) => Ok(flows),
            other => Err(LabError::Daemon(format!("answered {other:?}"))),
        }
    }

    pub fn set_link(&self, from: &NodeName, to: &NodeName, link: Link) -> Result<(), LabError> {
        self.ask(&Request::SetLink {
            from: from.clone(),
            to: to.clone(),
            link,
        })
        .map(drop)
    }

    /// Cuts or heals both directions.
    pub fn cut(&self, a: &NodeName, b: &NodeName, cut: bool) -> Result<(), LabError> {
        self.ask(&Request::Cut {
            a: a.clone(),
            b: b.clone(),
            cut,
        })
        .map(drop)
    }

    /// A TCP connection from the controller to a host's port.
    pub fn connect(&self, host: &str, port: u16) -> Result<TcpStream, LabError> {
        connect(self.name(), host, port)
    }

    /// The network namespace that a host is in until it reboots: what runs in it
    /// sends as the host does.
    pub fn namespace(&self, host: &str) -> Result<Namespace, LabError> {
        let request = Request::Namespace { host: host.into() };
        let (_, stream) = control::ask(&self.run_dir.socket(), &request)?;
        receive_fd(&stream).map(Namespace::from)
    }

    fn ask(&self, request: &Request) -> Result<Answer, LabError> {
        control::ask(&self.run_dir.socket(), request).map(|(answer, _)| answer)
    }
}

/// [`Twin::connect`] with nothing else asked first: every SSH session begins here.
///
/// # Errors
/// None of this name is up, or the host does not listen there.
pub fn connect(name: &str, host: &str, port: u16) -> Result<TcpStream, LabError> {
    let run_dir = RunDir::of(name)?;
    if !run_dir.socket().exists() {
        return Err(LabError::NotUp { name: name.into() });
    }
    let request = Request::Connect {
        host: host.into(),
        port,
    };
    let (_, stream) = control::ask(&run_dir.socket(), &request)?;
    receive_fd(&stream).map(TcpStream::from)
}

fn ask_status(run_dir: &RunDir) -> Result<Status, LabError> {
    match control::ask(&run_dir.socket(), &Request::Status)?.0 {
        Answer::Status(status) => Ok(status),
        other => Err(LabError::Daemon(format!("answered {other:?}"))),
    }
}

fn start_daemon(run_dir: &RunDir) -> Result<std::process::Child, LabError> {
    let program = std::env::current_exe().map_err(LabError::system("find this program"))?;
    let log = File::create(run_dir.log()).map_err(LabError::file("create", run_dir.log()))?;
    let both = log
        .try_clone()
        .map_err(LabError::file("create", run_dir.log()))?;
    let mut command = detached(run_dir.name());
    command
        .arg(program)
        .args(["lab", "serve", "--name", run_dir.name()])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(both);
    command
        .spawn()
        .map_err(LabError::system("start the twin's daemon"))
}

/// In a session of its own; under systemd also in a scope of its own, in which
/// it may make cgroups.
fn detached(name: &str) -> Command {
    let mut command = Command::new("setsid");
    if std::path::Path::new("/run/systemd/system").is_dir() {
        command.args([
            "systemd-run",
            "--quiet",
            "--scope",
            "--property=Delegate=yes",
            "--collect",
        ]);
        // systemd may not have noticed yet that an earlier one of this name is gone.
        let unique = std::process::id();
        command.arg(format!("--unit=vps-test-lab-{name}-{unique}"));
    }
    command
}

fn wait_ready(
    run_dir: &RunDir,
    daemon: &mut std::process::Child,
    mut progress: impl FnMut(UpProgress),
) -> Result<(), LabError> {
    let failed = |detail: &str, log: &Path| LabError::DidNotBoot {
        name: run_dir.name().into(),
        detail: detail.into(),
        log: last_lines(log),
    };
    let began = Instant::now();
    let mut shown = usize::MAX;
    loop {
        match daemon.try_wait() {
            Ok(Some(status)) if status.success() => {
                return Err(failed("it was taken down meanwhile", &run_dir.log()));
            }
            Ok(Some(_)) => return Err(failed("its daemon ended", &run_dir.log())),
            _ => {}
        }
        let mut hosts = 10;
        if let Ok(status) = ask_status(run_dir) {
            hosts = status.hosts.len();
            let ready = status
                .hosts
                .iter()
                .filter(|h| h.state == HostState::Ready)
                .count();
            if ready != shown {
                shown = ready;
                progress(UpProgress { ready, hosts });
            }
            if status.is_ready() {
                return Ok(());
            }
            if let Some((name, why)) = status.hosts.iter().find_map(off) {
                let console = run_dir.console_of(name.as_str());
                return Err(failed(&format!("{name} is off: {why}"), &console));
            }
        }
        if began.elapsed() > patience(hosts) {
            let detail = format!("not all hosts answered SSH within {:?}", patience(hosts));
            return Err(failed(&detail, &run_dir.log()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn off(host: &HostReport) -> Option<(&NodeName, &str)> {
    match &host.state {
        HostState::Off(why) => Some((&host.name, why)),
        HostState::Booting | HostState::Ready => None,
    }
}

/// A log goes with its twin, so that what it said last must be in the message.
fn last_lines(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// Far more than a host takes, so that a slow machine is not called a broken one.
fn patience(hosts: usize) -> Duration {
    Duration::from_secs(60) + Duration::from_secs(3) * u32::try_from(hosts).unwrap_or(u32::MAX)
}

/// Takes it down at once, even while somebody waits for it to boot.
fn remove(run_dir: &RunDir) -> Result<(), LabError> {
    end(run_dir);
    if !run_dir.path().exists() {
        return Ok(());
    }
    let _held = run_dir.hold()?;
    remove_held(run_dir)
}

fn remove_held(run_dir: &RunDir) -> Result<(), LabError> {
    remove_contents(run_dir)?;
    std::fs::remove_dir(run_dir.path()).map_err(LabError::file("remove", run_dir.path()))
}

fn remove_contents(run_dir: &RunDir) -> Result<(), LabError> {
    end(run_dir);
    let record = Record::read(&record::path(run_dir.path()));
    record
        .map_or_else(|| Cgroups::of_twin(run_dir.name()), |r| r.cgroups)
        .remove()?;
    let entries = std::fs::read_dir(run_dir.path());
    for entry in entries
        .map_err(LabError::file("read", run_dir.path()))?
        .flatten()
    {
        let path = entry.path();
        let removed = if path.is_dir() {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        removed.map_err(LabError::file("remove", path))?;
    }
    Ok(())
}

/// Returns when nothing runs any more, whether the daemon answers or not.
fn end(run_dir: &RunDir) {
    let _ = control::ask(&run_dir.socket(), &Request::Down);
    if let Some(record) = Record::read(&record::path(run_dir.path())) {
        record.end();
    }
}
