//! The one way into a twin: an ssh_config in which every name and address of the
//! inventory leads to its host, and nothing leads outside.

use std::fmt::Write;
use std::path::Path;

use model::inventory::{Fleet, Node};

use crate::run_dir::RunDir;

/// `program` is what ssh runs to get a connection: this program.
pub fn render(run_dir: &RunDir, fleet: &Fleet, program: &Path) -> String {
    let mut out = format!(
        "# The twin `{}`. Made by `vps-test lab up`; gone with `lab down`.\n\n",
        run_dir.name()
    );
    for node in &fleet.nodes {
        host(&mut out, run_dir, node, program);
    }
    let _ = write!(
        out,
        "Host *\n  ProxyCommand sh -c 'echo \"%h is not a host of the twin {}\" >&2; exit 1'\n",
        run_dir.name()
    );
    out
}

fn host(out: &mut String, run_dir: &RunDir, node: &Node, program: &Path) {
    let addresses: Vec<_> = node.addresses.iter().map(ToString::to_string).collect();
    let mut names = vec![node.name.to_string(), node.hostname.clone()];
    names.extend(addresses);
    names.dedup();
    let _ = write!(
        out,
        "Host {names}\n  HostName {name}\n  HostKeyAlias {name}\n  User {user}\n  Port {port}\n  \
         IdentityFile {identity}\n  IdentitiesOnly yes\n  UserKnownHostsFile {known_hosts}\n  GlobalKnownHostsFile none\n  \
         StrictHostKeyChecking yes\n  CanonicalizeHostname no\n  Ciphers aes128-gcm@openssh.com\n  KexAlgorithms curve25519-sha256\n  Compression no\n  \
         ProxyUseFdpass yes\n  ProxyCommand {program} lab connect --name {twin} {name} %p\n\n",
        names = names.join(" "),
        name = node.name,
        user = node.ssh.user,
        port = node.ssh.port,
        identity = run_dir.identity().display(),
        known_hosts = run_dir.known_hosts().display(),
        program = program.display(),
        twin = run_dir.name(),
    );
}
