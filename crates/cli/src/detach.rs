//! `start --detach`: the same start again, in the background.
//!
//! Where systemd is PID 1 it becomes a scope, a transient unit of its own, so that
//! it outlives the login that it was started from; elsewhere, and for a user whose
//! own systemd ends with the login, a session of its own has to do.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use engine::RunDir;
use miette::{IntoDiagnostic, WrapErr};

use crate::exit;

/// Everything that a detached start prints, in its run directory.
pub const OUTPUT: &str = "output.log";

/// How this start was told to begin in the background, and with which answers.
pub struct Detached<'a> {
    pub project: &'a str,
    pub answers: [&'a str; 4],
    pub dir: &'a RunDir,
}

impl Detached<'_> {
    /// Returns once the run is on, or has failed to begin.
    pub fn start(&self) -> miette::Result<ExitCode> {
        let output = self.dir.path().join(OUTPUT);
        let unit = self.unit();
        let mut child = self.spawn(unit.as_deref(), &output)?;
        loop {
            if self.dir.journal().exists() {
                println!("{}", self.is_on(child.id(), unit.as_deref(), &output));
                return Ok(ExitCode::SUCCESS);
            }
            if let Some(status) = child.try_wait().into_diagnostic()? {
                let said = std::fs::read_to_string(&output).unwrap_or_default();
                eprint!("{said}");
                eprintln!(
                    "{} did not begin; this is {}",
                    self.project,
                    output.display()
                );
                let code = status.code().and_then(|code| u8::try_from(code).ok());
                return Ok(ExitCode::from(code.unwrap_or(exit::INFRASTRUCTURE)));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The scope that it may become.
    fn unit(&self) -> Option<String> {
        if !Path::new("/run/systemd/system").is_dir() {
            return None;
        }
        let may = nix::unistd::geteuid().is_root() || lingers();
        may.then(|| format!("vps-test-{}-{}.scope", self.project, self.dir.name()))
    }

    fn spawn(&self, unit: Option<&str>, output: &Path) -> miette::Result<Child> {
        let program = std::env::current_exe().into_diagnostic()?;
        let mut command = match unit {
            None => Command::new(program),
            Some(unit) => {
                let mut run = Command::new("systemd-run");
                run.args(["--scope", "--quiet", "--collect", "--unit", unit]);
                if !nix::unistd::geteuid().is_root() {
                    run.arg("--user");
                }
                run.arg("--").arg(program);
                run
            }
        };
        let log = open(output)?;
        let errors = log.try_clone().into_diagnostic()?;
        command
            .args(self.arguments())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .into_diagnostic()
            .wrap_err("cannot start in the background")
    }

    /// Those of this start, with every answer filled in.
    fn arguments(&self) -> Vec<OsString> {
        let own = std::env::args_os().skip(1);
        let mut arguments: Vec<OsString> = own
            .filter(|word| word != "--detach" && word != "--yes")
            .collect();
        arguments.extend([
            "--yes".into(),
            "--answers".into(),
            self.answers.join(",").into(),
            "--into".into(),
            self.dir.path().into(),
        ]);
        arguments
    }

    fn is_on(&self, pid: u32, unit: Option<&str>, output: &Path) -> String {
        let project = self.project;
        let place = match unit {
            Some(unit) => format!("process {pid}, unit {unit}"),
            None => format!("process {pid}"),
        };
        format!(
            "{project} runs in the background: {place}
  watch   vps-test status {project} --watch
  story   vps-test logs {project} --follow
  stop    vps-test stop {project}
  output  {}",
            output.display()
        )
    }
}

/// Whether a user's systemd stays when its user leaves.
fn lingers() -> bool {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid());
    let name = user.ok().flatten().map(|user| user.name);
    name.is_some_and(|name| Path::new("/var/lib/systemd/linger").join(name).exists())
}

fn open(output: &Path) -> miette::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(output)
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot write `{}`", output.display()))
}

/// In the child: away from the terminal that started it.
pub fn leave_terminal() {
    // It fails where this leads a session already, which is what is wanted.
    let _ = nix::unistd::setsid();
}
