//! `MANIFEST.sig`: a signature with the user's own SSH key, made and checked by
//! OpenSSH.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::manifest::{NAME, SIGNATURE};
use crate::run_dir::RunDir;

/// What a signature is for; one made for git or a file does not count here.
const NAMESPACE: &str = "vps-test";

/// Those that `ssh` tries, without the ones that need a device.
const USUAL_KEYS: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];

#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("there is no key to sign with: none of {} in `{}`; name one", USUAL_KEYS.join(", "), dir.display())]
    NoKey { dir: PathBuf },
    #[error("there is no key `{}`", key.display())]
    Missing { key: PathBuf },
    #[error("`{}` has no MANIFEST: only a run that has ended can be signed", dir.display())]
    NoManifest { dir: PathBuf },
    #[error("cannot run ssh-keygen, which comes with OpenSSH")]
    Start(#[from] std::io::Error),
    #[error("ssh-keygen does not sign with `{}`: {detail}", key.display())]
    Refused { key: PathBuf, detail: String },
}

/// The key that was named, or the first of the usual ones.
pub fn choose_key(named: Option<PathBuf>) -> Result<PathBuf, SignError> {
    if let Some(key) = named {
        return if key.is_file() {
            Ok(key)
        } else {
            Err(SignError::Missing { key })
        };
    }
    let dir = PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".ssh");
    let usual = USUAL_KEYS.map(|name| dir.join(name));
    usual
        .into_iter()
        .find(|key| key.is_file())
        .ok_or(SignError::NoKey { dir })
}

/// Signs the manifest of a run that has ended.
pub fn sign(dir: &RunDir, key: &Path) -> Result<PathBuf, SignError> {
    let manifest = dir.path().join(NAME);
    if !manifest.is_file() {
        return Err(SignError::NoManifest {
            dir: dir.path().to_owned(),
        });
    }
    let signature = dir.path().join(SIGNATURE);
    let _ = std::fs::remove_file(&signature);
    // Standard input stays, for a key that asks for its passphrase.
    let output = Command::new("ssh-keygen")
        .args(["-Y", "sign", "-n", NAMESPACE, "-f"])
        .arg(key)
        .arg(&manifest)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()?;
    if output.status.success() && signature.is_file() {
        Ok(signature)
    } else {
        Err(SignError::Refused {
            key: key.to_owned(),
            detail: words(&output),
        })
    }
}

/// Who signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signer {
    /// One of those who are allowed to, by the name that the list gives.
    Allowed { principal: String, key: String },
    /// The signature fits, and nobody said whose key it is.
    Unknown { key: String },
}

/// Checks the signature; the error says what is wrong with it.
pub fn check(dir: &RunDir, allowed: Option<&Path>) -> Result<Signer, String> {
    let key = fingerprint(dir)?;
    let Some(allowed) = allowed else {
        return Ok(Signer::Unknown { key });
    };
    let signature = dir.path().join(SIGNATURE);
    let found = keygen(dir, |c| {
        c.args(["-Y", "find-principals", "-f"])
            .arg(allowed)
            .arg("-s")
            .arg(&signature)
    })
    .map_err(|_| format!("{key} signed, which is not in `{}`", allowed.display()))?;
    let principal = found.lines().next().unwrap_or_default().to_owned();
    keygen(dir, |c| {
        c.args(["-Y", "verify", "-n", NAMESPACE, "-I", &principal, "-f"])
            .arg(allowed)
            .arg("-s")
            .arg(&signature)
    })?;
    Ok(Signer::Allowed { principal, key })
}

/// Of the key that made a signature which fits: `ED25519 SHA256:…`.
fn fingerprint(dir: &RunDir) -> Result<String, String> {
    let signature = dir.path().join(SIGNATURE);
    let said = keygen(dir, |c| {
        c.args(["-Y", "check-novalidate", "-n", NAMESPACE, "-s"])
            .arg(&signature)
    })?;
    let key = said.split(" with ").nth(1).unwrap_or(&said);
    Ok(key.trim().replace(" key ", " "))
}

/// Runs it with the manifest as standard input; returns what it says.
fn keygen(
    dir: &RunDir,
    arguments: impl FnOnce(&mut Command) -> &mut Command,
) -> Result<String, String> {
    let manifest = std::fs::File::open(dir.path().join(NAME))
        .map_err(|e| format!("cannot read {NAME}: {e}"))?;
    let mut command = Command::new("ssh-keygen");
    let output = arguments(&mut command)
        .stdin(manifest)
        .output()
        .map_err(|e| format!("cannot run ssh-keygen: {e}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(words(&output))
    }
}

fn words(output: &Output) -> String {
    let said =
        [&output.stderr, &output.stdout].map(|text| String::from_utf8_lossy(text).into_owned());
    let lines: Vec<&str> = said
        .iter()
        .flat_map(|text| text.lines())
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    lines.join("; ")
}
