//! What can go wrong with a twin, and what to do about it.

use std::path::PathBuf;

use miette::Diagnostic;
use thiserror::Error;

#[derive(Debug, Error, Diagnostic)]
pub enum LabError {
    #[error("the twin needs root: it makes network namespaces and boots hosts")]
    #[diagnostic(help("run the same command with sudo"))]
    NotRoot,

    #[error("the twin needs `{what}`, {why}")]
    #[diagnostic(help("{remedy}"))]
    Missing {
        what: String,
        why: &'static str,
        remedy: String,
    },

    #[error("no twin called `{name}` is up")]
    #[diagnostic(help("`vps-test lab up --name {name}` boots it"))]
    NotUp { name: String },

    #[error("a twin called `{name}` is up with another fleet")]
    #[diagnostic(help(
        "`vps-test lab down --name {name}` first, or boot this one under another --name"
    ))]
    OtherFleet { name: String },

    #[error("`{name}` is not a twin's name")]
    #[diagnostic(help("use a-z, 0-9 and `-`, at most 32 characters"))]
    BadName { name: String },

    #[error("twin `{name}` has no host `{node}`")]
    #[diagnostic(help("`vps-test lab status --name {name}` lists its hosts"))]
    NoSuchHost { name: String, node: String },

    #[error("twin `{name}` did not come up: {detail}")]
    #[diagnostic(help("the last that it said:\n{log}"))]
    DidNotBoot {
        name: String,
        detail: String,
        log: String,
    },

    #[error("cannot {action} `{path}`")]
    File {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },

    #[error("cannot {action}")]
    System {
        action: String,
        source: std::io::Error,
    },

    #[error("`{command}` failed: {detail}")]
    Command { command: String, detail: String },

    #[error("the twin's daemon said: {0}")]
    Daemon(String),

    #[error("the inventory that the twin was booted from does not read any more: {0}")]
    Inventory(String),
}

impl LabError {
    pub fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    pub fn system<E: Into<std::io::Error>>(action: impl Into<String>) -> impl FnOnce(E) -> Self {
        let action = action.into();
        move |source| Self::System {
            action,
            source: source.into(),
        }
    }
}
