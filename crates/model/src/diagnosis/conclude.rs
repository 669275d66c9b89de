//! From facts to findings, causes before what follows from them.

use super::{Disk, Dns, Expected, Finding, HostFacts, Kind, Severity, UnitFacts};
use crate::inventory::Transport;

/// Room for the current and the previous binary of everything we install.
const DISK_NEEDED: u64 = 256 << 20;
const DISK_FULL: u64 = 16 << 20;
const INODES_NEEDED: u64 = 1000;
/// What a tester with its peers wants to have left.
const MEMORY_NEEDED: u64 = 64 << 20;
/// Certificates and tokens are believed with this much of a difference.
const CLOCK_TOLERATED_MS: i64 = 5_000;
const CLOCK_BAD_MS: i64 = 60_000;
const RESTARTS_TOLERATED: u32 = 3;

/// Everything that is wrong, the worst first.
pub fn conclude(facts: &HostFacts, expected: &Expected) -> Vec<Finding> {
    let mut found = Vec::new();
    disks(&mut found, facts, expected);
    memory(&mut found, facts);
    ports(&mut found, facts, expected);
    nat_box(&mut found, facts, expected);
    clock(&mut found, facts);
    dns(&mut found, expected);
    services(&mut found, facts, expected);
    found.sort_by_key(|finding| finding.severity);
    found
}

fn finding(kind: Kind, severity: Severity, what: String, remedy: impl Into<String>) -> Finding {
    Finding {
        kind,
        severity,
        what,
        remedy: remedy.into(),
    }
}

fn disks(found: &mut Vec<Finding>, facts: &HostFacts, expected: &Expected) {
    for disk in &facts.disks {
        let is_ours = disk.path == expected.install_path;
        let needed = if is_ours { DISK_NEEDED } else { DISK_FULL };
        if disk.free_bytes < needed {
            let severity = if disk.free_bytes < DISK_FULL || is_ours {
                Severity::Fault
            } else {
                Severity::Warning
            };
            found.push(finding(
                Kind::Disk,
                severity,
                full(disk, needed),
                make_room(disk),
            ));
        }
        if disk.free_inodes.is_some_and(|free| free < INODES_NEEDED) {
            found.push(finding(
                Kind::Disk,
                Severity::Fault,
                format!("`{}` has hardly any inodes left for new files", disk.path),
                "delete directories of many small files",
            ));
        }
    }
}

fn full(disk: &Disk, needed: u64) -> String {
    format!(
        "`{}` has {} MiB free of {} MiB, and {} MiB are needed",
        disk.path,
        disk.free_bytes >> 20,
        disk.size_bytes >> 20,
        needed >> 20
    )
}

fn make_room(disk: &Disk) -> String {
    match disk.path.as_str() {
        "/var/log" => "`journalctl --vacuum-size=100M` there makes room".into(),
        _ => "`du -xh / | sort -h | tail` there shows what is large; delete it, or choose another deploy.install_path".into(),
    }
}

fn memory(found: &mut Vec<Finding>, facts: &HostFacts) {
    let memory = facts.memory;
    if memory.total_bytes > 0 && memory.available_bytes < MEMORY_NEEDED {
        found.push(finding(
            Kind::Memory,
            Severity::Fault,
            format!(
                "{} MiB of {} MiB memory are available",
                memory.available_bytes >> 20,
                memory.total_bytes >> 20
            ),
            "`ps -eo rss,args --sort=-rss | head` there shows who has it",
        ));
    }
    if let Some(last) = facts.out_of_memory.last() {
        found.push(finding(
            Kind::Memory,
            Severity::Warning,
            format!("the kernel ended a process for want of memory: {last}"),
            "take a larger host, or fewer peers",
        ));
    }
}

fn ports(found: &mut Vec<Finding>, facts: &HostFacts, expected: &Expected) {
    for (transport, port, purpose) in &expected.ports {
        let stranger = facts.listeners.iter().find(|listener| {
            listener.transport == *transport
                && listener.port == *port
                && !listener.program.starts_with(&expected.install_path)
        });
        if let Some(stranger) = stranger {
            found.push(finding(
                Kind::Port,
                Severity::Fault,
                format!(
                    "port {port}/{}, wanted for the {purpose}, is taken by {}",
                    word(*transport),
                    named(&stranger.program)
                ),
                "stop it, or change `bootstrap` in the config",
            ));
        }
    }
}

fn word(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    }
}

fn named(program: &str) -> String {
    if program.is_empty() {
        "a process that cannot be seen".into()
    } else {
        format!("`{program}`")
    }
}

fn nat_box(found: &mut Vec<Finding>, facts: &HostFacts, expected: &Expected) {
    if expected.nat.is_none() {
        return;
    }
    let again =
        "the next `vps-test start` makes it again; `journalctl -u vps-test-natbox` there says more";
    if let Some(nat_box) = facts.nat_box {
        let broken = [
            (nat_box.unit_is_active, "its unit is not active"),
            (nat_box.namespace_is_there, "its namespace is gone"),
            (nat_box.rules_are_there, "its nftables table is gone"),
            (nat_box.forwards, "its devices do not forward"),
        ];
        for (_, what) in broken.into_iter().filter(|(is_fine, _)| !is_fine) {
            let what = format!("the NAT box does not work: {what}");
            found.push(finding(Kind::NatBox, Severity::Fault, what, again));
        }
    }
    if let Some((measured, run)) = &expected.measured
        && let Some(mismatch) = &measured.mismatch
    {
        found.push(finding(
            Kind::NatBox,
            Severity::Fault,
            format!("its NAT is not what it should be, by run {run}: {mismatch}"),
            "correct `nat` in the inventory, or look for rules of others: `nft list ruleset` there",
        ));
    }
}

fn clock(found: &mut Vec<Finding>, facts: &HostFacts) {
    let skew = facts.clock_skew_ms;
    if skew.abs() <= CLOCK_TOLERATED_MS {
        return;
    }
    let severity = if skew.abs() > CLOCK_BAD_MS {
        Severity::Fault
    } else {
        Severity::Warning
    };
    let side = if skew > 0 { "ahead of" } else { "behind" };
    let what = format!("its clock is {} s {side} this machine's", skew.abs() / 1000);
    let remedy = "`timedatectl set-ntp true` there; if it is right, look at this machine's clock";
    found.push(finding(Kind::Clock, severity, what, remedy));
}

fn dns(found: &mut Vec<Finding>, expected: &Expected) {
    let hostname = &expected.hostname;
    match &expected.dns {
        Dns::Mapped => {}
        Dns::Failed { why } => found.push(finding(
            Kind::Dns,
            Severity::Warning,
            format!("`{hostname}` does not resolve here: {why}"),
            "its addresses are used instead; add the name to DNS, or correct `hostname` in the inventory",
        )),
        Dns::Resolved { addresses } => {
            let strange: Vec<String> = addresses
                .iter()
                .filter(|a| !expected.addresses.contains(a))
                .map(ToString::to_string)
                .collect();
            if !strange.is_empty() {
                found.push(finding(
                    Kind::Dns,
                    Severity::Fault,
                    format!(
                        "`{hostname}` leads to {}, which is not in the inventory",
                        strange.join(", ")
                    ),
                    "correct DNS or the inventory: one of them names another host",
                ));
            }
        }
    }
}

fn services(found: &mut Vec<Finding>, facts: &HostFacts, expected: &Expected) {
    if facts.units.is_empty() {
        found.push(finding(
            Kind::Service,
            Severity::Note,
            "nothing of vps-test is installed here".into(),
            "`vps-test start` installs what it needs",
        ));
    }
    for unit in &facts.units {
        if !unit.runs() {
            let what = format!("{} does not run: {}", unit.name, why_dead(unit));
            let remedy = remedy_of(unit, facts, expected);
            found.push(finding(Kind::Service, Severity::Fault, what, remedy));
        } else if unit.restarts > RESTARTS_TOLERATED {
            let what = format!(
                "{} runs, and was restarted {} times",
                unit.name, unit.restarts
            );
            let remedy = format!("`journalctl -u {}` there says why", unit.name);
            found.push(finding(Kind::Service, Severity::Warning, what, remedy));
        }
    }
}

fn why_dead(unit: &UnitFacts) -> String {
    let state = match unit.result.as_str() {
        "success" | "" => format!("{} ({})", unit.active, unit.sub),
        "exit-code" => format!("it exits with status {}", unit.exit_status),
        "oom-kill" => "it was ended for want of memory".into(),
        result => format!("{result}, status {}", unit.exit_status),
    };
    let own_words = unit
        .log
        .iter()
        .rev()
        .find(|line| !is_systemds(line) && !line.trim().is_empty());
    match own_words {
        Some(line) => format!("{state}; it said: {}", line.trim()),
        None => state,
    }
}

fn is_systemds(line: &str) -> bool {
    ["Started ", "Stopped ", "Stopping ", "Starting "]
        .iter()
        .any(|word| line.starts_with(word))
        || line.contains(": Main process exited")
        || line.contains(": Failed with result")
        || line.contains(": Scheduled restart job")
        || line.contains(": Consumed ")
        || line.contains(": Deactivated successfully")
}

/// What the log and the rest of the host say is to be done about it.
fn remedy_of(unit: &UnitFacts, facts: &HostFacts, expected: &Expected) -> String {
    let said = |words: &[&str]| {
        let log = unit.log.join("\n").to_lowercase();
        words.iter().any(|word| log.contains(word))
    };
    if said(&["address already in use", "addrinuse"]) {
        let holder = facts.listeners.iter().find(|listener| {
            unit.command
                .split([' ', '='])
                .filter_map(|word| word.rsplit_once(':')?.1.parse::<u16>().ok())
                .any(|port| port == listener.port)
                && !listener.program.starts_with(&expected.install_path)
        });
        return match holder {
            Some(holder) => format!(
                "its port {} is taken by {}: stop that, or change the port in the config",
                holder.port,
                named(&holder.program)
            ),
            None => "another process has its port; `ss -lnptu` there shows who".into(),
        };
    }
    if said(&["no space left on device"]) || facts.disks.iter().any(|d| d.free_bytes < DISK_FULL) {
        return "make room on the disk".into();
    }
    if said(&["glibc_", "cannot execute binary file", "exec format error"]) {
        return "the binary is not made for this host: set build.command to cross-compile for it"
            .into();
    }
    if said(&["permission denied"]) {
        return format!("look at owners and modes below {}", expected.install_path);
    }
    format!(
        "`systemctl status {0}` and `journalctl -u {0}` there say more",
        unit.name
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::{Listener, Memory, NatBoxFacts};
    use crate::inventory::NodeName;
    use crate::nat::Behaviour;

    fn healthy() -> HostFacts {
        HostFacts {
            units: vec![UnitFacts {
                name: "saorsa-test-quic-test.service".into(),
                active: "active".into(),
                sub: "running".into(),
                command: "/opt/saorsa-test/x coordinator --bind 192.0.2.1:9000".into(),
                ..UnitFacts::default()
            }],
            disks: vec![Disk {
                path: "/opt/saorsa-test".into(),
                size_bytes: 4 << 30,
                free_bytes: 2 << 30,
                free_inodes: None,
            }],
            memory: Memory {
                total_bytes: 1 << 30,
                available_bytes: 1 << 29,
            },
            ..HostFacts::default()
        }
    }

    fn expected() -> Expected {
        Expected {
            node: NodeName::new("one"),
            install_path: "/opt/saorsa-test".into(),
            ports: vec![(Transport::Udp, 9000, "coordinator".into())],
            nat: None,
            measured: None,
            dns: Dns::Mapped,
            addresses: vec!["192.0.2.1".parse().unwrap()],
            hostname: "one.example".into(),
        }
    }

    fn kinds(facts: &HostFacts, expected: &Expected) -> Vec<(Kind, Severity)> {
        let found = conclude(facts, expected);
        found.iter().map(|f| (f.kind, f.severity)).collect()
    }

    #[test]
    fn of_a_healthy_host_there_is_nothing_to_say() {
        assert_eq!(conclude(&healthy(), &expected()), []);
    }

    #[test]
    fn a_dead_service_says_its_own_words_and_who_has_its_port() {
        let mut facts = healthy();
        facts.units[0] = UnitFacts {
            active: "failed".into(),
            sub: "failed".into(),
            result: "exit-code".into(),
            exit_status: 1,
            log: vec![
                "Error: cannot bind: Address already in use (os error 98)".into(),
                "x.service: Main process exited, code=exited, status=1/FAILURE".into(),
            ],
            ..facts.units[0].clone()
        };
        facts.listeners.push(Listener {
            transport: Transport::Udp,
            port: 9000,
            program: "/usr/bin/socat".into(),
        });
        let found = conclude(&facts, &expected());
        assert_eq!(
            found[0].kind,
            Kind::Port,
            "the cause comes first: {found:?}"
        );
        assert!(
            found[1].what.contains("it said: Error: cannot bind"),
            "{found:?}"
        );
        assert!(
            found[1]
                .remedy
                .contains("port 9000 is taken by `/usr/bin/socat`"),
            "{found:?}"
        );
    }

    #[test]
    fn our_own_service_may_have_the_port() {
        let mut facts = healthy();
        facts.listeners.push(Listener {
            transport: Transport::Udp,
            port: 9000,
            program: "/opt/saorsa-test/x-0123".into(),
        });
        assert_eq!(conclude(&facts, &expected()), []);
    }

    #[test]
    fn disk_memory_and_clock() {
        let mut facts = healthy();
        facts.disks[0].free_bytes = 1 << 20;
        facts.memory.available_bytes = 1 << 20;
        facts.clock_skew_ms = -7_200_000;
        assert_eq!(
            kinds(&facts, &expected()),
            [
                (Kind::Disk, Severity::Fault),
                (Kind::Memory, Severity::Fault),
                (Kind::Clock, Severity::Fault)
            ]
        );
        let said = conclude(&facts, &expected());
        assert!(said[2].what.contains("7200 s behind"), "{said:?}");
        facts = healthy();
        facts.clock_skew_ms = 6_000;
        assert_eq!(
            kinds(&facts, &expected()),
            [(Kind::Clock, Severity::Warning)]
        );
    }

    #[test]
    fn a_nat_box_that_lost_its_rules_is_a_fault_only_where_there_should_be_one() {
        let mut facts = healthy();
        facts.nat_box = Some(NatBoxFacts {
            unit_is_active: true,
            namespace_is_there: true,
            rules_are_there: false,
            forwards: true,
        });
        assert_eq!(conclude(&facts, &expected()), []);
        let behind = Expected {
            nat: Some(Behaviour::FULL_CONE),
            ..expected()
        };
        let found = conclude(&facts, &behind);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].what.contains("nftables table is gone"),
            "{found:?}"
        );
    }

    #[test]
    fn a_name_that_leads_elsewhere() {
        let elsewhere = Expected {
            dns: Dns::Resolved {
                addresses: vec!["192.0.2.1".parse().unwrap(), "192.0.2.9".parse().unwrap()],
            },
            ..expected()
        };
        let found = conclude(&healthy(), &elsewhere);
        assert!(
            found[0].what.contains("leads to 192.0.2.9, which"),
            "{found:?}"
        );
        let nowhere = Expected {
            dns: Dns::Failed {
                why: "no such name".into(),
            },
            ..expected()
        };
        assert_eq!(
            kinds(&healthy(), &nowhere),
            [(Kind::Dns, Severity::Warning)]
        );
    }

    #[test]
    fn a_host_without_anything_of_ours_is_no_fault() {
        let mut facts = healthy();
        facts.units.clear();
        assert_eq!(
            kinds(&facts, &expected()),
            [(Kind::Service, Severity::Note)]
        );
    }
}
