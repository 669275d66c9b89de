//! TCP from host to host, beside TCP across a bare veth pair in the same minute.

use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lab::{LabError, Namespace};
use miette::{IntoDiagnostic, WrapErr, bail};

use super::{boot, median, two_hosts};

/// More than of other figures: where three busy threads share two cores, and those
/// with other programs, single ratios scatter by half.
const ROUNDS: usize = 7;

/// Long enough for slow start to be over and forgotten.
const SECONDS: &str = "2";

/// Percent of the veth pair's throughput.
pub fn measure() -> miette::Result<f64> {
    let (twin, _guard) = boot(&two_hosts(0.0))?;
    let fleet = twin.relocated();
    let through_wan = Link {
        client: twin.namespace("sender")?,
        server: twin.namespace("receiver")?,
        address: fleet.nodes[1].address(),
    };
    let (veth, _holder) = veth_pair()?;
    let mut shares = Vec::new();
    for _ in 0..ROUNDS {
        let (bare, wan) = (veth.gbit_s()?, through_wan.gbit_s()?);
        eprintln!("TCP: veth pair {bare:.1} Gbit/s, through the WAN {wan:.1} Gbit/s");
        shares.push(wan / bare * 100.0);
    }
    Ok(median(shares))
}

struct Link {
    client: Namespace,
    server: Namespace,
    address: IpAddr,
}

impl Link {
    fn gbit_s(&self) -> miette::Result<f64> {
        let _server = Killed(spawn(&self.server, "iperf3", &["-s"])?);
        std::thread::sleep(Duration::from_millis(300));
        let address = self.address.to_string();
        let client = spawn(
            &self.client,
            "iperf3",
            &["-c", &address, "-t", SECONDS, "-J"],
        )?;
        let output = client.wait_with_output().into_diagnostic()?;
        let report: serde_json::Value = serde_json::from_slice(&output.stdout)
            .into_diagnostic()
            .wrap_err("iperf3 does not report in JSON")?;
        match report["end"]["sum_received"]["bits_per_second"].as_f64() {
            Some(bits) => Ok(bits / 1e9),
            None => bail!("iperf3 failed: {}", report["error"]),
        }
    }
}

/// Two namespaces and a cable. The process holds the second one while `ip` names it.
fn veth_pair() -> miette::Result<(Link, Killed)> {
    let link = Link {
        client: Namespace::create()?,
        server: Namespace::create()?,
        address: IpAddr::from([192, 168, 0, 2]),
    };
    let holder = Killed(spawn(&link.server, "sleep", &["300"])?);
    let peer = holder.0.id().to_string();
    let add = [
        "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", &peer,
    ];
    run(&link.client, &add)?;
    for (namespace, address) in [
        (&link.client, "192.168.0.1/24"),
        (&link.server, "192.168.0.2/24"),
    ] {
        run(namespace, &["address", "add", address, "dev", "eth0"])?;
        run(namespace, &["link", "set", "eth0", "up"])?;
    }
    Ok((link, holder))
}

fn run(namespace: &Namespace, args: &[&str]) -> miette::Result<()> {
    let output = spawn(namespace, "ip", args)?
        .wait_with_output()
        .into_diagnostic()?;
    if !output.status.success() {
        bail!("`ip {}` failed", args.join(" "));
    }
    Ok(())
}

fn spawn(namespace: &Namespace, program: &str, args: &[&str]) -> Result<Child, LabError> {
    namespace.run(|| {
        Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|source| LabError::System {
                action: format!("start {program} (`cargo xtask setup` installs it)"),
                source,
            })
    })
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
