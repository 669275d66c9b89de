//! One node of an inventory, read and checked.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_saphyr::Spanned;

use super::{RawDefaults, RawNat, RawNode, RawSsh, Reader};
use crate::inventory::{
    Emulation, MOST_PEERS, Node, NodeName, NodeNat, Port, Role, Ssh, Transport,
};
use crate::problem::did_you_mean;

impl Reader<'_> {
    pub(super) fn node(&mut self, raw: RawNode, defaults: &RawDefaults, places: &[String]) -> Node {
        self.name(&raw.name);
        if raw.addresses.value.is_empty() {
            self.wrong(
                &raw.addresses,
                format!("{} has no address", raw.name.value),
                "list at least one IP address",
            );
        }
        let role = self.role(&raw.role);
        let nat = raw.nat.map(|nat| self.nat(&nat));
        if role == Role::Nat && nat.is_none() {
            self.wrong(
                &raw.role,
                format!("{} has `role: nat` and no `nat`", raw.name.value),
                "say which NAT it is behind, or give it another role",
            );
        }
        if matches!(role, Role::Bootstrap | Role::Registry) && nat.is_some() {
            self.wrong(
                &raw.role,
                format!(
                    "{} has to be reached by everybody and is behind a NAT",
                    raw.name.value
                ),
                "make it public, or give it `role: nat`",
            );
        }
        self.region(&raw.region, places);
        let addresses = raw
            .addresses
            .value
            .iter()
            .filter_map(|a| self.address(a))
            .collect();
        let mut ports = self.ports(&defaults.ports);
        ports.extend(self.ports(&raw.ports));
        if let Some(peers) = &raw.peers {
            self.peers(peers);
        }
        Node {
            hostname: raw
                .hostname
                .map_or_else(|| raw.name.value.clone(), |h| h.value),
            name: NodeName::new(raw.name.value),
            addresses,
            provider: raw.provider,
            region: raw.region.value,
            role,
            nat,
            peers: raw.peers.map(|peers| peers.value),
            services: raw.services,
            ports,
            ssh: ssh(raw.ssh, defaults.ssh.clone()),
            note: raw.note,
        }
    }

    fn name(&mut self, name: &Spanned<String>) {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let value = &name.value;
        if value.is_empty()
            || value.len() > 63
            || !value.chars().all(fits)
            || value.starts_with('-')
        {
            self.wrong(
                name,
                format!("`{value}` is not a node name"),
                "use a-z, 0-9 and `-`, at most 63 characters, not starting with `-`",
            );
        }
    }

    fn peers(&mut self, peers: &Spanned<u16>) {
        if !(1..=MOST_PEERS).contains(&peers.value) {
            self.wrong(
                peers,
                format!("a node cannot have {} peers", peers.value),
                &format!("give a number from 1 to {MOST_PEERS}; `deploy.nodes` of the config leaves nodes out"),
            );
        }
    }

    fn role(&mut self, role: &Spanned<String>) -> Role {
        const ROLES: [(&str, Role); 4] = [
            ("registry", Role::Registry),
            ("bootstrap", Role::Bootstrap),
            ("nat", Role::Nat),
            ("test", Role::Test),
        ];
        self.choice(role, "role", &ROLES).unwrap_or(Role::Test)
    }

    fn nat(&mut self, nat: &Spanned<RawNat>) -> NodeNat {
        let raw = &nat.value;
        const EMULATIONS: [(&str, Emulation); 2] =
            [("docker", Emulation::Docker), ("netns", Emulation::Netns)];
        let emulation = raw
            .emulation
            .as_ref()
            .and_then(|e| self.choice(e, "emulation", &EMULATIONS));
        if let Some(percent) = raw
            .expected_success
            .as_ref()
            .filter(|p| !(0.0..=100.0).contains(&p.value))
        {
            self.wrong(
                percent,
                format!("{} is not a percentage", percent.value),
                "give a number from 0 to 100",
            );
        }
        NodeNat {
            spec: self.spec(nat),
            emulation: emulation.unwrap_or(Emulation::Netns),
            emulated_by: raw.emulated_by.clone(),
            difficulty: raw.difficulty.clone(),
            expected_success: raw.expected_success.as_ref().map(|p| p.value),
        }
    }

    fn region(&mut self, region: &Spanned<String>, places: &[String]) {
        if places.is_empty() || region.value.is_empty() || places.contains(&region.value) {
            return;
        }
        let near = did_you_mean(&region.value, places.iter().map(String::as_str));
        let help = near.map_or(
            "add it to `regions` with latitude and longitude".into(),
            |n| format!("did you mean `{n}`?"),
        );
        self.wrong(
            region,
            format!("region `{}` is not in `regions`", region.value),
            &help,
        );
    }

    fn address(&mut self, address: &Spanned<String>) -> Option<IpAddr> {
        let parsed = address.value.parse().ok();
        if parsed.is_none() {
            self.wrong(
                address,
                format!("`{}` is not an IP address", address.value),
                "names go into `hostname`, addresses are numbers such as 192.0.2.7",
            );
        }
        parsed
    }

    fn ports(&mut self, raw: &BTreeMap<String, Spanned<String>>) -> BTreeMap<String, Port> {
        raw.iter()
            .filter_map(|(service, port)| Some((service.clone(), self.port(port)?)))
            .collect()
    }

    fn port(&mut self, raw: &Spanned<String>) -> Option<Port> {
        let parsed = raw.value.split_once('/').and_then(|(number, transport)| {
            let transport = match transport {
                "tcp" => Transport::Tcp,
                "udp" => Transport::Udp,
                _ => return None,
            };
            Some(Port {
                number: number.parse().ok()?,
                transport,
            })
        });
        if parsed.is_none() {
            self.wrong(
                raw,
                format!("`{}` is not a port", raw.value),
                "write NUMBER/udp or NUMBER/tcp, such as 9000/udp",
            );
        }
        parsed
    }
}

fn ssh(own: Option<RawSsh>, default: Option<RawSsh>) -> Ssh {
    let pick = |ssh: &Option<RawSsh>| {
        (
            ssh.as_ref().and_then(|s| s.user.clone()),
            ssh.as_ref().and_then(|s| s.port),
        )
    };
    let ((user, port), (default_user, default_port)) = (pick(&own), pick(&default));
    Ssh {
        user: user.or(default_user).unwrap_or_else(|| "root".into()),
        port: port.or(default_port).unwrap_or(22),
    }
}
