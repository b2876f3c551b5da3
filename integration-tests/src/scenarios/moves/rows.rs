//! Many rows for one shard, before anybody works: through its database, as a leader would write them.

use anyhow::{Context as _, Result, ensure};
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{EdgeKey, ObjectId, ObjectType, ShardId, Time};
use tao_schema::rows::EdgeValue;
use tao_shard_store::write::{Batch, StoreOp, UnitResult, WriteUnit};

use crate::scenarios::progress::Progress;
use crate::scenarios::stage::Stage;

/// An association type without another side.
const ASSOC: &str = "has_comment";
/// Edges of one list.
const LIST: u64 = 200;
/// Edges of one transaction.
const TRANSACTION: u64 = 1_000;
/// Numbers of the objects that the lists belong to; nobody else uses these.
const FIRST_NUMBER: u32 = 40_000_000;
/// Rows between two lines of progress.
const TELL: u64 = 100_000;

/// Writes `rows` edges into lists of a shard. Answers how many rows that made, counts included.
///
/// # Errors
/// The shard's primary does not answer, or refuses.
pub(super) async fn load(stage: &mut Stage, shard: ShardId, rows: u64, progress: &Progress) -> Result<u64> {
    let place = stage.topology().await?.assignment(shard).context("a shard of the cluster")?;
    let shards = stage.cluster.shards();
    let schema = stage.doors().first().context("a region")?.client.schema();
    let atype = schema.assoc_type_named(ASSOC).with_context(|| format!("no type {ASSOC}"))?.id;
    let store = stage.primary(place.host_group).await?;
    let named = |otype: u16, number: u32| ObjectId::named(ObjectType(otype), number, shards);
    let mut owners = (FIRST_NUMBER..).map(|number| named(2, number)).filter(|id| id.shard() == shard);
    let mut owner = owners.next().context("ids do not end")?;
    let (mut written, mut lists) = (0, 1);
    while written < rows {
        let mut ops = Vec::new();
        while (ops.len() as u64) < TRANSACTION.min(rows - written) {
            let number = written + ops.len() as u64;
            if number > 0 && number.is_multiple_of(LIST) {
                owner = owners.next().context("ids do not end")?;
                lists += 1;
            }
            let id2 = named(3, FIRST_NUMBER + (number % LIST) as u32);
            let edge = EdgeKey { id1: owner, atype, id2 };
            let value = EdgeValue { time: Time(number as u32), fields: EncodedFields::new() };
            ops.push(StoreOp::EdgePut { edge, value, create_only: false, expected: None, inverse: None });
        }
        let before = written;
        written += ops.len() as u64;
        let unit = WriteUnit { shard, epoch: place.epoch, request: None, ops };
        let done = store.commit(Batch { units: vec![unit] }).await?;
        let outcome = done.units.first();
        ensure!(matches!(outcome, Some(UnitResult::Done(_))), "rows of shard {shard}: {outcome:?}");
        if before / TELL != written / TELL {
            progress.say(&format!("{written} rows in shard {shard}"));
        }
    }
    Ok(written + lists)
}
