//! Everything that a host can say of its health, in one script.

mod parse;

use std::time::Duration;

use model::diagnosis::{Dns, Expected, HostFacts, Severity, conclude};

use crate::error::FleetError;
use crate::host::{Host, now_ms};
use crate::quote::quote;
use crate::running::SCRIPT_OF;
use crate::unit::MARK;

const LIMIT: Duration = Duration::from_secs(60);

impl Host {
    /// Looks, and changes nothing.
    ///
    /// # Errors
    /// The session broke.
    pub async fn diagnose(&self, install_path: &str) -> Result<HostFacts, FleetError> {
        let script = script(install_path);
        let began = now_ms();
        let text = self.script_ok(&script, None, LIMIT).await?;
        Ok(parse::facts(&text, began, now_ms()))
    }

    /// Starts a unit once more that died, and returns the digest of what runs then.
    ///
    /// # Errors
    /// It does not run: with its last words, what a look at the host found, and the
    /// remedy.
    pub(crate) async fn revive(
        &self,
        unit: &str,
        install_path: &str,
    ) -> Result<String, FleetError> {
        let script = format!(
            "systemctl reset-failed {unit} 2>/dev/null; systemctl restart {unit} 2>/dev/null; sleep 1
{SCRIPT_OF}
pid=$(systemctl show -p MainPID --value {unit}); script=$(script_of $pid {dir}/{unit})
systemctl is-active -q {unit} && sha256sum < \"${{script:-/proc/$pid/exe}}\" || true",
            unit = quote(unit),
            dir = quote(install_path.trim_end_matches('/')),
        );
        let answer = self.script_ok(&script, None, LIMIT).await?;
        if let Some(digest) = answer.split(' ').next().filter(|word| word.len() == 64) {
            return Ok(digest.to_owned());
        }
        let facts = self.diagnose(install_path).await?;
        Err(FleetError::ServiceDied {
            node: self.name().clone(),
            unit: unit.to_owned(),
            because: because(&facts, unit, self, install_path),
            log: words_of(&facts, unit),
        })
    }
}

/// What stands in the way of this unit: the host's own faults, and its own.
fn because(facts: &HostFacts, unit: &str, host: &Host, install_path: &str) -> String {
    let expected = Expected {
        node: host.name().clone(),
        install_path: install_path.trim_end_matches('/').to_owned(),
        ports: Vec::new(),
        nat: None,
        measured: None,
        dns: Dns::Mapped,
        addresses: Vec::new(),
        hostname: String::new(),
    };
    let found = conclude(facts, &expected);
    let about = found.iter().filter(|f| {
        f.severity == Severity::Fault && (f.kind.is_host() || f.what.starts_with(unit))
    });
    let lines: Vec<String> = about.map(|f| format!("{}: {}", f.what, f.remedy)).collect();
    lines.join("\n")
}

fn words_of(facts: &HostFacts, unit: &str) -> String {
    let found = facts.units.iter().find(|one| one.name == unit);
    found.map_or(String::new(), |one| one.log.join("\n"))
}

fn script(install_path: &str) -> String {
    SCRIPT
        .replace("INSTALL_PATH", &quote(install_path.trim_end_matches('/')))
        .replace("MARK", MARK)
        .replace("SCRIPT_OF", SCRIPT_OF)
}

/// Sections begin with `== NAME`. A tool that is missing leaves its section empty.
const SCRIPT: &str = r#"export LC_ALL=C SYSTEMD_COLORS=0
echo == clock; date +%s%3N
echo == system; uname -sr; uname -m; cat /proc/uptime /proc/loadavg; nproc
getconf GNU_LIBC_VERSION 2>/dev/null
echo == memory; grep -E '^(MemTotal|MemAvailable):' /proc/meminfo
echo == disk
for path in INSTALL_PATH /var/log /run; do
  at=$path; while [ ! -d "$at" ]; do at=$(dirname "$at"); done
  echo "$(df -B1 --output=size,avail "$at" | tail -n 1) $(df --output=iavail "$at" | tail -n 1) $path"
done
echo == sockets
list() { "$@" ss -Hnptu state all 2>/dev/null; }
list; [ -e /run/netns/natbox ] && list ip netns exec natbox
echo == programs
SCRIPT_OF
for pid in $( { list; [ -e /run/netns/natbox ] && list ip netns exec natbox; } | grep -o 'pid=[0-9]*' | sort -u | cut -d= -f2); do
  script=$(script_of $pid '*.service'); echo "$pid ${script:-$(readlink /proc/$pid/exe)}"
done
echo == nat
if [ -e /etc/systemd/system/vps-test-natbox.service ]; then
  systemctl is-active vps-test-natbox.service
  [ -e /run/netns/natbox ] && echo namespace
  nft list table ip vps_test_natbox >/dev/null 2>&1 && echo rules
  [ "$(cat /proc/sys/net/ipv4/conf/natbox0/forwarding 2>/dev/null)" = 1 ] && echo forwards
fi
echo == killed; journalctl -k -q --no-pager -o short-iso -n 3 -g 'out of memory|oom-kill' --since -7days 2>/dev/null
# Of a template its instances.
units=$(for file in $(grep -ls '^MARK' /etc/systemd/system/*.service); do
  name=$(basename $file)
  case $name in
  *@.service) ls /etc/systemd/system/multi-user.target.wants | grep "^${name%.service}";;
  *) echo $name;;
  esac
done | grep -v '^vps-test-natbox')
for unit in $units; do
  file=$unit; number=
  case $unit in *@*) number=${unit##*@}; number=${number%.service}; file=${unit%@*}@.service;; esac
  echo "== unit $unit"
  systemctl show -p ActiveState -p SubState -p Result -p ExecMainStatus -p NRestarts -p MainPID -p StateChangeTimestampMonotonic $unit
  echo "Command=$(sed -n 's/^ExecStart=//p' /etc/systemd/system/$file | sed "s/%i/$number/g")"
  echo == log; journalctl -u $unit -q --no-pager -o cat -n 20
done
echo == end; date +%s%3N"#;
