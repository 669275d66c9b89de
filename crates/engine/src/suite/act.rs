//! What a suite does to the nodes themselves, and to the network between them. On
//! the hosts, with the same commands wherever they are.

use std::net::IpAddr;
use std::time::Duration;

use fleet::FleetError;
use futures::future::try_join_all;
use model::inventory::NodeName;
use model::suite::Act;

use crate::agent::AgentError;
use crate::steps::StepError;
use crate::suite::context::Context;
use crate::tester::Tester;

const COMMAND: Duration = Duration::from_secs(20);

/// These keep each other; all others, coordinators included, are out of reach.
pub async fn cut_off(context: &Context<'_>, nodes: &[NodeName]) -> Result<(), StepError> {
    let fleet = context.settings.fleet.nodes.iter();
    let others: Vec<IpAddr> = fleet
        .filter(|node| !nodes.contains(&node.name))
        .flat_map(fleet::outer_addresses)
        .collect();
    let cuts = testers(context, nodes).map(|(_, tester)| tester.host.cut_off(&others));
    try_join_all(cuts).await.map(drop).map_err(|error| {
        StepError::Infrastructure(format!(
            "cannot cut nodes off: {}",
            crate::error_chain(&error)
        ))
    })
}

pub async fn rejoin(context: &Context<'_>, nodes: &[NodeName]) -> Result<(), StepError> {
    let joined = testers(context, nodes).map(|(_, tester)| tester.host.rejoin());
    try_join_all(joined).await.map(drop).map_err(|error| {
        StepError::Infrastructure(format!(
            "cannot rejoin nodes: {}",
            crate::error_chain(&error)
        ))
    })
}

/// Ends the testers' processes, and says which of them answer again. A host that does
/// not do it is no failure of a tester.
pub async fn end_testers(
    context: &Context<'_>,
    act: Act,
    nodes: &[NodeName],
) -> Result<Vec<(NodeName, Result<(), AgentError>)>, StepError> {
    let ended = testers(context, nodes).map(|(node, tester)| async move {
        let unit = tester.unit.as_str();
        let command: &[&str] = match act {
            Act::Restart => &["systemctl", "restart", unit],
            _ => &["systemctl", "kill", "--signal=SIGKILL", unit],
        };
        tester.host.run(command, COMMAND).await?;
        Ok((node.clone(), tester.restarted().await))
    });
    try_join_all(ended).await.map_err(|error: FleetError| {
        let why = crate::error_chain(&error);
        StepError::Infrastructure(format!("cannot end testers: {why}"))
    })
}

fn testers<'a>(
    context: &'a Context<'_>,
    nodes: &'a [NodeName],
) -> impl Iterator<Item = (&'a NodeName, &'a Tester)> {
    nodes
        .iter()
        .filter_map(|node| Some((node, context.testers.first_of(node)?)))
}
