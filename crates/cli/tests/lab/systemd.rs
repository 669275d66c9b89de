//! The twin where PID 1 is systemd, as on most people's machines.

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::cgroup::Cgroup;
use crate::site::{PROGRAM, fleet_of, said, unused_name, wait_until, write_inventory};

const CONFIG: &str = "modules: { m: { project: p, binary: b, crate: c } }\n";

/// Nobody is there.
const HOSTS: &str = "\
fleet: hosts
nodes:
  - { name: a, hostname: a.invalid, addresses: [127.0.0.1], provider: x, region: x, role: bootstrap }
  - { name: b, hostname: b.invalid, addresses: [127.0.0.2], provider: x, region: x, role: bootstrap }
";

const SOON: Duration = Duration::from_secs(30);

/// A machine in a container: systemd, root's capabilities, `/dev/net/tun`, and no
/// network but loopback. It ends with this.
struct Machine {
    nspawn: Child,
    leader: String,
    _cgroup: Cgroup,
    _files: tempfile::TempDir,
}

impl Machine {
    /// With cgroup v2 alone, or with what this machine has.
    fn boot(unified: bool) -> Self {
        let files = tempfile::tempdir().unwrap();
        write_inventory(files.path(), &fleet_of(2));
        std::fs::copy(PROGRAM, files.path().join("vps-test")).unwrap();
        std::fs::write(files.path().join("vps-test.yaml"), CONFIG).unwrap();
        std::fs::write(files.path().join("hosts.yaml"), HOSTS).unwrap();
        let cgroup = Cgroup::create();
        let nspawn = cgroup
            .command("systemd-nspawn")
            .args([
                "--quiet",
                "--boot",
                "--directory=/",
                "--volatile=yes",
                "--private-network",
            ])
            .args([
                "--capability=all",
                "--bind=/dev/net/tun",
                "--register=no",
                "--keep-unit",
            ])
            .args([
                "--console=pipe",
                "--link-journal=no",
                "--resolv-conf=off",
                "--timezone=off",
            ])
            .arg(format!("--machine={}", unused_name("machine")))
            .arg(format!("--bind-ro={}:/opt", files.path().display()))
            .args(["--", "--unit=basic.target"])
            .env(
                "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY",
                if unified { "1" } else { "0" },
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut machine = Self {
            leader: String::new(),
            nspawn,
            _cgroup: cgroup,
            _files: files,
        };
        machine.wait_booted();
        machine
    }

    fn wait_booted(&mut self) {
        let parent = self.nspawn.id().to_string();
        wait_until("the machine's systemd has started", SOON, || {
            let children = Command::new("pgrep")
                .args(["-P", &parent, "systemd"])
                .output();
            self.leader = String::from_utf8(children.unwrap().stdout)
                .unwrap()
                .trim()
                .to_owned();
            !self.leader.is_empty()
                && self
                    .enter(&["systemctl", "is-active", "basic.target"])
                    .status
                    .success()
        });
    }

    fn enter(&self, command: &[&str]) -> Output {
        Command::new("nsenter")
            .args(["--all", "--target", &self.leader])
            .args(command)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// `vps-test lab …` in a service of its own, as each login has a scope of its own.
    fn lab(&self, args: &[&str]) -> String {
        let run = [
            "systemd-run",
            "--quiet",
            "--wait",
            "--pipe",
            "/opt/vps-test",
            "lab",
        ];
        let output = self.enter(&[&run, args].concat());
        assert!(output.status.success(), "{args:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A shell in a service of its own.
    fn shell(&self, script: &str) -> String {
        let run = [
            "systemd-run",
            "--quiet",
            "--wait",
            "--pipe",
            "sh",
            "-c",
            script,
        ];
        let output = self.enter(&run);
        assert!(output.status.success(), "{script}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn left(&self) -> String {
        let find = "find /sys/fs/cgroup /run/vps-test -name 'vps-test-*' -o -name twin; \
            systemctl list-units --all --no-legend --plain 'vps-test-*'; pgrep -af '[l]ab serve'";
        String::from_utf8(self.enter(&["sh", "-c", find]).stdout).unwrap()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The end of its PID 1 is the end of all of it.
        let _ = Command::new("kill").args(["-KILL", &self.leader]).status();
        let _ = self.nspawn.wait();
    }
}

fn a_twin_works_on(machine: &Machine) {
    let up = ["up", "--fleet", "/opt/fleet.yaml"];
    machine.lab(&up);
    assert_eq!(machine.lab(&["exec", "n1", "--", "hostname"]), "n1\n");
    assert_eq!(
        machine.lab(&[
            "exec",
            "n1",
            "--",
            "systemctl",
            "is-system-running",
            "--wait"
        ]),
        "running\n"
    );
    machine.lab(&["exec", "n1", "--", "ping", "-q", "-c", "1", "-W", "1", "n2"]);

    let status: serde_json::Value =
        serde_json::from_str(&machine.lab(&["status", "--json"])).unwrap();
    let killed = machine.enter(&["kill", "-KILL", &status["daemon_pid"].to_string()]);
    assert!(killed.status.success(), "{}", said(&killed));
    machine.lab(&up);
    assert_eq!(machine.lab(&["exec", "n2", "--", "hostname"]), "n2\n");

    machine.lab(&["down"]);
    // systemd forgets an empty scope in its own time.
    let began = Instant::now();
    while !machine.left().is_empty() && began.elapsed() < SOON {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(machine.left(), "");
}

#[test]
fn a_twin_boots_beside_systemd_on_cgroup_v2() {
    let machine = Machine::boot(true);
    let kind = machine.enter(&["stat", "--file-system", "--format=%T", "/sys/fs/cgroup"]);
    assert_eq!(String::from_utf8(kind.stdout).unwrap().trim(), "cgroup2fs");
    a_twin_works_on(&machine);
    a_run_in_the_background_is_a_scope(&machine);
}

/// The service that starts it has ended long before: nothing but the scope is left.
fn a_run_in_the_background_is_a_scope(machine: &Machine) {
    let set = "cd /opt; export HOME=/root VPS_TEST_STATE_DIR=/var/state";
    // ssh takes its time, so that the run is still on when it is looked at.
    let slow =
        "mkdir -p /root/.ssh && printf 'Host *\n ProxyCommand sleep 60\n' > /root/.ssh/config";
    let started = machine.shell(&format!(
        "{slow}; {set}; ./vps-test start p connectivity threshold logs --yes --soak 0 --fleet hosts.yaml --detach"
    ));
    assert!(started.contains("unit vps-test-p-"), "{started}");
    let scopes = "systemctl list-units --no-legend --plain 'vps-test-p-*.scope'";
    let scope = machine.shell(scopes);
    assert!(scope.contains("active running"), "{scope}");
    let status = || -> serde_json::Value {
        let said = machine.shell(&format!("{set}; ./vps-test status p --json"));
        serde_json::from_str(&said).unwrap()
    };
    wait_until("it is in SETUP", SOON, || status()[0]["state"] == "SETUP");
    let status = status();
    assert_eq!(status[0]["alive"], true);
    let cgroup = machine.shell(&format!("cat /proc/{}/cgroup", status[0]["pid"]));
    assert!(cgroup.contains("vps-test-p-"), "{cgroup}");

    let stopped = machine.shell(&format!("{set}; ./vps-test stop p"));
    assert!(stopped.contains("p is STOPPED"), "{stopped}");
    wait_until("the scope is gone", SOON, || {
        machine.shell(scopes).is_empty()
    });
}

#[test]
fn a_twin_boots_beside_systemd_on_older_cgroups() {
    a_twin_works_on(&Machine::boot(false));
}
