//! What the machine has of a twin: processes, namespaces, mounts, files.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use lab::Twin;

/// Everything that a twin could leave behind, found while it is up.
pub struct Traces {
    name: String,
    /// Process and when it started: numbers are used again.
    processes: BTreeSet<(u32, String)>,
}

impl Traces {
    pub fn of(twin: &Twin) -> Self {
        let pids = descendants(twin.status().unwrap().daemon_pid);
        Self {
            name: twin.name().to_owned(),
            processes: pids
                .iter()
                .filter_map(|p| Some((*p, started(*p)?)))
                .collect(),
        }
    }

    /// How many processes; a twin of any size has several.
    pub fn processes(&self) -> usize {
        self.processes.len()
    }

    pub fn living(&self) -> Vec<u32> {
        let alive = self
            .processes
            .iter()
            .filter(|(pid, start)| started(*pid).as_ref() == Some(start));
        alive.map(|(pid, _)| *pid).collect()
    }

    /// What is still there, in words.
    pub fn left(&self) -> Vec<String> {
        let mut left: Vec<String> = self
            .living()
            .iter()
            .map(|p| format!("process {p}: {}", command_line(*p)))
            .collect();
        for pid in all_pids() {
            let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
            if mounts.contains(&format!("/{}/", self.name)) {
                left.push(format!("mounts of process {pid}"));
            }
            if command_line(pid).contains(&format!("serve --name {} ", self.name)) {
                left.push(format!("process {pid}: {}", command_line(pid)));
            }
        }
        let run_dir = Path::new("/run/vps-test/lab").join(&self.name);
        left.extend(run_dir.exists().then(|| run_dir.display().to_string()));
        left.extend(self.cgroups());
        left
    }

    fn cgroups(&self) -> Vec<String> {
        let found = Command::new("find")
            .args(["/sys/fs/cgroup", "-type", "d", "-name"])
            .arg(format!("vps-test-*{}*", self.name))
            .output()
            .unwrap();
        let found = String::from_utf8_lossy(&found.stdout);
        found.lines().map(str::to_owned).collect()
    }
}

fn all_pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .collect()
}

fn descendants(root: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::from([root]);
    loop {
        let before = found.len();
        let children = all_pids()
            .into_iter()
            .filter(|p| parent(*p).is_some_and(|parent| found.contains(&parent)));
        let children: Vec<_> = children.collect();
        found.extend(children);
        if found.len() == before {
            return found;
        }
    }
}

/// The fields of `/proc/PID/stat` behind the name.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    let fields: Vec<_> = fields.split(' ').map(str::to_owned).collect();
    // A zombie holds nothing any more.
    (fields[0] != "Z").then_some(fields)
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid)?[1].parse().ok()
}

fn started(pid: u32) -> Option<String> {
    Some(stat(pid)?[19].clone())
}

fn command_line(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// The machine's own network and SSH, as a twin must leave them.
pub fn machine() -> String {
    let said = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().unwrap();
        assert!(output.status.success(), "{program} {args:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let addresses = said("ip", &["-o", "address"]);
    // How long a lease lasts still is no change.
    let addresses = addresses
        .lines()
        .map(|l| l.split("valid_lft").next().unwrap())
        .collect::<Vec<_>>();
    let routes = said("ip", &["route", "show", "table", "all"]);
    let rules = said("nft", &["--stateless", "list", "ruleset"]);
    let files = [
        "/etc/ssh/sshd_config",
        "/etc/hosts",
        "/etc/resolv.conf",
        "/root/.ssh/known_hosts",
        "/root/.ssh/config",
        "/proc/sys/net/ipv4/ip_forward",
    ];
    let files = files.map(|f| fs::read_to_string(f).unwrap_or_default());
    format!("{addresses:?}\n{routes}\n{rules}\n{files:?}")
}

/// Files of the machine that bear a name, which no host's files may.
pub fn files_named(word: &str) -> String {
    let found = Command::new("find")
        .args([
            "/run",
            "/tmp",
            "/var/lib/machines",
            "/etc",
            "-not",
            "-path",
            "/run/vps-test/*",
        ])
        .args(["-name", &format!("*{word}*")])
        .output()
        .unwrap();
    String::from_utf8(found.stdout).unwrap()
}
