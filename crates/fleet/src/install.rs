//! Getting services to run exactly what was built: content-addressed upload,
//! unit, restart, and the digest of the running process read back.

use std::collections::HashSet;
use std::time::Duration;

use crate::artifact::Artifact;
use crate::capture::UNITS as CAPTURES;
use crate::counters::TABLE as COUNTERS;
use crate::error::FleetError;
use crate::host::{Host, ONE_AT_A_TIME};
use crate::quote::quote;
use crate::running::SCRIPT_OF;
use crate::separation::TABLE as SEPARATION;
use crate::unit::{MARK, Unit};

const UNITS: &str = "/etc/systemd/system";

/// Links of the units that start when the host boots.
const WANTED: &str = "/etc/systemd/system/multi-user.target.wants";

/// What a host has before an upload.
struct Present {
    has_zstd: bool,
    free: u64,
    /// For each artifact.
    there: Vec<bool>,
}

/// A binary and the unit that runs it.
#[derive(Debug, Clone)]
pub struct Service {
    pub artifact: Artifact,
    /// Its program is filled in at install: arguments only.
    pub unit: Unit,
    /// Kept as it is where it runs already, whatever it runs.
    pub pinned: bool,
}

/// What a service came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    pub unit: String,
    pub binary: String,
    /// SHA-256 of the running executable, or of the script that its interpreter was
    /// started with.
    pub digest: String,
    pub sent_bytes: u64,
}

impl Host {
    /// Sends what is not there, and returns how many bytes that was. Nothing is
    /// ever overwritten: a file is named by its content.
    ///
    /// # Errors
    /// No room, a broken session, or bytes that arrived differently.
    pub async fn upload(
        &self,
        artifacts: &[&Artifact],
        install_path: &str,
        progress: impl Fn(&Artifact, u64),
    ) -> Result<Vec<u64>, FleetError> {
        let present = self.look(artifacts, install_path).await?;
        let sizes = artifacts.iter().map(|a| a.content.len() as u64);
        let needed = sizes
            .zip(&present.there)
            .filter(|(_, there)| !**there)
            .map(|(size, _)| size)
            .sum();
        if needed > present.free {
            return Err(self.full(install_path, needed, present.free));
        }
        let mut sent = Vec::new();
        let mut arrived = HashSet::new();
        for (artifact, there) in artifacts.iter().zip(present.there) {
            // Two services may run one binary.
            if there || !arrived.insert(artifact.path_in(install_path)) {
                sent.push(0);
                continue;
            }
            self.send(artifact, install_path, present.has_zstd, |bytes| {
                progress(artifact, bytes)
            })
            .await?;
            sent.push(artifact.content.len() as u64);
        }
        Ok(sent)
    }

    /// One round trip. What is used again counts as new, so that `prune` keeps it, and
    /// has its name again, by which others start it; what an upload left that was cut off long ago is removed.
    async fn look(
        &self,
        artifacts: &[&Artifact],
        install_path: &str,
    ) -> Result<Present, FleetError> {
        let dir = quote(install_path);
        let mut script = format!(
            "export LC_ALL=C; mkdir -p {dir} || exit 1
find {dir}/ -maxdepth 1 -name '.partial-*' -mmin +60 -delete
if command -v zstd >/dev/null 2>&1; then echo zstd; else echo none; fi
df -B1 --output=avail {dir} | tail -n 1\n"
        );
        for artifact in artifacts {
            let path = quote(&artifact.path_in(install_path));
            let name = quote(&artifact.name);
            script.push_str(&format!(
                "if [ -x {path} ]; then touch {path}; ln -sfn {path} {dir}/{name}; echo there; else echo missing; fi\n"
            ));
        }
        let answer = self
            .script_ok(&script, None, Duration::from_secs(20))
            .await
            .map_err(|e| e.or_full(install_path, 0))?;
        let mut lines = answer.lines();
        let has_zstd = lines.next() == Some("zstd");
        let free = lines.next().and_then(|l| l.trim().parse().ok());
        Ok(Present {
            has_zstd,
            free: free.unwrap_or(0),
            there: lines.map(|line| line == "there").collect(),
        })
    }

    async fn send(
        &self,
        artifact: &Artifact,
        install_path: &str,
        has_zstd: bool,
        progress: impl Fn(u64),
    ) -> Result<(), FleetError> {
        let path = artifact.path_in(install_path);
        let needed = artifact.content.len() as u64;
        let stream = if has_zstd {
            artifact.packed()
        } else {
            &artifact.content
        };
        let is_packed = stream.len() < artifact.content.len();
        let script = format!(
            "set -eu; export LC_ALL=C; dir={dir}; partial=$dir/.partial-$$
trap 'rm -f \"$partial\"' EXIT; trap 'exit 1' HUP INT TERM
if ! why=$({unpack} 2>&1 > \"$partial\"); then
  case $why in *'No space left'*|*'quota exceeded'*) ;; *) echo \"$why\" >&2; exit 1;; esac
  rm -f \"$partial\"; echo full $(df -B1 --output=avail \"$dir\" | tail -n 1); exit 0
fi
{DIGEST}
found=$(digest < \"$partial\")
if [ $found != {digest} ]; then echo digest $found; exit 0; fi
chmod 755 \"$partial\"; sync \"$partial\"; mv \"$partial\" {path}; ln -sfn {path} \"$dir\"/{name}; echo ok",
            dir = quote(install_path.trim_end_matches('/')),
            unpack = if is_packed { "zstd -dcq" } else { "cat" },
            digest = artifact.sha256,
            path = quote(&path),
            name = quote(&artifact.name),
        );
        let output = self
            .run_script(&script, Some(stream), |bytes| {
                progress(bytes * needed / stream.len() as u64)
            })
            .await?;
        let answer = self.succeeded(&script, &output)?;
        match answer.trim().split_once(' ') {
            Some(("full", free)) => {
                Err(self.full(install_path, needed, free.trim().parse().unwrap_or(0)))
            }
            Some(("digest", found)) => Err(FleetError::Digest {
                node: self.name().clone(),
                path,
                expected: artifact.sha256.clone(),
                found: found.into(),
            }),
            _ => Ok(()),
        }
    }

    fn full(&self, path: &str, needed: u64, free: u64) -> FleetError {
        FleetError::DiskFull {
            node: self.name().clone(),
            path: path.into(),
            needed,
            free,
        }
    }

    /// Installs services: uploads, writes units, restarts what changed, waits
    /// until all are active, and reads back what runs. Two round trips where
    /// nothing has to be sent.
    ///
    /// # Errors
    /// As [`Host::upload`]; or a service that dies or runs something else.
    pub async fn install(
        &self,
        services: &[Service],
        install_path: &str,
        progress: impl Fn(&Artifact, u64),
    ) -> Result<Vec<Installed>, FleetError> {
        let artifacts: Vec<&Artifact> = services.iter().map(|s| &s.artifact).collect();
        let sent = self.upload(&artifacts, install_path, progress).await?;
        let is_verified: Vec<bool> = sent.iter().map(|bytes| *bytes > 0).collect();
        let script = activation(services, &is_verified, install_path);
        let answer = self
            .script_ok(&script, None, Duration::from_secs(60))
            .await
            .map_err(|e| e.or_full(UNITS, script.len() as u64))?;
        let mut installed = Vec::new();
        for (service, sent) in services.iter().zip(sent) {
            // An upload counts once, however many instances run it.
            let sent_bytes = std::iter::once(sent).chain(std::iter::repeat(0));
            for (unit, sent_bytes) in service.unit.running().into_iter().zip(sent_bytes) {
                let digest = self
                    .running_digest(&answer, service, &unit, install_path)
                    .await?;
                installed.push(Installed {
                    unit,
                    binary: service.artifact.name.clone(),
                    digest,
                    sent_bytes,
                });
            }
        }
        Ok(installed)
    }

    async fn running_digest(
        &self,
        answer: &str,
        service: &Service,
        unit: &str,
        install_path: &str,
    ) -> Result<String, FleetError> {
        let found = answer.lines().find_map(|l| {
            l.strip_prefix(unit)?
                .trim()
                .split(' ')
                .next()
                .map(str::to_owned)
        });
        let digest = match found.filter(|d| d.len() == 64) {
            Some(digest) => digest,
            None => self.revive(unit, install_path).await?,
        };
        if digest != service.artifact.sha256 && !service.pinned {
            return Err(FleetError::StaleService {
                node: self.name().clone(),
                unit: unit.to_owned(),
                expected: service.artifact.sha256.clone(),
                found: digest,
            });
        }
        Ok(digest)
    }

    /// Deletes binaries of these names that are neither current nor previous nor
    /// any unit's: a pinned service may run an older one.
    ///
    /// # Errors
    /// The session broke.
    pub async fn prune(
        &self,
        artifacts: &[&Artifact],
        install_path: &str,
    ) -> Result<(), FleetError> {
        let dir = quote(install_path.trim_end_matches('/'));
        let mut script = format!("used=$(readlink {dir}/*.service)\n");
        for artifact in artifacts {
            script.push_str(&format!(
                "ls -t {dir}/{name}-{digest} 2>/dev/null | tail -n +3 | while read -r file; do
  case $used in *\"$file\"*) ;; *) rm -f \"$file\";; esac
done\n",
                name = quote(&artifact.name),
                digest = "?".repeat(64),
            ));
        }
        self.script_ok(&script, None, Duration::from_secs(20))
            .await
            .map(drop)
    }

    /// Removes everything that was ever installed here: units, NAT box, binaries.
    /// What others keep at the same path stays.
    ///
    /// # Errors
    /// The session broke, or something could not be removed.
    pub async fn clean(&self, install_path: &str) -> Result<(), FleetError> {
        let script = format!(
            "set -u; path={path}
for unit in $(grep -ls '^{MARK}' {UNITS}/*.service); do
  name=$(basename $unit)
  case $name in
  *@.service)
    all=\"${{name%.service}}*.service\"
    systemctl stop \"$all\" 2>/dev/null; rm -f {WANTED}/${{name%.service}}*.service;;
  *) systemctl disable -q --now $name 2>/dev/null;;
  esac
  rm -f $unit
done
[ -e /var/lib/vps-test/natbox/down ] && sh /var/lib/vps-test/natbox/down
systemctl stop '{CAPTURES}' 2>/dev/null
command -v nft >/dev/null && nft delete table {COUNTERS} 2>/dev/null
command -v nft >/dev/null && nft delete table {SEPARATION} 2>/dev/null
if [ -d \"$path\" ]; then
  find \"$path/\" -maxdepth 1 -name '.partial-*' -delete
  find \"$path/\" -maxdepth 1 -type l -lname '*-{digest}' -delete
  find \"$path/\" -maxdepth 1 -type f -regextype posix-extended -regex '.*-[0-9a-f]{{64}}' -delete
  rmdir --ignore-fail-on-non-empty \"$path\"
fi
rm -rf /var/lib/vps-test
rm -f /run/vps-test/*.sock /run/vps-test/.lock; rmdir --ignore-fail-on-non-empty /run/vps-test 2>/dev/null
systemctl daemon-reload; systemctl reset-failed 2>/dev/null; true",
            path = quote(install_path.trim_end_matches('/')),
            digest = "?".repeat(64),
        );
        self.script_ok(&script, None, Duration::from_secs(60))
            .await
            .map(drop)
    }
}

/// A shell function from a file's content to its SHA-256. OpenSSL knows the
/// processor's instructions for it.
const DIGEST: &str = "digest() {
  if command -v openssl >/dev/null 2>&1; then sum=$(openssl dgst -sha256 -r); else sum=$(sha256sum); fi
  echo ${sum%% *}
}";

/// Writes all units, restarts those that changed, and prints `UNIT DIGEST` of each.
/// `cat` writes the files: unlike a shell's `printf` it says why it could not.
fn activation(services: &[Service], is_verified: &[bool], install_path: &str) -> String {
    let mut script =
        format!("set -u; export LC_ALL=C; {ONE_AT_A_TIME}; reload=no; enable=; restart=\n");
    script.push_str(&remove_others(services, install_path));
    for service in services {
        script.push_str(&write_unit(service, install_path));
    }
    let names: Vec<String> = services.iter().flat_map(running).collect();
    script.push_str(&format!(
        "[ -n \"$enable\" ] && systemctl enable -q --no-reload $enable 2>/dev/null
[ $reload = yes ] && systemctl daemon-reload
[ -n \"$restart\" ] && systemctl restart $restart
[ -n \"$restart\" ] && sleep 0.15
{DIGEST}
{SCRIPT_OF}
hashed=; unit=; state=; pid=
report() {{
  # Asked about no unit at all, systemctl tells of itself.
  [ -n \"$unit\" ] || return 0
  if [ \"$state\" != active ] || [ \"$pid\" = 0 ]; then echo $unit dead; return; fi
  case $unit in
{known}  esac
  case $unit in *@*) link=${{unit%%@*}}@.service;; *) link=$unit;; esac
  script=$(script_of $pid {dir}/$link)
  if [ -n \"$script\" ]; then echo $unit $(digest < \"$script\"); return; fi
  # Instances run one file, which the kernel lets nobody write to meanwhile.
  if [ -z \"$hashed\" ] || ! [ /proc/$pid/exe -ef $hashed ]; then
    hashed=/proc/$pid/exe; sum=$(digest < $hashed)
  fi
  echo $unit $sum
}}
{{ systemctl show -p Id -p ActiveState -p MainPID {all}; echo; }} | while IFS== read -r key value; do
  case $key in
  Id) unit=$value;; ActiveState) state=$value;; MainPID) pid=$value;; '') report;;
  esac
done",
        dir = quote(install_path.trim_end_matches('/')),
        known = known(services, is_verified, install_path),
        all = names.join(" "),
    ));
    script
}

fn running(service: &Service) -> Vec<String> {
    let names = service.unit.running();
    names.iter().map(|name| quote(name)).collect()
}

/// A node that had more peers, or one where it has several now, has units left
/// that nobody wants.
fn remove_others(services: &[Service], install_path: &str) -> String {
    let unpinned = || services.iter().filter(|s| !s.pinned);
    let forms: String = unpinned()
        .map(|s| {
            let name = s
                .unit
                .name
                .trim_end_matches(".service")
                .trim_end_matches('@');
            format!(" {}.service {}@\\*.service", quote(name), quote(name))
        })
        .collect();
    let wanted: Vec<String> = unpinned().flat_map(running).collect();
    let (dir, files) = (
        quote(install_path.trim_end_matches('/')),
        unpinned().map(|s| format!(" {}", quote(&s.unit.other_form()))),
    );
    if wanted.is_empty() {
        return String::new();
    }
    format!(
        "others=
for unit in $(systemctl list-units --all --plain --no-legend{forms} | cut -d ' ' -f 1); do
  case $unit in {wanted}) ;; *) others=\"$others $unit\";; esac
done
if [ -n \"$others\" ]; then
  systemctl disable -q --now $others 2>/dev/null; systemctl reset-failed $others 2>/dev/null
fi
for file in{files}; do
  if [ -e {UNITS}/$file ]; then rm -f {UNITS}/$file {dir}/$file; reload=yes; fi
done\n",
        wanted = wanted.join("|"),
        files = files.collect::<String>(),
    )
}

/// A unit runs a link that is its own. A new binary is a link that is switched:
/// the unit's text stays as it is, and systemd has nothing to read again.
fn write_unit(service: &Service, install_path: &str) -> String {
    let link = format!(
        "{}/{}",
        install_path.trim_end_matches('/'),
        service.unit.name
    );
    let mut unit = service.unit.clone();
    unit.exec.insert(0, link.clone());
    let file = quote(&format!("{UNITS}/{}", unit.name));
    let (link, path) = (quote(&link), quote(&service.artifact.path_in(install_path)));
    let write = format!(
        "printf %s {text} | cat > {file}.new || {{ rm -f {file}.new; exit 1; }}
changed=no
if cmp -s {file}.new {file}; then rm {file}.new
else
  [ -e {file} ] && reload=yes
  mv {file}.new {file}; changed=yes
fi
[ \"$(readlink {link})\" = {path} ] || {{ ln -sfn {path} {link}; changed=yes; }}
for unit in {names}; do [ -e {WANTED}/$unit ] || enable=\"$enable $unit\"; done
set -- {names}
if [ $changed = yes ]; then restart=\"$restart $*\"
else
  for state in $(systemctl is-active \"$@\"); do
    [ $state = active ] || restart=\"$restart $1\"
    shift
  done
fi\n",
        text = quote(&unit.render()),
        names = running(service).join(" "),
    );
    if !service.pinned {
        return write;
    }
    let (name, words) = (quote(&unit.name), quote(&service.unit.command_line()));
    format!("if ! systemctl is-active -q {name} || ! grep -qF -e {words} {file}; then\n{write}fi\n")
}

/// What was hashed a moment ago need not be hashed again where the running program
/// is that very file: the kernel lets nobody write to a program that runs.
fn known(services: &[Service], is_verified: &[bool], install_path: &str) -> String {
    let verified = services
        .iter()
        .zip(is_verified)
        .filter(|(_, is_verified)| **is_verified);
    let arms = verified.map(|(service, _)| {
        let path = quote(&service.artifact.path_in(install_path));
        let (name, digest) = (service.unit.pattern(), &service.artifact.sha256);
        format!(
            "  {name}) if [ /proc/$pid/exe -ef {path} ]; then echo $unit {digest}; return; fi;;\n"
        )
    });
    arms.collect()
}
