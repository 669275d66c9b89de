//! Files written to an entity's disks and read back.

use agent::Notes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::protocol::{Failure, Perform, Performed};
use rand::RngCore;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::time::Instant;

use super::performed;
use crate::client::Client;

const DISKS: &[&str] = &["private", "public", "shared"];

pub async fn round_trip(call: &Perform) -> Result<Performed, Failure> {
    let sizes = call.params["bytes"].as_array().cloned().unwrap_or_default();
    let sizes: Vec<u64> = sizes.iter().filter_map(serde_json::Value::as_u64).collect();
    let mut notes = Notes::default();
    let client = match Client::start().await? {
        Ok(client) => client,
        Err(why) => {
            notes.trial::<()>("files_kept", &[], Err(why));
            return Ok(performed(notes));
        }
    };
    let entity = entity(&client).await;
    for size in sizes {
        let bytes = size.to_string();
        for disk in DISKS {
            let began = Instant::now();
            let outcome = match &entity {
                Ok(entity) => there_and_back(&client, entity, disk, size).await,
                Err(why) => Err(why.clone()),
            };
            let kept = notes.trial("files_kept", &[("bytes", &bytes)], outcome);
            if kept.is_some() {
                notes.sample("file_ms", &[], agent::millis_since(began));
            }
        }
    }
    client.stop().await;
    Ok(performed(notes))
}

async fn entity(client: &Client) -> Result<String, String> {
    let arguments = json!({ "name": "files", "entity_type": "group" });
    let made = client.call("create_entity", arguments).await?;
    let id = made["id"]
        .as_str()
        .ok_or(format!("create_entity: no id in {made}"))?;
    Ok(id.to_owned())
}

/// Random bytes, so that nothing but what was written can have this digest.
async fn there_and_back(
    client: &Client,
    entity: &str,
    disk: &str,
    size: u64,
) -> Result<(), String> {
    let mut content = vec![0; usize::try_from(size).unwrap_or(0)];
    rand::rng().fill_bytes(&mut content);
    let path = format!("/{:016x}.bin", rand::random::<u64>());
    let place = json!({ "entity_id": entity, "disk_type": disk, "path": path });
    let mut written = place.clone();
    written["content"] = STANDARD.encode(&content).into();
    client.call("write_file", written).await?;
    let read = client.call("read_file", place).await?;
    let text = read["content"].as_str().ok_or("read_file: no content")?;
    let back = STANDARD
        .decode(text)
        .map_err(|e| format!("read_file: {e}"))?;
    if Sha256::digest(&back) == Sha256::digest(&content) {
        return Ok(());
    }
    Err(format!(
        "{disk}: {size} bytes were written and {} other ones came back",
        back.len()
    ))
}
