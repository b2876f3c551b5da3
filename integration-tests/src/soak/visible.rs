//! From the acknowledgement of a write in one region to its visibility in another: in the database there (MySQL's own
//! part), and in a follower there. Both are asked all the time until they show it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tao_schema::ids::{ObjectId, ObjectType};

use super::citizens::Door;
use super::summary::{Quantiles, Visible};
use crate::regions::Regions;

/// A write that is not visible after this is an error of the run.
const LIMIT: Duration = Duration::from_secs(30);
/// Objects written in turn.
const OBJECTS: u32 = 64;

pub(super) async fn measure(cluster: &Regions, doors: &[Door], writes: u32, seed: u64) -> Result<Visible> {
    // A promotion may have moved the masters.
    let masters = cluster.masters()?;
    let master = masters.first().copied().context("a host group")?;
    let home = doors.get(master).context("a region of that index")?;
    let away = doors.iter().find(|door| door.region != home.region).context("two regions are needed")?;
    let mut random = StdRng::seed_from_u64(seed);
    let shards = cluster.shards();
    // Only of host groups whose master is there.
    let ids: Vec<ObjectId> = (0..)
        .map(|number| ObjectId::named(ObjectType(3), number, shards))
        .filter(|id| cluster.master_of(id.shard(), &masters) == Some(master))
        .take(OBJECTS as usize)
        .collect();
    let mut databases = cluster.connect_region(&away.region).await?;
    for id in &ids {
        home.client.object_add("comment").id(*id).set("text", "0").send().await?;
        wait_in_follower(away, *id, "0").await?;
    }
    let (mut replica, mut follower, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=writes {
        let id = ids[random.random_range(0..ids.len())];
        let text = number.to_string();
        let written = home.client.object_update(id, "comment").set("text", text.as_str()).send().await?;
        let acknowledged = Instant::now();
        let version = written.positions.first().context("a position")?.seq.0;
        let database = databases.of(id.shard())?;
        let (in_database, in_follower) =
            tokio::join!(database.wait_version(id, version, LIMIT), wait_in_follower(away, id, &text));
        let (in_database, in_follower) = (in_database?, in_follower?);
        replica.push(in_database.saturating_duration_since(acknowledged));
        follower.push(in_follower.saturating_duration_since(acknowledged));
        ours.push(in_follower.saturating_duration_since(in_database));
    }
    let quantiles = |mut times: Vec<Duration>| Quantiles::of(&mut times).context("no write was made");
    Ok(Visible { replica: quantiles(replica)?, follower: quantiles(follower)?, ours: quantiles(ours)? })
}

async fn wait_in_follower(away: &Door, id: ObjectId, text: &str) -> Result<Instant> {
    let began = Instant::now();
    loop {
        if let Some(object) = away.client.object_get(id).send().await?
            && object.text("text")? == text
        {
            return Ok(Instant::now());
        }
        ensure!(began.elapsed() < LIMIT, "{id} is not visible in {} after {LIMIT:?}", away.region);
    }
}
