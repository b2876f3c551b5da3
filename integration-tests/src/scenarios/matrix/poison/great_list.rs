//! A list that is longer than any query returns, and values that tools like to trip over.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use tao_client::SessionClient;
use tao_schema::ids::{ObjectId, ObjectType};
use tao_schema::limits::{MAX_ATOMIC_OPS, MAX_QUERY_LIMIT};

use super::{Ground, Outcome};
use crate::history::Invariant;

/// Edges of the list. [`EDGES_VARIABLE`] in the environment asks for another number, up to a million.
const EDGES: u32 = 20_000;
/// Name of the variable.
pub const EDGES_VARIABLE: &str = "TAO_GREAT_LIST_EDGES";
/// The list's owners have numbers from here on: no user has them.
const OWNERS: u32 = 3_000_000;
/// Nobody else writes this list, and the store is not idle.
const PATIENCE: Duration = Duration::from_secs(20);
/// Writes that are under way at once.
const AT_ONCE: usize = 4;
/// Texts that are hard to store, to compare or to print.
const TEXTS: [&str; 5] = [
    "\0",
    "a\0b\0",
    "\u{1F980}\u{1D54F}\u{10FFFF}",
    "'; -- \\ \" ` % _",
    "\u{FEFF}\u{202E}\u{0301}\r\n\t\u{7F}",
];

pub(super) async fn give(ground: &Ground<'_>) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let edges = std::env::var(EDGES_VARIABLE).ok().and_then(|text| text.parse().ok()).unwrap_or(EDGES);
    let edges = edges.min(1_000_000);
    let shards = ground.cluster.shards();
    let owner = ObjectId::named(ObjectType(2), OWNERS + ground.number, shards);
    let session = ground.doors.first().context("a region")?.client.session();
    texts(&session, owner, &mut outcome).await?;
    let ends: Vec<ObjectId> =
        (0..edges).map(|number| ObjectId::named(ObjectType(3), number, shards)).collect();
    write(&session, owner, &ends, true).await?;
    outcome.injected += u64::from(edges);
    for door in ground.doors {
        let session = door.client.resume_session(&session.export())?;
        compare(&session, owner, &ends, &door.region, &mut outcome).await?;
    }
    // Taken away again, so that the cluster is as it was: and a great list that shrinks is one more thing to get right.
    write(&session, owner, &ends, false).await?;
    for door in ground.doors {
        let session = door.client.resume_session(&session.export())?;
        compare(&session, owner, &[], &door.region, &mut outcome).await?;
    }
    Ok(outcome)
}

/// Texts come back as they were, in both regions.
async fn texts(session: &SessionClient, owner: ObjectId, outcome: &mut Outcome) -> Result<()> {
    session.object_add("post").id(owner).timeout(PATIENCE).send().await?;
    for text in TEXTS {
        let written = session.object_update(owner, "post").set("text", text).timeout(PATIENCE).send().await;
        written.with_context(|| format!("write {text:?}"))?;
        let read =
            session.object_get(owner).timeout(PATIENCE).send().await?.context("it was just written")?;
        if read.text("text")? != text {
            let found = read.text("text")?;
            outcome.wrong(Invariant::I2, format!("{owner}: {text:?} was written and {found:?} was read"));
        }
        outcome.injected += 1;
    }
    outcome.checked.push((Invariant::I2, TEXTS.len() as u64));
    Ok(())
}

/// Adds or deletes the edges, as many in one transaction as may be.
async fn write(session: &SessionClient, owner: ObjectId, ends: &[ObjectId], add: bool) -> Result<()> {
    let writes = ends.chunks(MAX_ATOMIC_OPS).map(|batch| async move {
        let mut write = session.atomic();
        for (number, end) in (1..).zip(batch) {
            if add {
                write.add(session.assoc_add(owner, "has_comment", *end).time(number));
            } else {
                write.add(session.assoc_delete(owner, "has_comment", *end));
            }
        }
        write.timeout(PATIENCE).send().await
    });
    let mut under_way = futures_util::stream::iter(writes).buffer_unordered(AT_ONCE);
    while let Some(written) = under_way.next().await {
        written.context("a part of a great list")?;
    }
    Ok(())
}

/// The count, and the whole list page by page, are what was written.
async fn compare(
    session: &SessionClient,
    owner: ObjectId,
    ends: &[ObjectId],
    region: &str,
    outcome: &mut Outcome,
) -> Result<()> {
    let count = session.assoc_count(owner, "has_comment").timeout(PATIENCE).send().await?.count;
    let mut found = BTreeSet::new();
    let mut twice = 0;
    loop {
        let pos = found.len() as u32 + twice;
        let call = session.assoc_range(owner, "has_comment").pos(pos).limit(MAX_QUERY_LIMIT);
        let page = call.timeout(PATIENCE).send().await?;
        if page.is_empty() {
            break;
        }
        twice += page.ids().filter(|id| !found.insert(*id)).count() as u32;
    }
    let wanted: BTreeSet<ObjectId> = ends.iter().copied().collect();
    if count != wanted.len() as u64 || found != wanted || twice != 0 {
        let (length, should) = (found.len(), wanted.len());
        outcome.wrong(
            Invariant::I6,
            format!(
                "{owner} in {region}: count {count}, {length} edges and {twice} twice, should be {should}"
            ),
        );
    }
    outcome.checked.push((Invariant::I6, 1));
    Ok(())
}
