//! The process that is a twin.
//!
//! `serve` makes a PID and a mount namespace and runs itself again inside, as
//! PID 1: when that process ends, for whatever reason, the kernel ends every
//! host with it and unmounts everything.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::inventory::{Fleet, Link, NodeName};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;

use crate::addresses;
use crate::cgroup::Cgroups;
use crate::control::{Answer, CONNECT, HostReport, HostState, Request, Status, read_line};
use crate::error::LabError;
use crate::fdpass::send_fd;
use crate::host::{Host, Identity, Neighbours, Site};
use crate::netns::Namespace;
use crate::record::{self, Record};
use crate::run_dir::RunDir;
use crate::ssh_config;
use crate::wan::Forwarder;

/// Says to the second process that it is inside.
const INSIDE: &str = "VPS_TEST_LAB_INSIDE";

/// Runs the twin called `name` until it is told to go down. Its run directory
/// holds the inventory already.
///
/// # Errors
/// What stopped it from booting.
pub fn serve(name: &str) -> Result<(), LabError> {
    let run_dir = RunDir::of(name)?;
    if std::env::var_os(INSIDE).is_some() {
        inside(run_dir)
    } else {
        outside(name)
    }
}

fn outside(name: &str) -> Result<(), LabError> {
    unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS)
        .map_err(LabError::system("make a PID and a mount namespace"))?;
    let program = std::env::current_exe().map_err(LabError::system("find this program"))?;
    let status = Command::new(program)
        .args(["lab", "serve", "--name", name])
        .env(INSIDE, std::process::id().to_string())
        .status()
        .map_err(LabError::system("start the twin's inner process"))?;
    if status.success() {
        Ok(())
    } else {
        Err(LabError::Daemon(format!(
            "inner process ended with {status}"
        )))
    }
}

fn inside(run_dir: RunDir) -> Result<(), LabError> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(LabError::system("tie this process to its parent"))?;
    // First of all: from here on there is something to clean up.
    let record = Record::of_this_process(run_dir.name(), outer_pid())?;
    record.write(&record::path(run_dir.path()))?;
    make_private(&run_dir)?;
    let inventory = run_dir.inventory();
    let text = std::fs::read_to_string(&inventory).map_err(LabError::file("read", &inventory))?;
    let fleet = model::inventory::read("fleet.yaml", &text)
        .map_err(|e| LabError::Inventory(e.to_string()))?;
    let daemon = Daemon::boot(run_dir, fleet, record.cgroups)?;
    daemon.serve()
}

/// As its parent said; 0 is no process.
fn outer_pid() -> i32 {
    let said = std::env::var(INSIDE).ok();
    said.and_then(|pid| pid.parse().ok()).unwrap_or_default()
}

/// Mounts from here on are seen by nobody else, and `/proc` is this namespace's.
///
/// So are `/run` and `/tmp`, but for the run directory: systemd-nspawn keeps files
/// there by the names of its machines, and hosts of two twins may share a name.
fn make_private(run_dir: &RunDir) -> Result<(), LabError> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(LabError::system("make mounts private"))?;
    let path = run_dir.path();
    let held = File::open(path).map_err(LabError::file("open", path))?;
    for directory in ["/run", "/tmp"] {
        mount(
            Some("tmpfs"),
            directory,
            Some("tmpfs"),
            MsFlags::empty(),
            Some("mode=755,size=64m"),
        )
        .map_err(LabError::system(format!("mount a tmpfs at {directory}")))?;
    }
    std::fs::create_dir_all(path).map_err(LabError::file("create", path))?;
    let source = format!("/proc/self/fd/{}", held.as_raw_fd());
    mount(Some(source.as_str()), path, none, MsFlags::MS_BIND, none)
        .map_err(LabError::system("keep the run directory"))?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none)
        .map_err(LabError::system("mount /proc"))
}

struct Daemon {
    fleet: Fleet,
    hosts: Vec<Arc<Host>>,
    site: Arc<Site>,
    controller: Namespace,
}

impl Daemon {
    fn boot(run_dir: RunDir, fleet: Fleet, cgroups: Cgroups) -> Result<Arc<Self>, LabError> {
        let assigned = addresses::assign(&fleet);
        let forwarder = start_wan(&fleet)?;
        let controller = Namespace::create()?;
        let own = addresses::of_controller(&fleet);
        forwarder.connect(fleet.nodes.len(), controller.attach(&own)?, &own)?;
        let site = Arc::new(Site {
            cgroups,
            neighbours: neighbours(&fleet, &assigned),
            identity: controller_key(&run_dir)?,
            forwarder,
            run_dir,
        });
        write_ssh_config(&site.run_dir, &fleet)?;
        let hosts =
            fleet
                .nodes
                .iter()
                .zip(assigned)
                .enumerate()
                .map(|(end, (node, (_, addresses)))| {
                    let state = Mutex::new((HostState::Booting, 0));
                    Arc::new(Host {
                        node: node.clone(),
                        addresses,
                        end,
                        state,
                    })
                });
        let daemon = Arc::new(Self {
            hosts: hosts.collect(),
            fleet,
            site,
            controller,
        });
        daemon.start_hosts()?;
        Ok(daemon)
    }

    fn start_hosts(self: &Arc<Self>) -> Result<(), LabError> {
        for host in &self.hosts {
            let dir = self.site.run_dir.root_of(host.node.name.as_str());
            std::fs::create_dir_all(&dir).map_err(LabError::file("create", dir))?;
            let (host, site) = (Arc::clone(host), Arc::clone(&self.site));
            std::thread::spawn(move || host.supervise(&site));
        }
        let daemon = Arc::clone(self);
        std::thread::spawn(move || daemon.watch_ssh());
        Ok(())
    }

    /// A host is ready when its sshd says so.
    fn watch_ssh(&self) {
        let watched = self.controller.run(|| {
            loop {
                for host in self
                    .hosts
                    .iter()
                    .filter(|h| h.state().0 == HostState::Booting)
                {
                    if sshd_answers(host) && self.publish_key(host).is_ok() {
                        host.set_state(HostState::Ready);
                    }
                }
                std::thread::sleep(Duration::from_millis(30));
            }
        });
        let _: Result<(), LabError> = watched;
    }

    /// Adds the host's key to the twin's known_hosts, whole or not at all.
    fn publish_key(&self, host: &Host) -> Result<(), LabError> {
        let name = host.node.name.as_str();
        let public = self
            .site
            .run_dir
            .root_of(name)
            .join("etc/ssh/ssh_host_ed25519_key.pub");
        let key = std::fs::read_to_string(&public).map_err(LabError::file("read", public))?;
        let file = self.site.run_dir.known_hosts();
        let known = std::fs::read_to_string(&file).unwrap_or_default();
        let mut lines: Vec<&str> = known
            .lines()
            .filter(|l| !l.starts_with(&format!("{name} ")))
            .collect();
        let line = format!("{name} {}", key.trim());
        lines.push(&line);
        let partial = file.with_extension("partial");
        std::fs::write(&partial, lines.join("\n") + "\n")
            .map_err(LabError::file("write", &partial))?;
        std::fs::rename(&partial, &file).map_err(LabError::file("write", file))
    }

    fn serve(self: Arc<Self>) -> Result<(), LabError> {
        let socket = self.site.run_dir.socket();
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).map_err(LabError::file("listen at", &socket))?;
        for stream in listener.incoming().flatten() {
            let daemon = Arc::clone(&self);
            std::thread::spawn(move || daemon.answer(&stream));
        }
        Ok(())
    }

    fn answer(&self, stream: &UnixStream) {
        let Ok(line) = read_line(stream) else { return };
        let request = match serde_json::from_str(&line) {
            Ok(request) => request,
            Err(error) => return reply(stream, &Answer::Error(error.to_string())),
        };
        match request {
            Request::Connect { host, port } => hand_over(stream, self.connect(&host, port)),
            Request::Namespace { host } => hand_over(stream, self.namespace(&host)),
            Request::Down => {
                reply(stream, &Answer::Done);
                std::process::exit(0);
            }
            request => reply(stream, &self.perform(request)),
        }
    }

    fn perform(&self, request: Request) -> Answer {
        match request {
            Request::Status => Answer::Status(self.status()),
            Request::Flows { touching } => {
                Answer::Flows(self.site.forwarder.counters().flows(&touching))
            }
            Request::SetLink { from, to, link } => self.with_ends(&from, &to, |a, b| {
                self.site.forwarder.set_link(a, b, link);
            }),
            Request::Cut { a, b, cut } => self.with_ends(&a, &b, |x, y| {
                self.site.forwarder.set_cut(x, y, cut);
                self.site.forwarder.set_cut(y, x, cut);
            }),
            Request::Connect { .. } | Request::Namespace { .. } | Request::Down => Answer::Done,
        }
    }

    fn with_ends(&self, a: &NodeName, b: &NodeName, act: impl FnOnce(usize, usize)) -> Answer {
        let end = |name: &NodeName| {
            self.hosts
                .iter()
                .find(|h| h.node.name == *name)
                .map(|h| h.end)
        };
        match (end(a), end(b)) {
            (Some(x), Some(y)) => {
                act(x, y);
                Answer::Done
            }
            _ => Answer::Error(format!("no such pair of hosts: {a}, {b}")),
        }
    }

    fn host(&self, name: &str) -> Result<&Host, String> {
        self.hosts
            .iter()
            .find(|h| h.node.name.as_str() == name || h.node.hostname == name)
            .map(Arc::as_ref)
            .ok_or_else(|| format!("no host `{name}`"))
    }

    /// The one that the host is in now; a reboot brings another.
    fn namespace(&self, host: &str) -> Result<File, String> {
        let name = &self.host(host)?.node.name;
        let path = self.site.run_dir.netns_of(name.as_str());
        File::open(&path).map_err(|e| format!("cannot open `{}`: {e}", path.display()))
    }

    fn connect(&self, host: &str, port: u16) -> Result<TcpStream, String> {
        let found = self.host(host)?;
        if let (HostState::Off(why), _) = found.state() {
            return Err(format!("host `{host}` is off: {why}"));
        }
        let address = SocketAddr::new(found.addresses[0], port);
        let connected = self.controller.run(|| {
            TcpStream::connect_timeout(&address, CONNECT)
                .map_err(LabError::system(format!("connect to {host} port {port}")))
        });
        connected.map_err(|error| match error {
            LabError::System { action, source } => format!("cannot {action}: {source}"),
            other => other.to_string(),
        })
    }

    fn status(&self) -> Status {
        let counters = self.site.forwarder.counters();
        let hosts = self.hosts.iter().map(|host| {
            let (state, reboots) = host.state();
            HostReport {
                name: host.node.name.clone(),
                hostname: host.node.hostname.clone(),
                addresses: host.addresses.clone(),
                state,
                reboots,
            }
        });
        Status {
            name: self.site.run_dir.name().to_owned(),
            fleet: self.fleet.name.clone(),
            daemon_pid: outer_pid().unsigned_abs(),
            hosts: hosts.collect(),
            wan: counters.totals(),
            lateness: counters.lateness(),
        }
    }
}

fn hand_over(stream: &UnixStream, what: Result<impl AsFd, String>) {
    match what {
        Ok(descriptor) => {
            reply(stream, &Answer::Done);
            let _ = send_fd(stream, descriptor);
        }
        Err(error) => reply(stream, &Answer::Error(error)),
    }
}

fn reply(mut stream: &UnixStream, answer: &Answer) {
    if let Ok(mut line) = serde_json::to_vec(answer) {
        line.push(b'\n');
        let _ = std::io::Write::write_all(&mut stream, &line);
    }
}

fn start_wan(fleet: &Fleet) -> Result<Arc<Forwarder>, LabError> {
    let nodes = &fleet.nodes;
    // The controller is the last end, as near to every host as can be.
    let link = |a: usize, b: usize| match (nodes.get(a), nodes.get(b)) {
        (Some(from), Some(to)) => fleet.link(from, to),
        _ => Link::default(),
    };
    let forwarder = Forwarder::new(nodes.len() + 1, fleet.wan.seed, link)?;
    let mover = Arc::clone(&forwarder);
    std::thread::spawn(move || {
        prefer_this_thread();
        eprintln!("the WAN stopped: {}", mover.run());
        std::process::exit(1);
    });
    Ok(forwarder)
}

/// Packets must not wait for the programs under test: the WAN goes first.
fn prefer_this_thread() {
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: the pointer is valid for the call; 0 is the calling thread.
    #[expect(unsafe_code, reason = "no safe wrapper for sched_setscheduler in nix")]
    let _ = unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const priority) };
}

fn sshd_answers(host: &Host) -> bool {
    let address = SocketAddr::new(host.addresses[0], host.node.ssh.port);
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) else {
        return false;
    };
    let mut greeting = [0; 4];
    stream
        .set_read_timeout(Some(Duration::from_secs(1)))
        .is_ok()
        && std::io::Read::read_exact(&mut stream, &mut greeting).is_ok()
        && &greeting == b"SSH-"
}

fn neighbours(fleet: &Fleet, assigned: &[(NodeName, Vec<IpAddr>)]) -> Neighbours {
    let mut text = "127.0.0.1 localhost\n::1 localhost\n".to_owned();
    for (node, (_, addresses)) in fleet.nodes.iter().zip(assigned) {
        let by_family = [IpAddr::is_ipv4 as fn(&IpAddr) -> bool, IpAddr::is_ipv6];
        for first in by_family
            .iter()
            .filter_map(|f| addresses.iter().find(|a| f(a)))
        {
            text.push_str(&format!("{first} {} {}\n", node.hostname, node.name));
        }
    }
    Neighbours(text)
}

fn controller_key(run_dir: &RunDir) -> Result<Identity, LabError> {
    let path = run_dir.identity();
    let _ = std::fs::remove_file(&path);
    crate::host::generate_key(&path)?;
    let public = path.with_extension("pub");
    std::fs::read_to_string(&public)
        .map(Identity)
        .map_err(LabError::file("read", public))
}

fn write_ssh_config(run_dir: &RunDir, fleet: &Fleet) -> Result<(), LabError> {
    let program = std::env::current_exe().map_err(LabError::system("find this program"))?;
    let path = run_dir.ssh_config();
    std::fs::write(&path, ssh_config::render(run_dir, fleet, &program))
        .map_err(LabError::file("write", path))
}
