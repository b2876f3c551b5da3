//! Where the copy of a shard starts in its source's log.

use tao_schema::ids::{Position, ShardId};

use crate::log::{Beat, BeatWriter, LogPosition, ServerLog};
use crate::store::{StoreError, StoreErrorKind};

/// A place in the source's log, and a position of the shard that shows everything before it: for [`super::BeginImport`].
///
/// What the log counts as executed may not be to be seen yet; so a heartbeat is written behind it, and the position is read
/// with that heartbeat in one statement (R8, H9). Whatever follows the place in the log up to that position is passed over.
///
/// # Errors
/// `Rejected` if the shard has no row here; `Unavailable` if the heartbeat was overwritten by another of `writer`.
pub async fn starting_point(
    log: &dyn ServerLog,
    shard: ShardId,
    writer: BeatWriter,
) -> Result<(LogPosition, Position), StoreError> {
    let position = log.executed().await?;
    let beat = Beat { writer, nonce: rand::random() };
    log.beat(beat).await?;
    let survey = log.survey(writer).await?;
    if survey.beat.map(|(nonce, _)| nonce) != Some(beat.nonce) {
        let message = "the heartbeat of the move does not show: another of the same name overwrote it";
        return Err(StoreError::new(StoreErrorKind::Unavailable, message));
    }
    let row = survey.rows.iter().find(|row| row.shard == shard);
    let row = row.ok_or_else(|| {
        StoreError::new(StoreErrorKind::Rejected, format!("shard {shard} has no row on the source"))
    })?;
    Ok((position, Position { shard, epoch: row.epoch, seq: row.seq }))
}
