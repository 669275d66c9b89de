//! Hosts, daemons and connections that do not behave.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lab::{HostState, Twin};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process::{Traces, machine};
use crate::site::{PROGRAM, Site, fleet_of, lab, said, wait_until};

const SOON: Duration = Duration::from_secs(20);

fn reboot(site: &Site, node: &str) {
    let report = || {
        let hosts = site.twin.status().unwrap().hosts;
        hosts.into_iter().find(|h| h.name.as_str() == node).unwrap()
    };
    let before = report().reboots;
    site.exec(node, &["systemctl", "reboot"]);
    wait_until("the host is back", SOON, || {
        let now = report();
        now.reboots > before && now.state == HostState::Ready
    });
}

#[test]
fn what_hosts_have_started_mounted_and_set_up_goes_with_them() {
    let before = machine();
    let site = Site::boot("lab-busy", &fleet_of(2));
    site.sh(
        "n1",
        "ip netns add inner; nft add table inet mine; ip rule add from 198.18.9.9 table 77
         mount -t tmpfs tmpfs /mnt; cp /usr/bin/sleep /mnt
         setsid ip netns exec inner /mnt/sleep 1000 >/dev/null 2>&1 </dev/null &
         (trap '' TERM HUP INT; exec setsid sleep 1000 >/dev/null 2>&1 </dev/null) &",
    );
    assert_eq!(machine(), before, "a host reaches its own network only");
    assert_eq!(
        site.sh("n2", "nft list tables; ip netns list; pidof sleep || true"),
        ""
    );
    reboot(&site, "n2");
    assert_eq!(machine(), before, "after a reboot");
    let traces = Traces::of(&site.twin);
    Twin::down(&site.name).unwrap();
    assert_eq!(traces.left(), [""; 0]);
    assert_eq!(machine(), before, "after down");
}

#[test]
fn a_hosts_root_cannot_make_a_node_of_the_machines_disk() {
    let site = Site::boot("lab-mknod", &fleet_of(1));
    let partitions = std::fs::read_to_string("/proc/partitions").unwrap();
    let disk = partitions.lines().nth(2).unwrap();
    let numbers: Vec<&str> = disk.split_whitespace().take(2).collect();
    for dir in ["/dev", "/root", "/tmp"] {
        let make = format!("mknod {dir}/disk b {}", numbers.join(" "));
        let made = site.exec("n1", &["sh", "-c", &make]);
        assert!(!made.status.success(), "{dir}: {}", said(&made));
    }
    // What it has a use for is there.
    site.sh("n1", "head -c 1 /dev/urandom /dev/zero >/dev/null");
}

#[test]
fn the_journal_survives_a_reboot() {
    let site = Site::boot("lab-journal", &fleet_of(1));
    site.sh("n1", "logger of-the-first-boot; journalctl --sync");
    reboot(&site, "n1");
    let lines = "journalctl --no-pager --quiet -b -1 | grep -c of-the-first-boot";
    assert_eq!(site.sh("n1", lines), "1");
}

#[test]
fn a_stuck_daemon_sticks_nobody_and_goes_down_all_the_same() {
    let site = Site::boot("lab-stuck", &fleet_of(2));
    let traces = Traces::of(&site.twin);
    let outer = site.twin.status().unwrap().daemon_pid;
    let children = format!("/proc/{outer}/task/{outer}/children");
    let inner = std::fs::read_to_string(children).unwrap();
    for pid in [outer.to_string().as_str(), inner.trim()] {
        kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGSTOP).unwrap();
    }
    let began = Instant::now();
    assert!(site.twin.status().is_err());
    let down = lab(&site.name, "down", &[]);
    assert!(down.status.success(), "{}", said(&down));
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert_eq!(traces.left(), [""; 0]);
}

#[test]
fn many_at_once_each_get_the_namespace_that_they_asked_for() {
    let site = Site::boot("lab-many", &fleet_of(2));
    let own = site.sh("n1", "readlink /proc/self/ns/net");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let namespace = site.twin.namespace("n1").unwrap();
                    let inside = namespace
                        .run(|| Ok(std::fs::read_link("/proc/thread-self/ns/net").unwrap()));
                    assert_eq!(inside.unwrap().to_str(), Some(own.as_str()));
                }
            });
        }
    });
}

#[test]
fn another_user_of_the_machine_is_told_that_it_takes_root() {
    let site = Site::boot("lab-user", &fleet_of(1));
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), everybody).unwrap();
    let program = directory.path().join("vps-test");
    std::fs::copy(PROGRAM, &program).unwrap();
    for (command, more) in [("status", &[][..]), ("exec", &["n1", "--", "true"])] {
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--clear-groups"])
            .arg(&program)
            .args(["lab", command, "--name", &site.name])
            .args(more)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(4), "{}", said(&output));
        assert!(said(&output).contains("needs root"), "{}", said(&output));
    }
}

/// A `lab forward` that listens.
struct Forward {
    child: Child,
    at: SocketAddr,
}

impl Forward {
    fn to(site: &Site, target: &str) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["lab", "forward", "--name", &site.name, target])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let at = line.split(' ').next().unwrap().parse().unwrap();
        Self { child, at }
    }

    /// All that comes back when this was said and no more will be.
    fn says_to(&self, words: &str) -> String {
        let mut stream = TcpStream::connect(self.at).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(words.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_forward_copies_both_ways_and_outlives_a_reboot() {
    let site = Site::boot("lab-forward", &fleet_of(1));
    let serve = "setsid socat TCP-LISTEN:7300,fork,reuseaddr EXEC:/usr/bin/rev \
                 >/dev/null 2>&1 </dev/null & until ss -ltn | grep -q :7300; do sleep 0.1; done";
    site.sh("n1", serve);
    let forward = Forward::to(&site, "n1:7300");
    assert_eq!(forward.says_to("abc\n"), "cba\n");
    reboot(&site, "n1");
    assert_eq!(forward.says_to("abc\n"), "", "nobody listens there now");
    site.sh("n1", serve);
    assert_eq!(forward.says_to("abc\n"), "cba\n");
}

#[test]
fn a_port_that_never_answers_is_given_up_in_time() {
    let site = Site::boot("lab-silent", &fleet_of(1));
    site.sh(
        "n1",
        "nft add table ip t && nft add chain ip t in '{ type filter hook input priority 0; }' \
         && nft add rule ip t in tcp dport 7301 drop",
    );
    let began = Instant::now();
    let error = site.twin.connect("n1", 7301).unwrap_err();
    assert!(error.to_string().contains("7301"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(14), "{error}");
    assert!(site.twin.connect("n1", 22).is_ok(), "others go on");
}
