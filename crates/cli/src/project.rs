//! The project that a command is about: its config, and where its runs are kept.

use std::path::{Path, PathBuf};

use miette::{IntoDiagnostic, WrapErr};
use model::config::{Config, ConfigFile};

/// Where a config may be, from the project's directory; the first one counts.
const CONFIGS: [&str; 3] = [
    ".claude/vps-test/config.yaml",
    ".claude/vps-test.yaml",
    "vps-test.yaml",
];

pub struct Project {
    /// What the config's relative paths are relative to.
    pub dir: PathBuf,
    /// Where the config was found.
    pub file: PathBuf,
    pub config: ConfigFile,
}

impl Project {
    /// The nearest config, here or above.
    pub fn find() -> miette::Result<Self> {
        match Self::find_if_any()? {
            Some(project) => Ok(project),
            None => miette::bail!(
                help = "write a vps-test.yaml; the README shows one",
                "no config: there is no {} here or above",
                CONFIGS.join(", ")
            ),
        }
    }

    /// The same, for commands that can do without.
    pub fn find_if_any() -> miette::Result<Option<Self>> {
        let here = std::env::current_dir().into_diagnostic()?;
        let found = here.ancestors().find_map(|dir| {
            let file = CONFIGS
                .iter()
                .map(|name| dir.join(name))
                .find(|file| file.is_file())?;
            Some((dir.to_owned(), file))
        });
        let Some((dir, file)) = found else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(&file)
            .into_diagnostic()
            .wrap_err_with(|| format!("cannot read the config `{}`", file.display()))?;
        let config = model::config::read(&file.display().to_string(), &text)?;
        Ok(Some(Self { dir, file, config }))
    }

    /// The inventory that the config names, where there is one.
    pub fn configured_fleet() -> Option<PathBuf> {
        let project = Self::find().ok()?;
        project
            .settings()
            .fleet
            .as_deref()
            .map(|file| project.path(file))
    }

    pub fn settings(&self) -> &Config {
        &self.config.config
    }

    /// Root of the workspace that holds the testers.
    pub fn workspace(&self) -> miette::Result<PathBuf> {
        let workspace = self.path(&self.settings().workspace);
        if workspace.is_dir() {
            return Ok(workspace);
        }
        miette::bail!(
            help = "set `workspace` in the config to the directory that holds the testers",
            "the workspace `{}` is not there",
            workspace.display()
        )
    }

    /// A path of the config, with `~` for home.
    pub fn path(&self, text: &str) -> PathBuf {
        match (text.strip_prefix('~'), home()) {
            (Some(rest), Some(home)) => home.join(rest.trim_start_matches('/')),
            _ => self.dir.join(text),
        }
    }

    pub fn state_dir(&self) -> PathBuf {
        state_dir(
            self.settings()
                .state_dir
                .as_deref()
                .map(|text| self.path(text)),
        )
    }
}

/// `VPS_TEST_STATE_DIR`, else the config's, else `~/.claude/vps-test-state` where
/// `~/.claude` exists, else XDG's.
pub fn state_dir(configured: Option<PathBuf>) -> PathBuf {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let claude = || {
        home()
            .map(|home| home.join(".claude"))
            .filter(|dir| dir.is_dir())
    };
    let xdg = || set("XDG_STATE_HOME").or_else(|| home().map(|home| home.join(".local/state")));
    set("VPS_TEST_STATE_DIR")
        .or(configured)
        .or_else(|| claude().map(|dir| dir.join("vps-test-state")))
        .or_else(|| xdg().map(|dir| dir.join("vps-test")))
        .unwrap_or_else(|| Path::new(".vps-test-state").to_owned())
}

pub fn home() -> Option<PathBuf> {
    std::env::var_os("HOME")
        .filter(|home| !home.is_empty())
        .map(PathBuf::from)
}
