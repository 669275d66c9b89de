//! What NAT boxes cost: to certify them, and to send through them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fleet::{Host, Reach};
use futures::future::try_join_all;
use miette::{IntoDiagnostic, WrapErr, bail};
use model::family::Family;
use model::inventory::{Node, NodeName};
use model::nat::Behaviour;

use super::ground::{Ground, saorsa};
use super::{figure, median};
use crate::exit::Infrastructure;
use crate::nat::{Plan, certify, prober};
use crate::project::Project;

const ROUNDS: usize = 3;

/// Ratios of throughput scatter where busy threads share few cores.
const TCP_ROUNDS: usize = 5;

const SOON: Duration = Duration::from_secs(30);

pub fn run() -> miette::Result<()> {
    let runtime = tokio::runtime::Runtime::new().into_diagnostic()?;
    let four = Ground::boot(&saorsa()?)?;
    figure(
        "certifying four NAT boxes",
        runtime.block_on(certified(&four))?,
    );
    let share = runtime.block_on(tcp_through_a_box(&four))?;
    drop(four);
    figure("TCP through a NAT box, of the path without", share);
    let nine = Ground::boot(&all_nine())?;
    figure(
        "certifying all nine behaviours",
        runtime.block_on(certified(&nine))?,
    );
    Ok(())
}

/// Two public hosts, and one behind each behaviour; 20 ms from host to host.
fn all_nine() -> String {
    let boxed = Behaviour::ALL.iter().enumerate().map(|(index, behaviour)| {
        format!(
            "  - {{ name: nat-{index}, addresses: [192.0.2.{}], role: nat, nat: {{ behaviour: {behaviour} }} }}\n",
            10 + index
        )
    });
    format!(
        "fleet: nine\nwan: {{ constant_ms: 20 }}\nnodes:\n  \
         - {{ name: meet-1, addresses: [192.0.2.1], role: bootstrap }}\n  \
         - {{ name: meet-2, addresses: [192.0.2.2], role: bootstrap }}\n{}",
        boxed.collect::<String>()
    )
}

/// Seconds from no session at all to certificates; boxes are up, and nothing that
/// measures them is.
async fn certified(ground: &Ground) -> miette::Result<f64> {
    let fleet = ground.twin.relocated();
    let reach = Reach {
        ssh_config: Some(ground.ssh_config()),
        control_dir: None,
        connect_timeout: SOON,
    };
    let prober = prober(&Project::find()?)?;
    let boxed: Vec<&Node> = fleet.nodes.iter().filter(|n| n.nat.is_some()).collect();
    let bootstrap: Vec<NodeName> = fleet
        .nodes
        .iter()
        .filter(|n| n.role == model::inventory::Role::Bootstrap)
        .map(|n| n.name.clone())
        .collect();
    let plan = Plan {
        family: Family::Ipv4,
        timeouts: false,
        stun: None,
    };
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let hosts = try_join_all(fleet.nodes.iter().map(|node| Host::connect(&reach, node)))
            .await
            .map_err(|e| Infrastructure::from_error(&e))?;
        let cleaned = hosts.iter().map(|host| host.clean(&prober.install_path));
        try_join_all(cleaned)
            .await
            .map_err(|e| Infrastructure::from_error(&e))?;
        let boxes = hosts.iter().filter_map(|host| {
            let nat_box = engine::nat::boxed(host.node.nat.as_ref()?.spec);
            Some(async move { host.apply_nat(&nat_box).await })
        });
        try_join_all(boxes)
            .await
            .map_err(|e| Infrastructure::from_error(&e))?;
        drop(hosts);
        let began = Instant::now();
        let outcomes = certify(&prober, &reach, &fleet, &boxed, &bootstrap, &plan).await?;
        times.push(began.elapsed().as_secs_f64());
        for (node, outcome) in outcomes {
            if let Some(mismatch) = outcome?.mismatch() {
                bail!("{node}: {mismatch}");
            }
        }
        eprintln!(
            "nat: {} boxes in {:.2} s",
            boxed.len(),
            times[times.len() - 1]
        );
    }
    Ok(median(times))
}

/// Percent of the throughput that the same host has beside its box.
async fn tcp_through_a_box(ground: &Ground) -> miette::Result<f64> {
    let hosts = ground.connect(usize::MAX).await?;
    let find = |boxed: bool| {
        let mut all = hosts.iter();
        all.find(|host| host.node.nat.is_some() == boxed)
            .map(Arc::clone)
            .ok_or_else(|| miette::miette!("the fleet has no such host"))
    };
    let (client, server) = (find(true)?, find(false)?);
    let to = ground.twin.relocated();
    let to = to.node(server.name()).map(Node::address);
    let to = to.ok_or_else(|| miette::miette!("the server has no address"))?;
    server
        .script_ok("iperf3 -s -D >/dev/null", None, SOON)
        .await
        .map_err(|e| Infrastructure::from_error(&e))?;
    let mut shares = Vec::new();
    for _ in 0..TCP_ROUNDS {
        let without = gbit_s(&client, &format!("iperf3 -c {to} -t 3 -O 1 -J")).await?;
        let through = format!("ip netns exec natbox iperf3 -c {to} -t 3 -O 1 -J");
        let through = gbit_s(&client, &through).await?;
        eprintln!("nat: TCP {through:.1} Gbit/s through the box, {without:.1} without");
        shares.push(through / without * 100.0);
    }
    Ok(median(shares))
}

async fn gbit_s(host: &Host, command: &str) -> miette::Result<f64> {
    let said = host
        .script_ok(command, None, SOON)
        .await
        .map_err(|e| Infrastructure::from_error(&e))?;
    let report: serde_json::Value = serde_json::from_str(&said)
        .into_diagnostic()
        .wrap_err("iperf3 does not report in JSON")?;
    match report["end"]["sum_received"]["bits_per_second"].as_f64() {
        Some(bits) => Ok(bits / 1e9),
        None => bail!("iperf3 failed: {}", report["error"]),
    }
}
