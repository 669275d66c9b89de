//! A systemd service, as text.

use std::fmt::Write;

use crate::quote::quote;

/// The first line of every unit that we install, by which `clean` knows them.
pub const MARK: &str = "# Installed by vps-test";

/// One service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// `saorsa-test-quic-test.service`
    pub name: String,
    pub description: String,
    /// Argument vector; the program's path is absolute.
    pub exec: Vec<String>,
    /// Units that must run first, and whose end ends this one.
    pub requires: Vec<String>,
    /// A network namespace to run in.
    pub netns: Option<String>,
    /// Of a template, whose name ends in `@.service`: how many run, numbered from 1.
    pub instances: Option<u16>,
}

/// Stands for an instance's number in the words of a template.
pub const INSTANCE: &str = "{instance}";

impl Unit {
    pub fn render(&self) -> String {
        // A host that boots may have its addresses late, so a service tries for ever.
        let mut text = format!(
            "{MARK}\n[Unit]\nDescription={}\nWants=network-online.target\nAfter=network-online.target\nStartLimitIntervalSec=0\n",
            self.description
        );
        for other in &self.requires {
            let _ = write!(text, "Requires={other}\nAfter={other}\n");
        }
        // `exec`: started means that the program runs, not that systemd has forked.
        let _ = write!(
            text,
            "\n[Service]\nType=exec\nExecStart={}\nRestart=on-failure\nRestartSec=1\nLimitNOFILE=65536\nEnvironment=RUST_BACKTRACE=1\n\
             RuntimeDirectory=vps-test\nRuntimeDirectoryPreserve=yes\n",
            self.command_line()
        );
        if let Some(netns) = &self.netns {
            let _ = writeln!(text, "NetworkNamespacePath={netns}");
        }
        text.push_str("\n[Install]\nWantedBy=multi-user.target\n");
        text
    }

    /// The units that run: itself, or all instances of a template.
    pub fn running(&self) -> Vec<String> {
        match self.instances {
            None => vec![self.name.clone()],
            Some(count) => (1..=count).map(|i| self.instance(&i.to_string())).collect(),
        }
    }

    /// `x@2.service` of `x@.service`.
    fn instance(&self, which: &str) -> String {
        self.name.replace("@.service", &format!("@{which}.service"))
    }

    /// A shell pattern for the names of all that run.
    pub fn pattern(&self) -> String {
        match self.instances {
            None => quote(&self.name),
            Some(_) => format!("{}*.service", quote(self.name.trim_end_matches(".service"))),
        }
    }

    /// The same service in its other form: a template's name for one of its own,
    /// and the other way round.
    pub fn other_form(&self) -> String {
        match self.instances {
            None => format!("{}@.service", self.name.trim_end_matches(".service")),
            Some(_) => self.name.replace("@.service", ".service"),
        }
    }

    /// `exec`, as it stands in the unit.
    pub fn command_line(&self) -> String {
        let words: Vec<String> = self
            .exec
            .iter()
            .map(|word| word_for_systemd(word))
            .collect();
        let line = words.join(" ");
        match self.instances {
            None => line,
            Some(_) => line.replace(INSTANCE, "%i"),
        }
    }
}

/// systemd splits at blanks and expands `%` and `$`.
fn word_for_systemd(word: &str) -> String {
    let escaped = word
        .replace('\\', "\\\\")
        .replace('%', "%%")
        .replace('$', "$$")
        .replace('"', "\\\"");
    let plain = !escaped.is_empty()
        && escaped
            .chars()
            .all(|c| !c.is_whitespace() && c != '"' && c != '\'' && c != ';');
    if plain {
        escaped
    } else {
        format!("\"{escaped}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_systemd() {
        assert_eq!(word_for_systemd("/opt/x"), "/opt/x");
        assert_eq!(word_for_systemd("a b"), "\"a b\"");
        assert_eq!(word_for_systemd("50%$x"), "50%%$$x");
        assert_eq!(word_for_systemd(""), "\"\"");
    }

    #[test]
    fn a_template_runs_as_its_instances() {
        let unit = Unit {
            name: "x@.service".into(),
            description: "X".into(),
            exec: vec!["/opt/x".into(), format!("/run/100%@{INSTANCE}.sock")],
            requires: Vec::new(),
            netns: None,
            instances: Some(2),
        };
        assert_eq!(unit.running(), ["x@1.service", "x@2.service"]);
        assert_eq!(unit.command_line(), "/opt/x /run/100%%@%i.sock");
        assert_eq!(unit.other_form(), "x.service");
    }

    #[test]
    fn a_boxed_service_joins_its_namespace() {
        let unit = Unit {
            name: "x.service".into(),
            description: "X".into(),
            exec: vec!["/opt/x".into(), "run".into()],
            requires: vec!["vps-test-natbox.service".into()],
            netns: Some("/run/netns/natbox".into()),
            instances: None,
        };
        let text = unit.render();
        assert!(text.starts_with(MARK));
        for line in [
            "ExecStart=/opt/x run",
            "NetworkNamespacePath=/run/netns/natbox",
            "Requires=vps-test-natbox.service",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }
}
