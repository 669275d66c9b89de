//! Coming up, going down, and what is left of a twin that did not go down well.

use std::time::{Duration, Instant};

use lab::{HostState, Twin};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cgroup::Cgroup;
use crate::process::{Traces, files_named, machine};
use crate::site::{
    FLEET, PROGRAM, SHARED, Site, fleet_of, lab, said, unused_name, up, wait_until, write_inventory,
};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_fleet_of_one_leaves_the_machine_as_it_was_up_and_down() {
    let before = machine();
    let host = unused_name("host");
    let site = Site::boot("one", &fleet_of(1).replace("n1", &host));
    assert_eq!(site.sh(&host, "hostname"), host);
    assert_eq!(machine(), before, "while up");
    assert_eq!(files_named(&host), "", "while up");
    let traces = Traces::of(&site.twin);
    assert!(traces.processes() >= 5);
    let down = lab(&site.name, "down", &[]);
    assert!(down.status.success(), "{}", said(&down));
    assert_eq!(traces.left(), [""; 0]);
    assert_eq!(machine(), before, "after down");
}

#[test]
fn thirty_hosts_boot_and_reach_each_other() {
    let site = Site::boot("many", &fleet_of(30));
    let status = site.twin.status().unwrap();
    assert!(status.is_ready());
    assert_eq!(status.hosts.len(), 30);
    assert_eq!(
        site.sh(
            "n30",
            "for i in $(seq 29); do ping -q -c 1 -W 2 n$i > /dev/null || echo n$i; done"
        ),
        ""
    );
    let traces = Traces::of(&site.twin);
    Twin::down(&site.name).unwrap();
    assert_eq!(traces.left(), [""; 0]);
}

#[test]
fn status_tells_of_every_host_in_both_forms() {
    let json = lab(&SHARED.name, "status", &["--json"]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["name"], SHARED.name.as_str());
    assert_eq!(json["fleet"], "links");
    let hosts = json["hosts"].as_array().unwrap();
    let names: Vec<_> = hosts.iter().map(|h| h["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b", "london", "tokyo"]);
    assert_eq!(
        hosts[1]["addresses"],
        serde_json::json!(["198.18.2.10", "198.18.3.10", "3018:2::10"])
    );
    assert!(json["wan"]["delivered"].as_u64().unwrap() > 0);
    let text = said(&lab(&SHARED.name, "status", &[]));
    assert!(names.iter().all(|n| text.contains(n)), "{text}");
}

#[test]
fn up_again_finds_the_twin_and_another_fleet_is_refused() {
    let pid = SHARED.twin.status().unwrap().daemon_pid;
    let again = up(&SHARED.name, FLEET);
    assert!(again.status.success(), "{}", said(&again));
    assert_eq!(SHARED.twin.status().unwrap().daemon_pid, pid);
    let other = up(&SHARED.name, &fleet_of(1));
    assert_eq!(other.status.code(), Some(2), "{}", said(&other));
    assert!(said(&other).contains("another fleet"), "{}", said(&other));
}

#[test]
fn two_ups_at_once_make_one_twin() {
    let name = unused_name("twice");
    let inventory = fleet_of(2);
    let both = std::thread::scope(|scope| {
        let one = scope.spawn(|| up(&name, &inventory));
        [up(&name, &inventory), one.join().unwrap()]
    });
    let site = Site::boot_as(&name, &inventory);
    for output in both {
        assert!(output.status.success(), "{}", said(&output));
    }
    assert_eq!(site.sh("n2", "hostname"), "n2");
}

#[test]
fn commands_for_a_twin_that_is_not_up_say_so() {
    let name = unused_name("none");
    for (command, args) in [
        ("status", &[][..]),
        ("exec", &["n1", "--", "true"]),
        ("ssh-config", &[]),
    ] {
        let output = lab(&name, command, args);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{command}: {}",
            said(&output)
        );
        assert!(
            said(&output).contains("lab up --name"),
            "{command}: {}",
            said(&output)
        );
    }
    let down = lab(&name, "down", &[]);
    assert!(down.status.success(), "{}", said(&down));
}

#[test]
fn a_host_reboots_into_a_new_namespace_on_its_old_disk() {
    let site = Site::boot("reboot", &fleet_of(2));
    let namespace = || site.sh("n1", "readlink /proc/self/ns/net");
    let before = namespace();
    site.sh(
        "n1",
        "echo kept > /root/kept; echo 1 > /proc/sys/net/ipv4/ip_forward; nft add table ip gone",
    );
    let pid = site.twin.status().unwrap().daemon_pid;
    site.exec("n1", &["systemctl", "reboot"]);
    wait_until("n1 is back", SOON, || {
        let n1 = &site.twin.status().unwrap().hosts[0];
        n1.reboots == 1 && n1.state == HostState::Ready
    });
    assert_ne!(namespace(), before);
    assert_eq!(
        site.sh(
            "n1",
            "cat /root/kept /proc/sys/net/ipv4/ip_forward; nft list tables"
        ),
        "kept\n0"
    );
    assert_eq!(
        site.sh("n2", "ping -q -c 1 -W 1 n1 > /dev/null && hostname"),
        "n2"
    );
    let status = site.twin.status().unwrap();
    assert_eq!((status.daemon_pid, status.hosts[1].reboots), (pid, 0));
}

#[test]
fn a_host_that_is_powered_off_stays_off_and_the_others_run_on() {
    let site = Site::boot("off", &fleet_of(2));
    site.exec("n1", &["systemctl", "poweroff"]);
    let state = || site.twin.status().unwrap().hosts[0].state.clone();
    wait_until("n1 is off", SOON, || matches!(state(), HostState::Off(_)));
    assert!(!site.exec("n1", &["true"]).status.success());
    assert_eq!(site.sh("n2", "hostname"), "n2");
    let again = up(&site.name, &fleet_of(2));
    assert!(again.status.success(), "{}", said(&again));
    assert!(
        said(&again).contains("n1 is off"),
        "up does not say that a host is off: {}",
        said(&again)
    );
    Twin::down(&site.name).unwrap();
}

fn kill_daemon(site: &Site) -> u32 {
    let pid = site.twin.status().unwrap().daemon_pid;
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
    pid
}

#[test]
fn a_killed_daemon_takes_everything_inside_with_it() {
    let site = Site::boot("killed", &fleet_of(2));
    let traces = Traces::of(&site.twin);
    kill_daemon(&site);
    wait_until("all processes have ended", SOON, || {
        traces.living().is_empty()
    });
    let down = lab(&site.name, "down", &[]);
    assert!(down.status.success(), "{}", said(&down));
    assert_eq!(traces.left(), [""; 0]);
}

#[test]
fn up_works_directly_after_the_daemon_was_killed() {
    let inventory = fleet_of(3);
    let site = Site::boot("again", &inventory);
    let traces = Traces::of(&site.twin);
    let killed = kill_daemon(&site);
    let again = up(&site.name, &inventory);
    assert!(again.status.success(), "{}", said(&again));
    assert_ne!(site.twin.status().unwrap().daemon_pid, killed);
    assert_eq!(traces.living(), [0; 0]);
    assert_eq!(
        site.sh("n3", "ping -q -c 1 -W 1 n1 > /dev/null && hostname"),
        "n3"
    );
}

#[test]
fn down_works_from_another_cgroup_and_directly_after_a_kill() {
    let site = Site::boot("elsewhere", &fleet_of(2));
    let traces = Traces::of(&site.twin);
    kill_daemon(&site);
    let elsewhere = Cgroup::create();
    let down = elsewhere
        .command(PROGRAM)
        .args(["lab", "down", "--name", &site.name])
        .output()
        .unwrap();
    assert!(down.status.success(), "{}", said(&down));
    assert_eq!(traces.left(), [""; 0]);
}

#[test]
fn down_while_booting_leaves_nothing() {
    let name = unused_name("early");
    let directory = tempfile::tempdir().unwrap();
    let file = write_inventory(directory.path(), &fleet_of(5));
    let mut booting = std::process::Command::new(PROGRAM)
        .args(["lab", "up", "--name", &name, "--fleet"])
        .arg(file)
        .output_in_background();
    wait_until("the daemon answers", SOON, || Twin::open(&name).is_ok());
    let traces = Traces::of(&Twin::open(&name).unwrap());
    Twin::down(&name).unwrap();
    let began = Instant::now();
    let code = booting.wait().unwrap().code();
    assert_eq!(code, Some(4));
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(traces.left(), [""; 0]);
}

trait Background {
    fn output_in_background(&mut self) -> std::process::Child;
}

impl Background for std::process::Command {
    fn output_in_background(&mut self) -> std::process::Child {
        use std::process::Stdio;
        self.stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }
}
