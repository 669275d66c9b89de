//! Running the config's build command.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use model::event::BuildProblem;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;

use super::compiler;
use super::part::Part;
use super::toolchain::{self, Toolchain};
use crate::recorder::{Progress, Recorder};
use crate::settings::Settings;
use crate::stack::StackPatch;

pub enum BuildError {
    /// The compiler said no: the code's fault.
    DoesNotBuild {
        detail: String,
        errors: Vec<BuildProblem>,
    },
    /// The compiler could not even be asked.
    Infrastructure(String),
}

/// How many of the last lines a failed build is reported with.
const LAST_LINES: usize = 40;

impl BuildError {
    pub fn is_infrastructure(&self) -> bool {
        matches!(self, Self::Infrastructure(_))
    }
}

pub struct Cargo<'a> {
    settings: &'a Settings,
    recorder: &'a Recorder,
    words: Vec<String>,
}

impl<'a> Cargo<'a> {
    /// # Errors
    /// The command needs a tool that is not installed; the message says which.
    pub fn new(settings: &'a Settings, recorder: &'a Recorder) -> Result<Self, BuildError> {
        let words = shell_words::split(&settings.config.build.command).unwrap_or_default();
        Ok(Self {
            settings,
            recorder,
            words: toolchain::command(words, &Toolchain::of_this_machine())
                .map_err(|e| BuildError::Infrastructure(e.to_string()))?,
        })
    }

    /// The commands as one would type them.
    pub fn shown(&self, parts: &[Part]) -> String {
        let parts = self.told_apart(parts).iter();
        let commands = parts.map(|part| shell_words::join(self.argv(part)));
        commands.collect::<Vec<_>>().join(" && ")
    }

    /// Builds, and returns where each executable is as far as cargo says so.
    pub async fn build(&self, parts: &[Part]) -> Result<compiler::Said, BuildError> {
        if self.settings.stack.is_some() && !self.is_cargo() {
            return Err(BuildError::Infrastructure(format!(
                "--stack works through cargo, and build.command is `{}`",
                self.settings.config.build.command
            )));
        }
        let mut all = compiler::Said::default();
        for part in self.told_apart(parts) {
            all.append(self.build_part(part).await?);
        }
        Ok(all)
    }

    /// A command that is not cargo's builds whatever it builds at once.
    fn told_apart<'p>(&self, parts: &'p [Part]) -> &'p [Part] {
        let many = if self.is_cargo() { parts.len() } else { 1 };
        &parts[..many]
    }

    async fn build_part(&self, part: &Part) -> Result<compiler::Said, BuildError> {
        let patch = self.patch(part);
        let _lock_file = patch.map(|_| KeptFile::new(&part.lock_file(&self.settings.workspace)));
        if let Some(patch) = patch {
            self.choose_version(patch, part).await?;
        }
        let mut argv = self.argv(part);
        if self.is_cargo() {
            argv.push("--message-format=json".into());
        }
        let said = self.run(&argv).await?;
        self.check_patch_used(&said.stderr)?;
        Ok(compiler::Said::read(said.stdout.iter().map(String::as_str)))
    }

    fn argv(&self, part: &Part) -> Vec<String> {
        let mut argv = self.words.clone();
        if self.is_cargo() {
            argv.extend(part.arguments(&self.target()));
            let patch = self.patch(part).into_iter();
            argv.extend(patch.flat_map(StackPatch::cargo_arguments));
        }
        argv
    }

    fn patch(&self, part: &Part) -> Option<&StackPatch> {
        self.settings.stack.as_ref().filter(|_| part.has_tester)
    }

    /// Where cargo puts what it makes of the workspace, unless its own config says else.
    fn target(&self) -> PathBuf {
        let named = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let named = self.settings.cargo_target.clone().or(named);
        named.unwrap_or_else(|| "target".into())
    }

    fn is_cargo(&self) -> bool {
        self.words.first().is_some_and(|word| word == "cargo")
    }

    async fn choose_version(&self, patch: &StackPatch, part: &Part) -> Result<(), BuildError> {
        let Some(version) = patch.version() else {
            return Ok(());
        };
        let argv = ["cargo", "update", "-p", &patch.name, "--precise", version].map(str::to_owned);
        let argv = argv.into_iter().chain(part.manifest());
        self.run(&argv.collect::<Vec<_>>()).await.map(drop)
    }

    /// cargo only warns when the tree's version does not fit the requirement.
    fn check_patch_used(&self, stderr: &[String]) -> Result<(), BuildError> {
        let unused = stderr
            .iter()
            .find(|line| line.contains("was not used in the crate graph"));
        match unused {
            None => Ok(()),
            Some(line) => Err(BuildError::Infrastructure(format!(
                "--stack changed nothing: {}; the tester's Cargo.toml asks for another version",
                line.trim()
            ))),
        }
    }

    async fn run(&self, argv: &[String]) -> Result<Said, BuildError> {
        let shown = shell_words::join(argv);
        let cannot = |detail: String| {
            BuildError::Infrastructure(format!(
                "cannot run `{shown}` in `{}`: {detail}",
                self.settings.workspace.display()
            ))
        };
        let program = argv
            .first()
            .ok_or_else(|| cannot("build.command is empty".into()))?;
        let mut command = Command::new(program);
        // Left by a cargo that runs us; build scripts that look at these (ring's
        // does) would run again, and with them everything that stands on them.
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_cargos_own(name)) {
            command.env_remove(name);
        }
        if let Some(target) = &self.settings.cargo_target
            && self.is_cargo()
        {
            command.env("CARGO_TARGET_DIR", target);
        }
        let mut child = command
            .args(&argv[1..])
            .current_dir(&self.settings.workspace)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| cannot(e.to_string()))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (stdout, stderr) =
            tokio::join!(lines(stdout, |_| {}), lines(stderr, |line| self.tell(line)));
        let status = child.wait().await.map_err(|e| cannot(e.to_string()))?;
        if status.success() {
            return Ok(Said { stdout, stderr });
        }
        let said = compiler::Said::read(stdout.iter().map(String::as_str));
        let last = stderr.len().saturating_sub(LAST_LINES);
        let words = if said.errors.is_empty() {
            stderr[last..].join("\n")
        } else {
            said.rendered()
        };
        let detail = format!("`{shown}` failed, {status}:\n{words}");
        // Whatever else stops cargo (no network, a full disk, a version that does
        // not fit) says nothing about the code.
        let is_toolchain = said.is_toolchain(toolchain::target(argv));
        let is_code = !is_toolchain && stderr.iter().any(|line| line.contains("could not compile"));
        Err(if is_code || !self.is_cargo() {
            BuildError::DoesNotBuild {
                detail,
                errors: said.errors,
            }
        } else {
            BuildError::Infrastructure(detail)
        })
    }

    fn tell(&self, line: &str) {
        self.recorder
            .progress(&Progress::BuildLine(line.to_owned()));
    }
}

struct Said {
    stdout: Vec<String>,
    stderr: Vec<String>,
}

async fn lines(from: Option<impl AsyncRead + Unpin>, each: impl Fn(&str)) -> Vec<String> {
    let mut all = Vec::new();
    let Some(from) = from else { return all };
    let mut reader = BufReader::new(from).lines();
    while let Ok(Some(line)) = reader.next_line().await {
        each(&line);
        all.push(line);
    }
    all
}

/// What cargo tells the programs that it runs about their package.
fn is_cargos_own(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
}

/// Puts a file back as it was: cargo writes a patched stack into the lock file.
struct KeptFile {
    path: PathBuf,
    content: Option<Vec<u8>>,
}

impl KeptFile {
    fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            content: std::fs::read(path).ok(),
        }
    }
}

impl Drop for KeptFile {
    fn drop(&mut self) {
        if let Some(content) = &self.content
            && std::fs::read(&self.path).ok().as_ref() != Some(content)
        {
            let _ = std::fs::write(&self.path, content);
        }
    }
}
