//! Getting services to run exactly what was built: content-addressed upload,
//! unit, restart, and the digest of the running process read back.

use std::time::Duration;

use crate::artifact::Artifact;
use crate::error::FleetError;
use crate::host::Host;
use crate::quote::quote;
use crate::unit::{MARK, Unit};

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
    /// SHA-256 of the running executable.
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
        let there = self.which_are_there(artifacts, install_path).await?;
        let mut sent = Vec::new();
        for (artifact, there) in artifacts.iter().zip(there) {
            if there {
                sent.push(0);
                continue;
            }
            self.send(artifact, install_path, |bytes| progress(artifact, bytes))
                .await?;
            sent.push(artifact.content.len() as u64);
        }
        Ok(sent)
    }

    async fn which_are_there(
        &self,
        artifacts: &[&Artifact],
        install_path: &str,
    ) -> Result<Vec<bool>, FleetError> {
        let tests: Vec<String> = artifacts
            .iter()
            .map(|a| {
                format!(
                    "if [ -x {} ]; then echo there; else echo missing; fi",
                    quote(&a.path_in(install_path))
                )
            })
            .collect();
        let script = format!(
            "mkdir -p {}; rm -f {}/.partial-*; {}",
            quote(install_path),
            quote(install_path),
            tests.join("; ")
        );
        let answer = self
            .script_ok(&script, None, Duration::from_secs(20))
            .await?;
        Ok(answer.lines().map(|line| line == "there").collect())
    }

    async fn send(
        &self,
        artifact: &Artifact,
        install_path: &str,
        progress: impl Fn(u64),
    ) -> Result<(), FleetError> {
        let path = artifact.path_in(install_path);
        let needed = artifact.content.len() as u64;
        let script = format!(
            "set -eu; dir={dir}; partial=$dir/.partial-$$
free=$(df -B1 --output=avail $dir | tail -n 1)
if [ $free -lt {needed} ]; then echo full $free; cat >/dev/null; exit 0; fi
trap 'rm -f $partial' EXIT
cat > $partial
found=$(sha256sum $partial | cut -d ' ' -f 1)
if [ $found != {digest} ]; then echo digest $found; exit 0; fi
chmod 755 $partial; mv $partial {path}; ln -sfn {path} $dir/{name}; echo ok",
            dir = quote(install_path.trim_end_matches('/')),
            digest = artifact.sha256,
            path = quote(&path),
            name = quote(&artifact.name),
        );
        let output = self
            .run_script(&script, Some(&artifact.content), progress)
            .await?;
        let answer = self.succeeded(&script, &output)?;
        match answer.trim().split_once(' ') {
            Some(("full", free)) => Err(FleetError::DiskFull {
                node: self.name().clone(),
                path: install_path.into(),
                needed,
                free: free.parse().unwrap_or(0),
            }),
            Some(("digest", found)) => Err(FleetError::Digest {
                node: self.name().clone(),
                path,
                expected: artifact.sha256.clone(),
                found: found.into(),
            }),
            _ => Ok(()),
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
        let script = activation(services, install_path);
        let answer = self
            .script_ok(&script, None, Duration::from_secs(60))
            .await?;
        let mut installed = Vec::new();
        for (service, sent_bytes) in services.iter().zip(sent) {
            let digest = self.running_digest(&answer, service).await?;
            installed.push(Installed {
                unit: service.unit.name.clone(),
                binary: service.artifact.name.clone(),
                digest,
                sent_bytes,
            });
        }
        Ok(installed)
    }

    async fn running_digest(&self, answer: &str, service: &Service) -> Result<String, FleetError> {
        let unit = &service.unit.name;
        let found = answer.lines().find_map(|l| {
            l.strip_prefix(unit.as_str())?
                .trim()
                .split(' ')
                .next()
                .map(str::to_owned)
        });
        let Some(digest) = found.filter(|d| d.len() == 64) else {
            let log = self
                .journal(unit, 15)
                .await
                .unwrap_or_else(|e| e.to_string());
            return Err(FleetError::ServiceDied {
                node: self.name().clone(),
                unit: unit.clone(),
                log,
            });
        };
        if digest != service.artifact.sha256 && !service.pinned {
            return Err(FleetError::StaleService {
                node: self.name().clone(),
                unit: unit.clone(),
                expected: service.artifact.sha256.clone(),
                found: digest,
            });
        }
        Ok(digest)
    }

    /// Deletes binaries of these names that are neither current nor previous.
    ///
    /// # Errors
    /// The session broke.
    pub async fn prune(
        &self,
        artifacts: &[&Artifact],
        install_path: &str,
    ) -> Result<(), FleetError> {
        let dir = quote(install_path.trim_end_matches('/'));
        let each = artifacts.iter().map(|a| {
            let name = quote(&a.name);
            format!("ls -t {dir}/{name}-???????????????????????????????????????????????????????????????? 2>/dev/null | tail -n +3 | xargs -r rm -f")
        });
        self.script_ok(
            &each.collect::<Vec<_>>().join("; "),
            None,
            Duration::from_secs(20),
        )
        .await
        .map(drop)
    }

    /// Removes everything that was ever installed here: units, NAT box, binaries.
    ///
    /// # Errors
    /// The session broke, or something could not be removed.
    pub async fn clean(&self, install_path: &str) -> Result<(), FleetError> {
        let script = format!(
            "set -u
for unit in $(grep -ls '^{MARK}' /etc/systemd/system/*.service); do
  systemctl disable -q --now $(basename $unit) 2>/dev/null; rm -f $unit
done
[ -e /var/lib/vps-test/natbox/down ] && sh /var/lib/vps-test/natbox/down
rm -rf /var/lib/vps-test /run/vps-test {path}
systemctl daemon-reload; systemctl reset-failed 2>/dev/null; true",
            path = quote(install_path.trim_end_matches('/')),
        );
        self.script_ok(&script, None, Duration::from_secs(60))
            .await
            .map(drop)
    }
}

/// Writes all units, restarts those that changed, and prints `UNIT DIGEST` of each.
fn activation(services: &[Service], install_path: &str) -> String {
    let mut script = "set -u; reload=no; restart=\n".to_owned();
    for service in services {
        let mut unit = service.unit.clone();
        unit.exec.insert(0, service.artifact.path_in(install_path));
        let (name, file) = (
            quote(&unit.name),
            quote(&format!("/etc/systemd/system/{}", unit.name)),
        );
        if service.pinned {
            script.push_str(&format!("if ! systemctl is-active -q {name}; then\n"));
        }
        script.push_str(&format!(
            "printf %s {text} > {file}.new
if cmp -s {file}.new {file}; then rm {file}.new; systemctl is-active -q {name} || restart=\"$restart {name}\"
else mv {file}.new {file}; reload=yes; restart=\"$restart {name}\"; fi\n",
            text = quote(&unit.render()),
        ));
        if service.pinned {
            script.push_str("fi\n");
        }
    }
    let names: Vec<String> = services.iter().map(|s| quote(&s.unit.name)).collect();
    script.push_str(&format!(
        "[ $reload = yes ] && systemctl daemon-reload && systemctl enable -q {all} 2>/dev/null
[ -n \"$restart\" ] && systemctl restart $restart
[ -n \"$restart\" ] && sleep 0.3
for unit in {all}; do
  pid=$(systemctl show -p MainPID --value $unit)
  if systemctl is-active -q $unit && [ \"$pid\" != 0 ]; then echo $unit $(sha256sum < /proc/$pid/exe)
  else echo $unit dead; fi
done",
        all = names.join(" "),
    ));
    script
}
