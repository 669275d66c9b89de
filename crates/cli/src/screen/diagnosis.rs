//! A node's diagnosis on one screen, the conclusion last, where the eye ends up.

use std::fmt::Write;

use model::diagnosis::{Connections, Dns, Finding, HostFacts, Severity, UnitFacts};
use model::inventory::Transport;
use model::nat::describe;

use super::paint::{Paint, Style};
use super::time::span;
use crate::diagnose::Diagnosis;

/// Lines of each unit's log; `vps-test logs` shows more.
const LOG_LINES: usize = 3;

pub fn render(diagnosis: &Diagnosis<'_>, paint: Paint) -> String {
    let mut screen = Screen {
        out: String::new(),
        paint,
    };
    screen.title(diagnosis);
    if let Some(facts) = &diagnosis.facts {
        screen.services(facts);
        screen.host(diagnosis, facts);
    }
    screen.conclusion(diagnosis);
    screen.out
}

struct Screen {
    out: String,
    paint: Paint,
}

impl Screen {
    fn title(&mut self, diagnosis: &Diagnosis<'_>) {
        let node = diagnosis.node;
        let name = self.paint.text(Style::Strong, node.name.as_str());
        let _ = writeln!(self.out, "{name}, {}, {}", node.role, diagnosis.place);
        if let (Some(by), Some(facts)) = (&diagnosis.reached_by, &diagnosis.facts) {
            let glibc = facts
                .glibc
                .as_deref()
                .map_or(String::new(), |v| format!(", glibc {v}"));
            let _ = writeln!(
                self.out,
                "reached as {by}: {} {}{glibc}, up for {}",
                facts.kernel,
                facts.arch,
                seconds(facts.uptime_seconds)
            );
        }
    }

    fn services(&mut self, facts: &HostFacts) {
        let _ = writeln!(self.out, "\n{}", self.paint.text(Style::Strong, "Services"));
        for unit in &facts.units {
            self.unit(unit);
        }
        if facts.units.is_empty() {
            self.out.push_str("  none of vps-test\n");
        }
    }

    fn unit(&mut self, unit: &UnitFacts) {
        let (sign, style) = if unit.runs() {
            ("✓", Style::Good)
        } else {
            ("✗", Style::Bad)
        };
        let since = unit
            .since_seconds
            .map_or(String::new(), |at| format!(" for {}", seconds(at)));
        let restarts = match unit.restarts {
            0 => String::new(),
            1 => ", 1 restart".into(),
            n => format!(", {n} restarts"),
        };
        let _ = writeln!(
            self.out,
            "  {} {}  {} ({}){since}{restarts}",
            self.paint.text(style, sign),
            unit.name,
            unit.active,
            unit.sub
        );
        let skip = unit.log.len().saturating_sub(LOG_LINES);
        for line in &unit.log[skip..] {
            let line: String = line.chars().take(160).collect();
            let _ = writeln!(
                self.out,
                "      {}",
                self.paint.text(Style::Dim, line.trim_end())
            );
        }
    }

    fn host(&mut self, diagnosis: &Diagnosis<'_>, facts: &HostFacts) {
        let _ = writeln!(self.out, "\n{}", self.paint.text(Style::Strong, "Host"));
        let expected = diagnosis.expected;
        let ports: Vec<String> = expected
            .ports
            .iter()
            .map(|(transport, port, purpose)| {
                let holder = facts
                    .listeners
                    .iter()
                    .find(|l| l.transport == *transport && l.port == *port);
                let holder = holder.map_or("free".to_owned(), |l| l.program.clone());
                format!("{port}/{} ({purpose}): {holder}", word(*transport))
            })
            .collect();
        self.line("ports", &or_none(ports, "no fixed ones here"));
        let disks: Vec<String> = facts
            .disks
            .iter()
            .map(|d| {
                format!(
                    "{} {} of {} free",
                    d.path,
                    bytes(d.free_bytes),
                    bytes(d.size_bytes)
                )
            })
            .collect();
        self.line("disk", &disks.join(", "));
        let memory = facts.memory;
        self.line(
            "memory",
            &format!(
                "{} of {} available, load {:.2} on {} processors",
                bytes(memory.available_bytes),
                bytes(memory.total_bytes),
                facts.load,
                facts.processors
            ),
        );
        let connections = facts.connections.iter().map(connection).collect();
        self.line("connections", &or_none(connections, "none"));
        self.line("NAT box", &nat_box(diagnosis, facts));
        self.line(
            "clock",
            &format!("{:+} ms against this machine", facts.clock_skew_ms),
        );
        self.line("DNS", &dns(diagnosis));
    }

    fn line(&mut self, what: &str, words: &str) {
        let _ = writeln!(self.out, "  {what:<12}{words}");
    }

    fn conclusion(&mut self, diagnosis: &Diagnosis<'_>) {
        let _ = writeln!(
            self.out,
            "\n{}",
            self.paint.text(Style::Strong, "Conclusion")
        );
        let wrong = diagnosis
            .findings
            .iter()
            .filter(|f| f.severity != Severity::Note);
        if wrong.count() == 0 {
            let _ = writeln!(
                self.out,
                "  {} nothing is wrong with {}",
                self.paint.text(Style::Good, "✓"),
                diagnosis.node.name
            );
        }
        for finding in &diagnosis.findings {
            self.finding(finding);
        }
    }

    fn finding(&mut self, finding: &Finding) {
        let (sign, style) = match finding.severity {
            Severity::Fault => ("✗", Style::Bad),
            Severity::Warning => ("!", Style::Warn),
            Severity::Note => ("·", Style::Dim),
        };
        let _ = writeln!(
            self.out,
            "  {} {}",
            self.paint.text(style, sign),
            finding.what
        );
        let _ = writeln!(self.out, "    → {}", finding.remedy);
    }
}

fn or_none(parts: Vec<String>, none: &str) -> String {
    if parts.is_empty() {
        none.to_owned()
    } else {
        parts.join(", ")
    }
}

fn connection(connections: &Connections) -> String {
    let program = connections.program.rsplit('/').next().unwrap_or_default();
    // A binary of ours ends in its digest, which says nothing here.
    let program = match program.rsplit_once('-') {
        Some((name, digest)) if digest.len() == 64 => name,
        _ => program,
    };
    let program = if program.is_empty() {
        "kernel"
    } else {
        program
    };
    format!(
        "{} {} {program}",
        connections.count,
        word(connections.transport)
    )
}

fn nat_box(diagnosis: &Diagnosis<'_>, facts: &HostFacts) -> String {
    let state = match (diagnosis.expected.nat, facts.nat_box) {
        (None, None) => return "none: the node is public".into(),
        (None, Some(_)) => return "one is there, and the inventory says the node is public".into(),
        (Some(label), None) => return format!("not made yet, labelled {}", describe(label)),
        (Some(label), Some(nat)) => {
            let is_up =
                nat.unit_is_active && nat.namespace_is_there && nat.rules_are_there && nat.forwards;
            let word = if is_up { "up" } else { "broken" };
            format!("{word}, labelled {}", describe(label))
        }
    };
    let measured = match &diagnosis.expected.measured {
        Some((measured, run)) => {
            format!("measured as {} in {run}", measured.certificate.describe())
        }
        None => "not measured yet".into(),
    };
    format!("{state}, {measured}")
}

fn dns(diagnosis: &Diagnosis<'_>) -> String {
    let expected = diagnosis.expected;
    match &expected.dns {
        Dns::Mapped => "not asked: the ssh configuration maps names".into(),
        Dns::Failed { why } => format!("{} does not resolve: {why}", expected.hostname),
        Dns::Resolved { addresses } => {
            let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            format!("{} is {}", expected.hostname, list.join(", "))
        }
    }
}

fn word(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    }
}

fn bytes(count: u64) -> String {
    match count {
        0..0x10_0000 => format!("{} KiB", count >> 10),
        0x10_0000..0x4000_0000 => format!("{} MiB", count >> 20),
        _ => format!("{:.1} GiB", count as f64 / f64::from(1 << 30)),
    }
}

fn seconds(count: u64) -> String {
    span(jiff::SignedDuration::from_secs(
        i64::try_from(count).unwrap_or(i64::MAX),
    ))
}

pub fn json(diagnosis: &Diagnosis<'_>) -> serde_json::Value {
    let expected = diagnosis.expected;
    let healthy = diagnosis
        .findings
        .iter()
        .all(|f| f.severity == Severity::Note);
    serde_json::json!({
        "node": diagnosis.node.name,
        "place": diagnosis.place,
        "reached_by": diagnosis.reached_by,
        "healthy": healthy,
        "findings": diagnosis.findings,
        "facts": diagnosis.facts,
        "dns": expected.dns,
        "nat": expected.nat.map(describe),
        "measured": expected.measured.as_ref().map(|(measured, run)| serde_json::json!({
            "run": run, "as": measured.certificate.describe(), "mismatch": measured.mismatch,
        })),
    })
}
