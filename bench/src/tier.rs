//! The tier's side: the SDK, as an application uses it.

use std::time::Duration;

use anyhow::Result;
use futures_util::StreamExt;
use futures_util::stream;
use rand::Rng;
use tao_client::{BatchReply, Client, ErrorCode};

use crate::closed_loop;
use crate::report::Figures;
use crate::workload::Space;

/// An association type without inverse.
const ASSOC: &str = "has_comment";

/// Durable `assoc_add` of random edges.
///
/// # Errors
/// A call fails.
pub async fn write(
    client: &Client,
    callers: usize,
    time: Duration,
    space: Space,
    seed: u64,
) -> Result<Figures> {
    let clients = vec![client.clone(); callers];
    closed_loop::run(
        "tier, assoc_add without inverse",
        clients,
        time,
        seed,
        move |client, mut random| async move {
            let (id1, id2) = (space.any(&mut random), space.any(&mut random));
            client.assoc_add(id1, ASSOC, id2).time(random.random()).send().await?;
            Ok((client, random, 1))
        },
    )
    .await
}

/// Makes the objects, 100 bytes each, and reads each once, so that it is in memory.
///
/// # Errors
/// A call fails.
pub async fn warm(client: &Client, space: Space) -> Result<()> {
    let name = "n".repeat(100);
    let made = stream::iter(0..space.objects).map(|number| {
        let (id, name) = (space.object(number), name.clone());
        async move {
            match client.object_add("user").id(id).set("name", name).send().await {
                Err(error) if error.code == ErrorCode::PreconditionFailed => {} // made by an earlier run
                other => drop(other?),
            }
            anyhow::ensure!(client.object_get(id).send().await?.is_some(), "object {id} is not there");
            Ok(())
        }
    });
    let mut done = made.buffer_unordered(256);
    while let Some(outcome) = done.next().await {
        outcome?;
    }
    Ok(())
}

/// Reads random objects, `batch` in each call.
///
/// # Errors
/// A call fails, or an object is not there.
pub async fn read(
    client: &Client,
    callers: usize,
    batch: usize,
    time: Duration,
    space: Space,
    seed: u64,
) -> Result<Figures> {
    let clients = vec![client.clone(); callers];
    let work = format!("tier, object_get that hits, batch {batch}");
    closed_loop::run(&work, clients, time, seed, move |client, mut random| async move {
        if batch == 1 {
            let found = client.object_get(space.any(&mut random)).send().await?;
            anyhow::ensure!(found.is_some(), "an object is not there");
        } else {
            let mut calls = client.batch();
            for _ in 0..batch {
                calls.add(client.object_get(space.any(&mut random)));
            }
            for reply in calls.send().await {
                anyhow::ensure!(matches!(reply?, BatchReply::Object(Some(_))), "an object is not there");
            }
        }
        Ok((client, random, batch as u64))
    })
    .await
}
