//! What an executable needs of the host that is to run it.

use std::fmt;

use model::inventory::NodeName;
use object::elf;
use object::read::elf::FileHeader;
use object::{Architecture, Endianness, FileKind, Object};

use crate::artifact::Artifact;

/// Read from the file itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// As `uname -m` says it; `None` where it is no ELF file: a script, for example.
    pub arch: Option<String>,
    /// The newest version of a glibc symbol; `None` where it is linked statically.
    pub glibc: Option<Version>,
    /// Of a script.
    pub interpreter: Option<Interpreter>,
}

/// What a script's first line names: a program, or the word that `env` looks up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// The first line without `#!`, as it stands there.
    pub line: String,
    /// What has to be on the host: an absolute path, or a name on a service's `PATH`.
    pub program: String,
}

/// `2.34`
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u32, u32);

impl Version {
    /// Of `2.34`, or of `2.34.1`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        Some(Self(
            parts.next()?.parse().ok()?,
            parts.next()?.parse().ok()?,
        ))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unfit {
    #[error(
        "{node}: `{binary}` is built for {built_for}, and the host is {host}; build it with `--target {host}-unknown-linux-gnu`"
    )]
    Arch {
        node: NodeName,
        binary: String,
        built_for: String,
        host: String,
    },
    #[error(
        "{node}: `{binary}` needs glibc {needed}, and the host has {has}; build it with `cargo zigbuild --target {arch}-unknown-linux-gnu.{has}`"
    )]
    Glibc {
        node: NodeName,
        binary: String,
        needed: Version,
        has: Version,
        arch: String,
    },
    #[error(
        "{node}: `{binary}` is a script for `{program}` (its first line is `#!{line}`), which the host does not have; install it there, or name another interpreter"
    )]
    Interpreter {
        node: NodeName,
        binary: String,
        program: String,
        line: String,
    },
    #[error(
        "{node}: `{binary}` needs glibc {needed}, and the host has none; build it with `--target {arch}-unknown-linux-musl`"
    )]
    NoGlibc {
        node: NodeName,
        binary: String,
        needed: Version,
        arch: String,
    },
}

impl Interpreter {
    /// `None` where the content does not begin with `#!`.
    pub fn of(content: &[u8]) -> Option<Self> {
        let line = content
            .strip_prefix(b"#!")?
            .split(|byte| *byte == b'\n')
            .next()?;
        let line = String::from_utf8_lossy(line).into_owned();
        // Only blanks part words for the kernel: a carriage return stays in one.
        let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
        let first = words.next().unwrap_or_default();
        let is_option = |word: &&str| word.starts_with('-') || word.contains('=');
        let program = match first.rsplit('/').next() {
            Some("env") => words.find(|word| !is_option(word)).unwrap_or(first),
            _ => first,
        };
        Some(Self {
            program: program.to_owned(),
            line: line.clone(),
        })
    }

    fn check(&self, binary: &str) -> Result<(), NoProgram> {
        let binary = binary.to_owned();
        if self.line.ends_with('\r') {
            return Err(NoProgram::CarriageReturn { binary });
        }
        if self.program.is_empty() {
            return Err(NoProgram::NoInterpreter { binary });
        }
        Ok(())
    }
}

/// # Errors
/// No host can run a file with this content; `path` is where it was read.
pub fn check_program(content: &[u8], path: &str) -> Result<(), NoProgram> {
    match Interpreter::of(content) {
        Some(interpreter) => interpreter.check(path),
        None if content.starts_with(&elf::ELFMAG) => Ok(()),
        None => Err(NoProgram::Neither { path: path.into() }),
    }
}

/// What no host can run.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoProgram {
    #[error(
        "`{path}` is neither an executable of Linux nor a script; a script's first line names its interpreter, such as `#!/usr/bin/env python3`"
    )]
    Neither { path: String },
    #[error(
        "the first line of `{binary}` ends with a carriage return, which would be taken for a part of the interpreter's name; save it with the line ends of Unix"
    )]
    CarriageReturn { binary: String },
    #[error(
        "the first line of `{binary}` is `#!` without an interpreter; write for example `#!/usr/bin/env python3`"
    )]
    NoInterpreter { binary: String },
}

impl Needs {
    pub fn of(content: &[u8]) -> Self {
        let arch = object::File::parse(content)
            .ok()
            .and_then(|file| arch(file.architecture()));
        let glibc = match FileKind::parse(content) {
            Ok(FileKind::Elf64) => newest_glibc::<elf::FileHeader64<Endianness>>(content),
            Ok(FileKind::Elf32) => newest_glibc::<elf::FileHeader32<Endianness>>(content),
            _ => None,
        };
        Self {
            arch,
            glibc,
            interpreter: Interpreter::of(content),
        }
    }

    /// Whether a host can run it, by what it says of itself.
    ///
    /// # Errors
    /// It cannot: node, binary and remedy.
    pub fn check(
        &self,
        node: &NodeName,
        artifact: &Artifact,
        host_arch: &str,
        host_glibc: Option<&str>,
    ) -> Result<(), Unfit> {
        let (node, binary) = (node.clone(), artifact.name.clone());
        let Some(arch) = &self.arch else {
            return Ok(());
        };
        if host_arch.is_empty() {
            return Ok(()); // reached by a version that did not ask
        }
        if !is_same(arch, host_arch) {
            return Err(Unfit::Arch {
                node,
                binary,
                built_for: arch.clone(),
                host: host_arch.to_owned(),
            });
        }
        let Some(needed) = self.glibc else {
            return Ok(());
        };
        let arch = arch.clone();
        match host_glibc.map(Version::parse) {
            Some(Some(has)) if has < needed => Err(Unfit::Glibc {
                node,
                binary,
                needed,
                has,
                arch,
            }),
            None => Err(Unfit::NoGlibc {
                node,
                binary,
                needed,
                arch,
            }),
            // One that does not say its version is believed to be new enough.
            Some(_) => Ok(()),
        }
    }
}

fn arch(architecture: Architecture) -> Option<String> {
    let word = match architecture {
        Architecture::X86_64 => "x86_64",
        Architecture::I386 => "i686",
        Architecture::Aarch64 => "aarch64",
        Architecture::Arm => "armv7",
        Architecture::Riscv64 => "riscv64gc",
        Architecture::PowerPc64 => "powerpc64le",
        Architecture::S390x => "s390x",
        _ => return None,
    };
    Some(word.into())
}

/// `uname -m` has more words for some than Rust has.
fn is_same(built_for: &str, host: &str) -> bool {
    let host = match host {
        "arm64" => "aarch64",
        "riscv64" => "riscv64gc",
        "ppc64le" => "powerpc64le",
        "i386" | "i586" => "i686",
        other if other.starts_with("armv") => "armv7",
        other => other,
    };
    // A 64-bit kernel of this family runs 32-bit programs as well.
    built_for == host || (built_for == "i686" && host == "x86_64")
}

/// From the section `.gnu.version_r`.
fn newest_glibc<H: FileHeader<Endian = Endianness>>(content: &[u8]) -> Option<Version> {
    let header = H::parse(content).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, content).ok()?;
    let (mut needs, link) = sections.gnu_verneed(endian, content).ok()??;
    let strings = sections.strings(endian, content, link).ok()?;
    let mut newest = None;
    while let Ok(Some((_, mut versions))) = needs.next() {
        while let Ok(Some(version)) = versions.next() {
            let name = version.name(endian, strings).unwrap_or_default();
            let name = String::from_utf8_lossy(name).into_owned();
            newest = newest.max(name.strip_prefix("GLIBC_").and_then(Version::parse));
        }
    }
    newest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact() -> Artifact {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x-test");
        std::fs::write(&path, "x").unwrap();
        Artifact::read(&path).unwrap()
    }

    fn needs(arch: &str, glibc: &str) -> Needs {
        Needs {
            arch: Some(arch.into()),
            glibc: Version::parse(glibc),
            interpreter: None,
        }
    }

    #[test]
    fn this_very_program_runs_here() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let found = Needs::of(&own);
        assert_eq!(found.arch.as_deref(), Some(std::env::consts::ARCH));
        let needed = found.glibc.unwrap();
        assert!(
            needed >= Version(2, 2) && needed < Version(3, 0),
            "{needed}"
        );
    }

    #[test]
    fn a_script_needs_nothing_of_this() {
        let node = NodeName::new("a");
        assert_eq!(
            Needs::default().check(&node, &artifact(), "x86_64", None),
            Ok(())
        );
    }

    #[test]
    fn a_script_names_its_interpreter() {
        let program = |text: &str| Interpreter::of(text.as_bytes()).unwrap().program;
        assert_eq!(program("#!/bin/sh\n"), "/bin/sh");
        assert_eq!(
            program("#! /usr/bin/python3 -u\nimport os"),
            "/usr/bin/python3"
        );
        assert_eq!(program("#!/usr/bin/env python3"), "python3");
        assert_eq!(program("#!/usr/bin/env -S A=b node --flag\n"), "node");
        assert_eq!(Interpreter::of(b"print(1)\n"), None);
    }

    #[test]
    fn what_no_host_can_run_says_what_to_write() {
        let check =
            |text: &str| check_program(text.as_bytes(), "x-test").map_err(|e| e.to_string());
        assert_eq!(check("#!/usr/bin/env python3\n"), Ok(()));
        let error = check("#!/usr/bin/env python3\r\n").unwrap_err();
        assert!(error.contains("carriage return"), "{error}");
        let error = check("print('hello')\n").unwrap_err();
        assert!(error.starts_with("`x-test` is neither"), "{error}");
        assert!(
            check("#!\n")
                .unwrap_err()
                .contains("without an interpreter")
        );
    }

    #[test]
    fn what_does_not_fit_says_how_to_build_it() {
        let node = NodeName::new("home-1");
        let check = |needs: Needs, arch, glibc| needs.check(&node, &artifact(), arch, glibc);
        assert_eq!(
            check(needs("x86_64", "2.34"), "x86_64", Some("2.36")),
            Ok(())
        );
        assert_eq!(
            check(needs("x86_64", "2.9"), "x86_64", Some("2.36")),
            Ok(())
        );
        assert_eq!(
            check(needs("aarch64", "2.34"), "arm64", Some("2.36")),
            Ok(())
        );
        let error = check(needs("x86_64", "2.34"), "aarch64", Some("2.36")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "home-1: `x-test` is built for x86_64, and the host is aarch64; build it with `--target aarch64-unknown-linux-gnu`"
        );
        let error = check(needs("x86_64", "2.34"), "x86_64", Some("2.31")).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("`cargo zigbuild --target x86_64-unknown-linux-gnu.2.31`"),
            "{error}"
        );
        let error = check(needs("x86_64", "2.34"), "x86_64", None).unwrap_err();
        assert!(
            error.to_string().ends_with("x86_64-unknown-linux-musl`"),
            "{error}"
        );
    }
}
