//! One host, over one multiplexed OpenSSH session.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use model::inventory::{Node, NodeName};
use openssh::{ForwardType, KnownHosts, Session, SessionBuilder, Stdio};
use tokio::io::AsyncWriteExt;

use crate::error::FleetError;
use crate::quote::quote;

/// Standard input goes in pieces with a rest between them. Without it a window full
/// of bytes lies in sshd at once, whose buffer grows by little and is copied each
/// time: 90 ms of its host's processor a connection. With it, at most 32 MB/s.
const PIECE: usize = 64 * 1024;
const PAUSE: Duration = Duration::from_millis(2);

/// Projects that run side by side change what they share on a host in turn. A host
/// without flock has to do without.
pub(crate) const ONE_AT_A_TIME: &str = "mkdir -p /run/vps-test; exec 9> /run/vps-test/.lock; \
     if command -v flock >/dev/null 2>&1; then flock 9; fi";

/// `put FILE TEXT` writes a file that says something else, and has the mark `applied`
/// of the current directory gone then.
pub(crate) const PUT: &str = r#"put() {
  printf %s "$2" | cat > "$1.new"
  if cmp -s "$1.new" "$1"; then rm "$1.new"; else rm -f applied; mv "$1.new" "$1"; fi
}"#;

/// How hosts are reached.
#[derive(Debug, Clone)]
pub struct Reach {
    /// In place of the user's own ssh configuration.
    pub ssh_config: Option<PathBuf>,
    pub connect_timeout: Duration,
    /// Where sockets of sessions are kept; the user's state directory by default.
    pub control_dir: Option<PathBuf>,
}

/// A host that answered.
#[derive(Debug)]
pub struct Host {
    pub node: Node,
    /// The name or address that worked.
    pub reached_by: String,
    session: Arc<Session>,
    /// Local ends of forwarded sockets.
    sockets: Arc<tempfile::TempDir>,
}

/// What a host says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub kernel: String,
    pub arch: String,
    /// `None` where it has none, or does not say.
    pub glibc: Option<String>,
    /// Where binaries go.
    pub free_bytes: u64,
    /// Its clock minus ours.
    pub clock_skew_ms: i64,
    /// Local UDP ports in use.
    pub udp_ports: Vec<u16>,
}

/// A local socket that leads to one on the host; closed with the session.
#[derive(Debug, Clone)]
pub struct Forwarded {
    pub path: PathBuf,
    _directory: Arc<tempfile::TempDir>,
    _session: Arc<Session>,
}

impl Host {
    /// Hostname first, then each address.
    ///
    /// # Errors
    /// None of them answered; the last reason.
    pub async fn connect(reach: &Reach, node: &Node) -> Result<Self, FleetError> {
        let addresses = node.addresses.iter().map(ToString::to_string);
        let mut last = None;
        for target in std::iter::once(node.hostname.clone()).chain(addresses) {
            match open(reach, node, &target).await {
                Ok(session) => return Self::new(reach, node, target, session),
                Err(changed @ FleetError::HostKeyChanged { .. }) => return Err(changed),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| unreachable(reach, node, &node.hostname, "it has no address")))
    }

    fn new(
        reach: &Reach,
        node: &Node,
        reached_by: String,
        session: Session,
    ) -> Result<Self, FleetError> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("vt-");
        let made = match &reach.control_dir {
            Some(dir) => builder.tempdir_in(dir),
            None => builder.tempdir(),
        };
        let sockets = made.map_err(|e| FleetError::Session {
            node: node.name.clone(),
            command: "mkdtemp".into(),
            detail: e.to_string(),
        })?;
        Ok(Self {
            node: node.clone(),
            reached_by,
            session: session.into(),
            sockets: sockets.into(),
        })
    }

    pub fn name(&self) -> &NodeName {
        &self.node.name
    }

    /// Runs a shell script on the host and waits for it.
    ///
    /// # Errors
    /// The session broke, or time ran out. A non-zero status is in the output.
    pub async fn script(
        &self,
        script: &str,
        stdin: Option<&[u8]>,
        limit: Duration,
    ) -> Result<Output, FleetError> {
        let run = self.run_script(script, stdin, |_| {});
        tokio::time::timeout(limit, run)
            .await
            .map_err(|_| FleetError::Timeout {
                node: self.node.name.clone(),
                command: first_line(script),
                seconds: limit.as_secs(),
            })?
    }

    /// The same, and a non-zero status is an error. Returns standard output.
    ///
    /// # Errors
    /// As [`Host::script`], and [`FleetError::Failed`].
    pub async fn script_ok(
        &self,
        script: &str,
        stdin: Option<&[u8]>,
        limit: Duration,
    ) -> Result<String, FleetError> {
        let output = self.script(script, stdin, limit).await?;
        self.succeeded(script, &output)
    }

    /// Runs an argument vector; a non-zero status is an error.
    ///
    /// # Errors
    /// As [`Host::script_ok`].
    pub async fn run(&self, argv: &[&str], limit: Duration) -> Result<String, FleetError> {
        let quoted: Vec<String> = argv.iter().map(|word| quote(word)).collect();
        self.script_ok(&quoted.join(" "), None, limit).await
    }

    /// The session, if it still has its connection: without one, ssh would look
    /// for a host called `none`.
    fn session(&self, wanted_by: &str) -> Result<&Session, FleetError> {
        if self.session.control_socket().exists() {
            return Ok(&self.session);
        }
        Err(FleetError::Session {
            node: self.node.name.clone(),
            command: first_line(wanted_by),
            detail: "the connection was lost".into(),
        })
    }

    pub(crate) fn succeeded(&self, script: &str, output: &Output) -> Result<String, FleetError> {
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(FleetError::Failed {
            node: self.node.name.clone(),
            command: first_line(script),
            status: output.status.code().unwrap_or(-1),
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    /// Feeds standard input in pieces and says how much of it has gone.
    pub(crate) async fn run_script(
        &self,
        script: &str,
        stdin: Option<&[u8]>,
        progress: impl Fn(u64),
    ) -> Result<Output, FleetError> {
        let broken = |detail: String| FleetError::Session {
            node: self.node.name.clone(),
            command: first_line(script),
            detail,
        };
        let mut command = self.session(script)?.shell(script);
        command.stdin(if stdin.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().await.map_err(|e| broken(e.to_string()))?;
        if let (Some(content), Some(mut pipe)) = (stdin, child.stdin().take()) {
            let mut sent = 0;
            for (i, piece) in content.chunks(PIECE).enumerate() {
                if i > 0 {
                    tokio::time::sleep(PAUSE).await;
                }
                // A command that ends early has its own words for why.
                if pipe.write_all(piece).await.is_err() {
                    break;
                }
                sent += piece.len() as u64;
                progress(sent);
            }
            let _ = pipe.shutdown().await;
        }
        child
            .wait_with_output()
            .await
            .map_err(|e| broken(e.to_string()))
    }

    /// One round trip.
    ///
    /// # Errors
    /// The host cannot say.
    pub async fn facts(&self, install_path: &str) -> Result<Facts, FleetError> {
        // Looking changes nothing: the path need not exist yet.
        let script = format!(
            "date +%s%3N && uname -sr && uname -m || exit 1
dir={path}; while [ ! -d \"$dir\" ]; do dir=$(dirname \"$dir\"); done
df -B1 --output=avail \"$dir\" | tail -n 1
getconf GNU_LIBC_VERSION 2>/dev/null || echo none
ss -Hlun 2>/dev/null | awk '{{print $4}}'",
            path = quote(install_path),
        );
        let began = now_ms();
        let text = self
            .script_ok(&script, None, Duration::from_secs(20))
            .await?;
        let middle = began + (now_ms() - began) / 2;
        let mut lines = text.lines().map(str::trim);
        let mut next = || lines.next().unwrap_or_default().to_owned();
        let (clock, kernel, arch, free, glibc) = (next(), next(), next(), next(), next());
        Ok(Facts {
            kernel,
            arch,
            glibc: glibc.strip_prefix("glibc ").map(str::to_owned),
            free_bytes: free.parse().unwrap_or(0),
            clock_skew_ms: clock.parse::<i64>().map_or(0, |theirs| theirs - middle),
            udp_ports: lines
                .filter_map(|l| l.rsplit(':').next()?.parse().ok())
                .collect(),
        })
    }

    /// Whether a service there would find this program: a path, or a name.
    ///
    /// # Errors
    /// The session broke.
    pub async fn has_program(&self, program: &str) -> Result<bool, FleetError> {
        // systemd's own PATH; a login's may lead elsewhere.
        let script = format!(
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; \
             if command -v {} >/dev/null; then echo yes; else echo no; fi",
            quote(program)
        );
        let answer = self
            .script_ok(&script, None, Duration::from_secs(20))
            .await?;
        Ok(answer.trim() == "yes")
    }

    /// What a unit logged last.
    ///
    /// # Errors
    /// The session broke.
    pub async fn journal(&self, unit: &str, lines: u32) -> Result<String, FleetError> {
        self.journal_since(unit, lines, 0).await
    }

    /// The same, not before this second of the host's own clock.
    ///
    /// # Errors
    /// The session broke.
    pub async fn journal_since(
        &self,
        unit: &str,
        lines: u32,
        since: i64,
    ) -> Result<String, FleetError> {
        let since = format!("@{since}");
        let lines = lines.to_string();
        let argv = [
            "journalctl",
            "-u",
            unit,
            "-n",
            &lines,
            "--since",
            &since,
            "--no-pager",
            "-o",
            "short-iso-precise",
        ];
        self.run(&argv, Duration::from_secs(20)).await
    }

    /// The journal of some units, as it is and, where asked, as it grows. `since` is
    /// a second of the host's own clock.
    ///
    /// # Errors
    /// The session broke.
    pub async fn stream_journal(
        &self,
        units: &[&str],
        since: i64,
        lines: usize,
        follow: bool,
        mut to: impl tokio::io::AsyncWrite + Unpin,
    ) -> Result<(), FleetError> {
        let mut script = format!("journalctl -q --no-pager -o short-iso --since @{since}");
        for unit in units {
            script.push_str(&format!(" -u {}", quote(unit)));
        }
        // With --since, journalctl's own -n means the first lines.
        if follow {
            script.push_str(" -f -n all");
        } else {
            script.push_str(&format!(" | tail -n {lines}"));
        }
        let broken = |detail: String| FleetError::Session {
            node: self.node.name.clone(),
            command: first_line(&script),
            detail,
        };
        let mut command = self.session(&script)?.shell(&script);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().await.map_err(|e| broken(e.to_string()))?;
        if let Some(mut from) = child.stdout().take() {
            // Whoever reads may have heard enough.
            let _ = tokio::io::copy(&mut from, &mut to).await;
            let _ = to.flush().await;
        }
        child.wait().await.map_err(|e| broken(e.to_string()))?;
        Ok(())
    }

    /// Makes a Unix socket of the host reachable here.
    ///
    /// # Errors
    /// sshd refuses the forwarding.
    pub async fn forward_socket(&self, remote: &str, label: &str) -> Result<Forwarded, FleetError> {
        let path = self.sockets.path().join(label);
        let command = format!("forward {remote}");
        let forward = self.session(&command)?.request_port_forward(
            ForwardType::Local,
            path.as_path(),
            Path::new(remote),
        );
        forward.await.map_err(|e| FleetError::Session {
            node: self.node.name.clone(),
            command,
            detail: chain(&e),
        })?;
        Ok(Forwarded {
            path,
            _directory: Arc::clone(&self.sockets),
            _session: Arc::clone(&self.session),
        })
    }

    /// Whether the session still works.
    pub async fn is_reachable(&self) -> bool {
        self.script("true", None, Duration::from_secs(5))
            .await
            .is_ok_and(|o| o.status.success())
    }
}

async fn open(reach: &Reach, node: &Node, target: &str) -> Result<Session, FleetError> {
    let mut builder = SessionBuilder::default();
    builder
        .known_hosts_check(KnownHosts::Strict)
        .connect_timeout(reach.connect_timeout);
    builder.server_alive_interval(Duration::from_secs(15));
    if let Some(dir) = &reach.control_dir {
        builder.control_directory(dir);
    }
    match &reach.ssh_config {
        // It says user and port itself.
        Some(config) => {
            builder.config_file(config);
        }
        None => {
            builder.user(node.ssh.user.clone()).port(node.ssh.port);
        }
    }
    builder.connect(target).await.map_err(|error| {
        let detail = chain(&error);
        if detail.contains("IDENTIFICATION HAS CHANGED") {
            FleetError::HostKeyChanged {
                node: node.name.clone(),
                by_hand: forget_key(&detail, target),
            }
        } else {
            unreachable(reach, node, target, &detail)
        }
    })
}

fn unreachable(reach: &Reach, node: &Node, target: &str, detail: &str) -> FleetError {
    let config = reach
        .ssh_config
        .as_ref()
        .map_or(String::new(), |c| format!("-F {} ", c.display()));
    FleetError::Unreachable {
        node: node.name.clone(),
        detail: detail.to_owned(),
        by_hand: format!(
            "ssh {config}-p {} {}@{target} true",
            node.ssh.port, node.ssh.user
        ),
    }
}

/// The command that removes a host's old key. ssh says which file holds it
/// (`Offending … key in FILE:LINE`) and under which name (`Host key for NAME has
/// changed`), which need not be the one that was dialled.
fn forget_key(said: &str, target: &str) -> String {
    let offending = said
        .split_once("Offending ")
        .map_or(said, |(_, after)| after);
    let word_after = |before: &str| {
        let (_, rest) = offending.split_once(before)?;
        rest.split_whitespace().next()
    };
    let name = word_after("Host key for ").unwrap_or(target);
    let file = word_after(" key in ").and_then(|at| at.rsplit_once(':'));
    let file = file.map_or(String::new(), |(file, _)| format!("-f {} ", quote(file)));
    format!("ssh-keygen {file}-R {}", quote(name))
}

/// An error with its causes, in a line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |e| e.source());
    let mut words: Vec<String> = causes.map(|e| e.to_string().trim().to_owned()).collect();
    words.dedup();
    words.join(": ").replace('\n', " ")
}

fn first_line(script: &str) -> String {
    let line = script.lines().next().unwrap_or_default();
    line.chars().take(120).collect()
}

pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_key_is_removed_from_where_ssh_found_it() {
        let said = "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @ \
                    Add correct host key in /root/.ssh/known_hosts to get rid of this message. \
                    Offending ED25519 key in /root/.ssh/known_hosts:5 \
                    Host key for [a.example]:2222 has changed and you have requested strict checking.";
        assert_eq!(
            forget_key(said, "192.0.2.1"),
            "ssh-keygen -f /root/.ssh/known_hosts -R '[a.example]:2222'"
        );
        assert_eq!(forget_key("", "192.0.2.1"), "ssh-keygen -R 192.0.2.1");
    }
}
