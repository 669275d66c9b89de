//! What this repository needs of the machine, and how to get it there.

use std::path::Path;

use anyhow::bail;

use crate::shell;

/// A program that demo or test calls, the Debian package that has it, and why.
struct Need {
    program: &'static str,
    package: &'static str,
    why: &'static str,
}

const NEEDS: &[Need] = &[
    need("cc", "build-essential", "link, and compile the TLS library"),
    need("ip", "iproute2", "make the twin's namespaces"),
    need("ss", "iproute2", "see which ports are taken"),
    need("nft", "nftables", "make NATs"),
    need("conntrack", "conntrack", "see and end a NAT's mappings"),
    need("ssh", "openssh-client", "reach hosts"),
    need("ssh-keygen", "openssh-client", "make the twin's host keys"),
    need(
        "sshd",
        "openssh-server",
        "be reached: it runs inside the twin only",
    ),
    need(
        "systemd-nspawn",
        "systemd-container",
        "boot the twin's hosts",
    ),
    need("sysctl", "procps", "switch forwarding on inside namespaces"),
    need("ping", "iputils-ping", "measure the twin's latencies"),
    need("socat", "socat", "answer in tests of the twin"),
    need(
        "turnserver",
        "coturn",
        "measure NATs as others do, in tests",
    ),
    need("iperf3", "iperf3", "compare throughput in benches"),
    need(
        "python3",
        "python3",
        "play a stranger to our protocols in tests",
    ),
    need("tcpdump", "tcpdump", "capture packets"),
    need("git", "git", "say which commit was tested"),
    need("chromium", "chromium", "look at the dashboard in tests"),
    need(
        "chromedriver",
        "chromium-driver",
        "drive the browser in tests",
    ),
    need("npm", "npm", "fetch the accessibility checker in tests"),
    need("prometheus", "prometheus", "scrape the registry in tests"),
    need("zstd", "zstd", "unpack what is deployed"),
];

const fn need(program: &'static str, package: &'static str, why: &'static str) -> Need {
    Need {
        program,
        package,
        why,
    }
}

/// Installs what is missing with apt-get; elsewhere fails with the list.
pub fn run() -> anyhow::Result<()> {
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| !is_there(need)).collect();
    if missing.is_empty() {
        eprintln!("setup: everything is there ({} programs)", NEEDS.len());
        return Ok(());
    }
    for need in &missing {
        eprintln!(
            "setup: `{}` is missing, needed to {} (package {})",
            need.program, need.why, need.package
        );
    }
    let packages = packages(&missing);
    if shell::find("apt-get").is_none() {
        bail!(
            "this is no Debian or Ubuntu: install what they call {} and start again",
            packages.join(", ")
        );
    }
    install(&packages)?;
    match NEEDS.iter().find(|need| !is_there(need)) {
        Some(need) => bail!(
            "`{}` is still missing after installing `{}`",
            need.program,
            need.package
        ),
        None => Ok(()),
    }
}

fn is_there(need: &Need) -> bool {
    shell::find(need.program).is_some()
}

fn packages(missing: &[&Need]) -> Vec<&'static str> {
    let mut packages: Vec<_> = missing.iter().map(|need| need.package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn install(packages: &[&str]) -> anyhow::Result<()> {
    eprintln!("setup: installing {}", packages.join(", "));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/install.sh");
    shell::run(shell::as_root("sh")?.arg(script).args(packages))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_package_is_installed_once() {
        let missing: Vec<&Need> = NEEDS.iter().collect();
        let packages = packages(&missing);
        assert_eq!(packages.iter().filter(|p| **p == "iproute2").count(), 1);
        assert!(packages.is_sorted());
    }
}
