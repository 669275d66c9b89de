//! Which command builds, with what is installed here.

use std::process::{Command, Stdio};

/// What there is to build with.
#[derive(Debug, Clone)]
pub struct Toolchain {
    /// `x86_64-unknown-linux-gnu`; `None` where it has no plain name.
    pub own_target: Option<String>,
    pub has_zigbuild: bool,
    pub has_zig: bool,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "`{command}` cross-compiles, and {} missing: {}",
    if self.install.len() == 1 { "one tool is" } else { "two tools are" },
    self.install.join("; ")
)]
pub struct Missing {
    command: String,
    install: Vec<&'static str>,
}

impl Toolchain {
    pub fn of_this_machine() -> Self {
        Self {
            own_target: cfg!(all(target_os = "linux", target_env = "gnu"))
                .then(|| format!("{}-unknown-linux-gnu", std::env::consts::ARCH)),
            has_zigbuild: is_installed("cargo-zigbuild"),
            has_zig: std::env::var_os("CARGO_ZIGBUILD_ZIG_PATH").is_some()
                || is_installed("zig")
                || python_has_zig(),
        }
    }

    fn can_cross(&self) -> bool {
        self.has_zigbuild && self.has_zig
    }

    /// An older glibc than this machine's (`…-gnu.2.31`) is another target.
    fn is_own(&self, target: Option<&str>) -> bool {
        match (&self.own_target, target) {
            (Some(_), None) => true,
            (Some(own), Some(target)) => own == target,
            (None, _) => false,
        }
    }
}

/// The command to run in place of the configured one: `cargo zig build` is the
/// request's name for `cargo zigbuild`, and where the target is this machine's own
/// and zig is not there, plain cargo does it.
///
/// # Errors
/// It needs a tool that is not installed.
pub fn command(words: Vec<String>, toolchain: &Toolchain) -> Result<Vec<String>, Missing> {
    let plain: Vec<&str> = words.iter().map(String::as_str).collect();
    let arguments = match plain.as_slice() {
        ["cargo", "zig", "build", rest @ ..] | ["cargo", "zigbuild", rest @ ..] => rest,
        _ => return Ok(words),
    };
    let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
    let with = |start: &[&str], rest: Vec<String>| {
        let start = start.iter().map(|word| (*word).to_owned());
        start.chain(rest).collect::<Vec<_>>()
    };
    if toolchain.can_cross() {
        return Ok(with(&["cargo", "zigbuild"], arguments));
    }
    if toolchain.is_own(target(&arguments)) {
        return Ok(with(&["cargo", "build"], without_target(arguments)));
    }
    let needed = [
        (
            toolchain.has_zigbuild,
            "`cargo install --locked cargo-zigbuild`",
        ),
        (
            toolchain.has_zig,
            "`pip install ziglang` (or `brew install zig`)",
        ),
    ];
    let install = needed.iter().filter(|(is_there, _)| !is_there);
    Err(Missing {
        command: shell_words::join(&words),
        install: install.map(|(_, how)| *how).collect(),
    })
}

/// As it stands on a command line, in either form.
pub fn target(words: &[String]) -> Option<&str> {
    words.iter().enumerate().find_map(|(at, word)| {
        word.strip_prefix("--target=").or_else(|| {
            (word == "--target")
                .then(|| words.get(at + 1).map(String::as_str))
                .flatten()
        })
    })
}

pub fn without_target(mut words: Vec<String>) -> Vec<String> {
    if let Some(at) = words.iter().position(|word| word == "--target") {
        words.drain(at..(at + 2).min(words.len()));
    }
    words.retain(|word| !word.starts_with("--target="));
    words
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let here = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    // cargo looks for its subcommands here as well.
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(std::path::PathBuf::from)
        .or_else(|| Some(std::path::PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    here || program.starts_with("cargo-")
        && cargo_home.is_some_and(|home| home.join("bin").join(program).is_file())
}

/// PyPI's `ziglang`, which cargo-zigbuild finds by itself.
fn python_has_zig() -> bool {
    let asked = Command::new("python3")
        .args(["-m", "ziglang", "version"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    asked.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    fn with(has_zigbuild: bool, has_zig: bool) -> Toolchain {
        Toolchain {
            own_target: Some("x86_64-unknown-linux-gnu".into()),
            has_zigbuild,
            has_zig,
        }
    }

    fn becomes(line: &str, toolchain: &Toolchain) -> String {
        command(words(line), toolchain).unwrap().join(" ")
    }

    #[test]
    fn the_requests_spelling_is_understood() {
        let all = with(true, true);
        assert_eq!(
            becomes(
                "cargo zig build --release --target aarch64-unknown-linux-gnu",
                &all
            ),
            "cargo zigbuild --release --target aarch64-unknown-linux-gnu"
        );
        assert_eq!(becomes("cargo zigbuild", &all), "cargo zigbuild");
        assert_eq!(becomes("make all", &with(false, false)), "make all");
    }

    #[test]
    fn without_zig_this_machines_own_target_is_built_natively() {
        let none = with(true, false);
        for line in [
            "cargo zig build --release --target x86_64-unknown-linux-gnu",
            "cargo zigbuild --release --target=x86_64-unknown-linux-gnu",
            "cargo zigbuild --release",
        ] {
            assert_eq!(becomes(line, &none), "cargo build --release", "{line}");
        }
    }

    #[test]
    fn what_is_missing_is_named_with_how_to_get_it() {
        let line = "cargo zigbuild --target aarch64-unknown-linux-gnu";
        let error = command(words(line), &with(false, true)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "`{line}` cross-compiles, and one tool is missing: `cargo install --locked cargo-zigbuild`"
            )
        );
        let older = "cargo zigbuild --target x86_64-unknown-linux-gnu.2.31";
        let error = command(words(older), &with(false, false)).unwrap_err();
        assert!(error.to_string().contains("pip install ziglang"), "{error}");
    }
}
