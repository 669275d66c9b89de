//! From the script's answer to facts. What cannot be read stays at its default.

use std::collections::{BTreeMap, HashMap};

use model::diagnosis::{Connections, Disk, HostFacts, Listener, Memory, NatBoxFacts, UnitFacts};
use model::inventory::Transport;

/// `halfway` is our clock when theirs was read, in milliseconds.
pub fn facts(text: &str, halfway: i64) -> HostFacts {
    let mut facts = HostFacts::default();
    let mut programs = HashMap::new();
    let mut sockets: &[&str] = &[];
    let sections = sections(text);
    for (name, lines) in &sections {
        match name.split_once(' ') {
            Some(("unit", unit)) => facts.units.push(self::unit(unit, lines)),
            _ => match *name {
                "clock" => facts.clock_skew_ms = clock(lines, halfway),
                "system" => system(&mut facts, lines),
                "memory" => facts.memory = memory(lines),
                "disk" => facts.disks = lines.iter().filter_map(|l| disk(l)).collect(),
                "sockets" => sockets = lines,
                "programs" => programs = self::programs(lines),
                "nat" => facts.nat_box = nat_box(lines),
                "killed" => facts.out_of_memory = owned(lines),
                "log" => {
                    if let Some(unit) = facts.units.last_mut() {
                        unit.log = owned(lines);
                    }
                }
                _ => {}
            },
        }
    }
    let uptime = facts.uptime_seconds;
    for unit in &mut facts.units {
        // systemd counts from the boot, in microseconds.
        unit.since_seconds = unit
            .since_seconds
            .map(|at| uptime.saturating_sub(at / 1_000_000));
    }
    self::sockets(&mut facts, sockets, &programs);
    facts
}

fn sections(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut sections: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("== "), sections.last_mut()) {
            (Some(name), _) => sections.push((name.trim(), Vec::new())),
            (None, Some((_, lines))) => lines.push(line),
            (None, None) => {}
        }
    }
    sections
}

fn owned(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

fn clock(lines: &[&str], halfway: i64) -> i64 {
    let theirs = lines
        .first()
        .and_then(|line| line.trim().parse::<i64>().ok());
    theirs.map_or(0, |theirs| theirs - halfway)
}

fn system(facts: &mut HostFacts, lines: &[&str]) {
    let mut lines = lines.iter();
    let mut next = || lines.next().copied().unwrap_or_default();
    facts.kernel = next().to_owned();
    facts.arch = next().to_owned();
    let first = |line: &str| line.split([' ', '.']).next().and_then(|w| w.parse().ok());
    facts.uptime_seconds = first(next()).unwrap_or(0);
    let load = next();
    facts.load = load
        .split(' ')
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(0.0);
    facts.processors = next().parse().unwrap_or(0);
    facts.glibc = next().strip_prefix("glibc ").map(str::to_owned);
}

fn memory(lines: &[&str]) -> Memory {
    let kibibytes = |key: &str| {
        let line = lines.iter().find_map(|line| line.strip_prefix(key));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        number.unwrap_or(0) * 1024
    };
    Memory {
        total_bytes: kibibytes("MemTotal:"),
        available_bytes: kibibytes("MemAvailable:"),
    }
}

/// `SIZE AVAIL INODES PATH`
fn disk(line: &str) -> Option<Disk> {
    let mut words = line.split_whitespace();
    let (size, free) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let inodes = words.next()?.parse().ok();
    Some(Disk {
        path: words.collect::<Vec<_>>().join(" "),
        size_bytes: size,
        free_bytes: free,
        free_inodes: inodes.filter(|inodes| *inodes > 0),
    })
}

fn programs<'a>(lines: &[&'a str]) -> HashMap<&'a str, &'a str> {
    lines
        .iter()
        .filter_map(|line| line.split_once(' '))
        .collect()
}

fn nat_box(lines: &[&str]) -> Option<NatBoxFacts> {
    let state = lines.first()?;
    Some(NatBoxFacts {
        unit_is_active: *state == "active",
        namespace_is_there: lines.contains(&"namespace"),
        rules_are_there: lines.contains(&"rules"),
        forwards: lines.contains(&"forwards"),
    })
}

fn unit(name: &str, lines: &[&str]) -> UnitFacts {
    let values: HashMap<&str, &str> = lines.iter().filter_map(|l| l.split_once('=')).collect();
    let text = |key: &str| values.get(key).copied().unwrap_or_default().to_owned();
    let number = |key: &str| values.get(key).and_then(|value| value.parse::<u64>().ok());
    let small = |key: &str| number(key).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    UnitFacts {
        name: name.to_owned(),
        active: text("ActiveState"),
        sub: text("SubState"),
        result: text("Result"),
        exit_status: i32::try_from(small("ExecMainStatus")).unwrap_or(0),
        restarts: small("NRestarts"),
        pid: small("MainPID"),
        since_seconds: number("StateChangeTimestampMonotonic").filter(|at| *at > 0),
        command: text("Command"),
        log: Vec::new(),
    }
}

/// `udp UNCONN 0 0 0.0.0.0:9000 0.0.0.0:* users:(("socat",pid=7,fd=5))`
fn sockets(facts: &mut HostFacts, lines: &[&str], programs: &HashMap<&str, &str>) {
    let mut counts: BTreeMap<(String, &str), usize> = BTreeMap::new();
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [protocol, state, _, _, local, peer, ..] = words.as_slice() else {
            continue;
        };
        let transport = match *protocol {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            _ => continue,
        };
        let pid = line
            .split_once("pid=")
            .and_then(|(_, rest)| rest.split([',', ')']).next());
        let program = pid
            .and_then(|pid| programs.get(pid))
            .copied()
            .unwrap_or_default();
        let port = local.rsplit(':').next().and_then(|port| port.parse().ok());
        match (*state, port) {
            ("LISTEN" | "UNCONN", Some(port)) => {
                let listener = Listener {
                    transport,
                    port,
                    program: program.to_owned(),
                };
                if !facts.listeners.contains(&listener) {
                    facts.listeners.push(listener);
                }
            }
            ("ESTAB", _) if !peer.ends_with(":*") => {
                *counts.entry((program.to_owned(), protocol)).or_default() += 1;
            }
            _ => {}
        }
    }
    facts.listeners.sort_by_key(|l| (l.port, l.program.clone()));
    facts.connections = counts
        .into_iter()
        .map(|((program, protocol), count)| Connections {
            program,
            transport: if protocol == "tcp" {
                Transport::Tcp
            } else {
                Transport::Udp
            },
            count,
        })
        .collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "\
== clock
1700000002500
== system
Linux 6.1.0
x86_64
123.45 99.00
0.50 0.40 0.30 1/100 999
2
glibc 2.36
== memory
MemTotal:        2048 kB
MemAvailable:    1024 kB
== disk
1000 500 77 /opt/saorsa-test
 900 400 - /var/log
== sockets
udp   UNCONN 0 0     192.0.2.1:9000  0.0.0.0:*  users:((\"socat\",pid=7,fd=5))
tcp   LISTEN 0 128     0.0.0.0:22    0.0.0.0:*  users:((\"sshd\",pid=8,fd=3))
tcp   ESTAB  0 0     192.0.2.1:22  192.0.2.9:5  users:((\"sshd\",pid=8,fd=4))
tcp   ESTAB  0 0     192.0.2.1:22  192.0.2.9:6  users:((\"sshd\",pid=8,fd=4))
== programs
7 /usr/bin/socat
8 /usr/sbin/sshd
== nat
active
namespace
rules
== killed
== unit saorsa-test-x.service
ActiveState=failed
SubState=failed
Result=exit-code
ExecMainStatus=1
NRestarts=5
MainPID=0
StateChangeTimestampMonotonic=100000000
Command=/opt/x agent --a=b
== log
cannot bind
";

    #[test]
    fn an_answer_is_read() {
        let facts = facts(ANSWER, 1_700_000_000_000);
        assert_eq!(facts.clock_skew_ms, 2500);
        assert_eq!(
            (
                facts.arch.as_str(),
                facts.glibc.as_deref(),
                facts.processors
            ),
            ("x86_64", Some("2.36"), 2)
        );
        assert_eq!(facts.memory.available_bytes, 1 << 20);
        assert_eq!(facts.disks[0].free_inodes, Some(77));
        assert_eq!(
            (facts.disks[1].path.as_str(), facts.disks[1].free_inodes),
            ("/var/log", None)
        );
        assert_eq!(facts.listeners[1].program, "/usr/bin/socat");
        assert_eq!(facts.connections[0].count, 2);
        let nat_box = facts.nat_box.unwrap();
        assert!(nat_box.rules_are_there && !nat_box.forwards);
        let unit = &facts.units[0];
        assert_eq!((unit.exit_status, unit.restarts), (1, 5));
        assert_eq!(unit.since_seconds, Some(23));
        assert_eq!(unit.command, "/opt/x agent --a=b");
        assert_eq!(unit.log, ["cannot bind"]);
    }

    #[test]
    fn an_answer_that_was_cut_off_is_no_reason_to_panic() {
        for end in 0..ANSWER.len() {
            facts(&ANSWER[..end], 0);
        }
    }
}
