//! Hosts on one bridge, some of them behind a router of their own.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use model::nat::NatSpec;

use crate::nat;

static NETS: AtomicU32 = AtomicU32::new(0);

/// A bridge on 198.18.0.0/24 and the hosts on it, in namespaces named `vtt…`.
pub struct Net {
    prefix: String,
    namespaces: Vec<String>,
    hosts: u8,
}

/// One namespace with one address.
#[derive(Debug, Clone)]
pub struct Host {
    pub namespace: String,
    /// What its own services bind.
    pub address: IpAddr,
    /// What the others see.
    pub outer: IpAddr,
}

impl Host {
    /// A command that runs on this host.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, program]);
        command
    }

    /// From now on this share of what comes in is lost.
    pub fn lose(&self, percent: u8) {
        let rules = format!(
            "table ip loss {{
                chain input {{
                    type filter hook input priority raw;
                    iifname != lo numgen random mod 100 < {percent} drop;
                }}
            }}"
        );
        run(self.command("nft").arg(rules));
    }

    pub fn is_public(&self) -> bool {
        self.address == self.outer
    }
}

impl Default for Net {
    fn default() -> Self {
        Self::new()
    }
}

impl Net {
    pub fn new() -> Self {
        let count = NETS.fetch_add(1, Ordering::Relaxed);
        let mut net = Self {
            prefix: format!("vtt{}x{count}", std::process::id()),
            namespaces: Vec::new(),
            hosts: 0,
        };
        let wan = net.namespace("wan");
        ip(&format!("-n {wan} link add br0 type bridge"));
        ip(&format!("-n {wan} link set br0 up"));
        net
    }

    /// A host that everybody reaches at its own address.
    pub fn public(&mut self, name: &str) -> Host {
        let namespace = self.namespace(name);
        let address = self.join_bridge(&namespace, "eth0");
        Host {
            namespace,
            address: address.into(),
            outer: address.into(),
        }
    }

    /// A host behind a router that translates.
    pub fn behind(&mut self, name: &str, nat: impl Into<NatSpec>) -> Host {
        self.all_behind(&[name], nat).remove(0)
    }

    /// Several hosts behind one such router.
    pub fn all_behind(&mut self, names: &[&str], nat: impl Into<NatSpec>) -> Vec<Host> {
        let router = self.namespace(&format!("{}-nat", names[0]));
        let outer = self.join_bridge(&router, "wan0");
        ip(&format!("-n {router} link add lan0 type bridge"));
        ip(&format!("-n {router} addr add 10.9.0.1/24 dev lan0"));
        ip(&format!("-n {router} link set lan0 up"));
        let hosts = names
            .iter()
            .zip(2..)
            .map(|(name, last)| {
                let namespace = self.namespace(name);
                let (port, address) = (format!("lan{last}"), Ipv4Addr::new(10, 9, 0, last));
                ip(&format!(
                    "-n {namespace} link add eth0 type veth peer name {port} netns {router}"
                ));
                ip(&format!("-n {router} link set {port} master lan0 up"));
                ip(&format!("-n {namespace} addr add {address}/24 dev eth0"));
                ip(&format!("-n {namespace} link set eth0 up"));
                ip(&format!("-n {namespace} route add default via 10.9.0.1"));
                Host {
                    namespace,
                    address: address.into(),
                    outer: outer.into(),
                }
            })
            .collect();
        nat::set(nat.into(), &router, outer);
        hosts
    }

    fn namespace(&mut self, name: &str) -> String {
        let namespace = format!("{}-{name}", self.prefix);
        ip(&format!("netns add {namespace}"));
        self.namespaces.push(namespace.clone());
        ip(&format!("-n {namespace} link set lo up"));
        namespace
    }

    fn join_bridge(&mut self, namespace: &str, interface: &str) -> Ipv4Addr {
        self.hosts += 1;
        let (wan, port) = (format!("{}-wan", self.prefix), format!("p{}", self.hosts));
        let address = Ipv4Addr::new(198, 18, 0, self.hosts);
        ip(&format!(
            "-n {namespace} link add {interface} type veth peer name {port} netns {wan}"
        ));
        ip(&format!("-n {wan} link set {port} master br0 up"));
        ip(&format!(
            "-n {namespace} addr add {address}/24 dev {interface}"
        ));
        ip(&format!("-n {namespace} link set {interface} up"));
        address
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            // Whatever cannot be removed was never there.
            let _ = Command::new("ip")
                .args(["netns", "del", namespace])
                .status();
        }
    }
}

fn ip(line: &str) {
    run(Command::new("ip").args(line.split(' ')));
}

/// Runs a command that must succeed.
pub(crate) fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed; these tests need root, iproute2 and nftables: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
