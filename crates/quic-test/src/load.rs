//! The suite `throughput` over the stack's own byte streams.

use std::time::Duration;

use agent::load::{Came, Inflow, Step, cpu_ms_since, cpu_time, receive, said, send};
use ant_quic::{P2pEndpoint, PeerId};
use futures::future::try_join_all;
use model::load::{Packets, Receive, Send, Sent};
use model::protocol::{Failure, Perform, Performed, Reason};

use crate::attempt::Attempt;

pub async fn perform(attempt: &Attempt, call: &Perform) -> Result<Performed, Failure> {
    let limit = Duration::from_millis(call.timeout_ms);
    match Step::read(call)? {
        Step::Receive(asked) => {
            let endpoint = attempt.node.endpoint.clone();
            attempt.incoming.put(Inflow::begin(accept(endpoint, asked)));
            Ok(Performed::default())
        }
        Step::Received => Ok(said(&attempt.incoming.end(limit).await?)),
        Step::Send(asked) => tokio::time::timeout(limit, push(attempt, asked))
            .await
            .map_err(|_| {
                let detail = format!("the receiver did not confirm all streams within {limit:?}");
                Failure::new(Reason::Timeout, detail)
            })?
            .map(|sent| said(&sent)),
    }
}

async fn accept(endpoint: P2pEndpoint, asked: Receive) -> Result<Vec<Came>, String> {
    let mut reading = Vec::new();
    for _ in 0..asked.streams {
        let (_, writer, reader) = endpoint.accept_bi().await.map_err(|e| e.to_string())?;
        // Each has to be read while the next one is awaited.
        reading.push(tokio::spawn(receive(reader, writer)));
    }
    let came = try_join_all(reading).await.map_err(|e| e.to_string())?;
    came.into_iter()
        .map(|came| came.map_err(|error| error.to_string()))
        .collect()
}

async fn push(attempt: &Attempt, asked: Send) -> Result<Sent, Failure> {
    let endpoint = &attempt.node.endpoint;
    let peer = attempt
        .peer()
        .ok_or_else(|| Failure::new(Reason::BadRequest, "there is no connection to send on"))?;
    let (cpu, before) = (cpu_time(), packets(endpoint, &peer).await);
    let sending = asked.seeds.iter().map(|seed| async {
        let (writer, reader) = endpoint.open_bi(&peer).await.map_err(|e| e.to_string())?;
        send(reader, writer, seed, asked.seconds)
            .await
            .map_err(|error| error.to_string())
    });
    try_join_all(sending)
        .await
        .map_err(|error| Failure::new(Reason::Closed, error))?;
    let after = packets(endpoint, &peer).await;
    Ok(Sent {
        cpu_ms: cpu_ms_since(cpu),
        packets: before.zip(after).and_then(|(before, after)| {
            // A connection that was replaced meanwhile counts anew.
            Some(Packets {
                sent: after.sent.checked_sub(before.sent)?,
                lost: after.lost.checked_sub(before.lost)?,
            })
        }),
    })
}

async fn packets(endpoint: &P2pEndpoint, peer: &PeerId) -> Option<Packets> {
    let stats = endpoint.connection_transport_stats(peer).await?;
    Some(Packets {
        sent: stats.sent_packets,
        lost: stats.lost_packets,
    })
}
