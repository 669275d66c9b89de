//! What one call of cargo builds: packages of one workspace.

use std::path::{Path, PathBuf};

use super::build::{REFERENCE, REGISTRY};
use crate::settings::Settings;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub packages: Vec<String>,
    /// The crate's folder in the workspace, where it is a workspace of its own.
    pub apart: Option<PathBuf>,
    /// The stack is linked here, and `--stack` replaces it here.
    pub has_tester: bool,
}

impl Part {
    /// Those that this workspace has, and a tester that is a workspace of its own. A
    /// project with a tester of its own takes the other two from beside this program.
    pub fn all(settings: &Settings) -> Vec<Self> {
        let in_workspace = |dir: &Path| manifest(&settings.workspace.join(dir));
        let ours = [REFERENCE.0, REGISTRY.0]
            .into_iter()
            .filter(|name| in_workspace(&Path::new("crates").join(name)).is_some());
        let ours: Vec<String> = ours.map(str::to_owned).collect();
        let tester = settings.module.crate_dir.as_ref().map(PathBuf::from);
        let tester = tester.and_then(|dir| Some((in_workspace(&dir)?, dir)));
        match tester {
            Some((manifest, dir)) if is_apart(&settings.workspace, &dir, &manifest) => {
                let besides = Self {
                    packages: ours,
                    apart: None,
                    has_tester: false,
                };
                let tester = Self {
                    packages: Vec::new(),
                    apart: Some(dir),
                    has_tester: true,
                };
                let besides = (!besides.packages.is_empty()).then_some(besides);
                besides.into_iter().chain([tester]).collect()
            }
            tester => vec![Self {
                packages: tester
                    .and_then(|(manifest, _)| name_in(&manifest))
                    .into_iter()
                    .chain(ours)
                    .collect(),
                apart: None,
                has_tester: true,
            }],
        }
    }

    /// What cargo is told of it. What it makes apart is beside what it makes else.
    pub fn arguments(&self, target: &Path) -> Vec<String> {
        let packages = self.packages.iter();
        let mut words: Vec<String> = packages
            .flat_map(|name| ["-p".to_owned(), name.clone()])
            .collect();
        if let Some(dir) = &self.apart {
            words.extend(self.manifest());
            let name = dir.file_name().unwrap_or(dir.as_os_str());
            words.push("--target-dir".into());
            words.push(target.join(name).display().to_string());
        }
        words
    }

    /// Which manifest cargo is to take, where it is not the workspace's.
    pub fn manifest(&self) -> Vec<String> {
        let of = |dir: &PathBuf| dir.join("Cargo.toml").display().to_string();
        let manifest = self.apart.as_ref().map(of);
        manifest
            .into_iter()
            .flat_map(|manifest| ["--manifest-path".to_owned(), manifest])
            .collect()
    }

    pub fn lock_file(&self, workspace: &Path) -> PathBuf {
        let dir = self.apart.as_deref().unwrap_or(Path::new(""));
        workspace.join(dir).join("Cargo.lock")
    }
}

fn manifest(dir: &Path) -> Option<String> {
    std::fs::read_to_string(dir.join("Cargo.toml")).ok()
}

/// A workspace inside this one. A tester may also be the workspace's own root.
fn is_apart(workspace: &Path, dir: &Path, manifest: &str) -> bool {
    let is_root = || {
        let [root, dir] = [workspace.to_path_buf(), workspace.join(dir)].map(|p| p.canonicalize());
        matches!((root, dir), (Ok(root), Ok(dir)) if root == dir)
    };
    manifest.lines().any(|line| line.trim() == "[workspace]") && !is_root()
}

/// The name in a crate's manifest.
fn name_in(manifest: &str) -> Option<String> {
    let value = manifest
        .lines()
        .find_map(|line| line.strip_prefix("name"))?;
    Some(
        value
            .trim_start_matches([' ', '='])
            .trim()
            .trim_matches('"')
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_apart_has_its_own_manifest_target_and_lock() {
        let part = Part {
            packages: Vec::new(),
            apart: Some("crates/x-test".into()),
            has_tester: true,
        };
        assert_eq!(
            part.arguments(Path::new("/w/target")).join(" "),
            "--manifest-path crates/x-test/Cargo.toml --target-dir /w/target/x-test"
        );
        assert_eq!(
            part.lock_file(Path::new("/w")),
            Path::new("/w/crates/x-test/Cargo.lock")
        );
    }

    #[test]
    fn packages_of_the_workspace_are_named() {
        let part = Part {
            packages: vec!["a".into(), "b".into()],
            apart: None,
            has_tester: true,
        };
        assert_eq!(part.arguments(Path::new("t")).join(" "), "-p a -p b");
        assert_eq!(part.lock_file(Path::new("/w")), Path::new("/w/Cargo.lock"));
    }

    #[test]
    fn a_workspace_inside_this_one_is_apart_and_its_root_is_not() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("inner")).unwrap();
        let apart = |dir: &str, text: &str| is_apart(root.path(), Path::new(dir), text);
        assert!(apart("inner", "# x\n[workspace]\n[package]\n"));
        assert!(!apart("inner", "[package]\nversion.workspace = true\n"));
        for itself in [".", "", "inner/.."] {
            assert!(!apart(itself, "[workspace]\n[package]\n"), "{itself}");
        }
    }

    #[test]
    fn a_package_is_named_in_its_manifest() {
        assert_eq!(name_in("[package]\nname = \"a\"\n").as_deref(), Some("a"));
    }
}
