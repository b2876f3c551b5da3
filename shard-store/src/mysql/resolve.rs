//! What became of a COMMIT that got no answer (R4).

use std::time::Duration;

use tao_schema::ids::{Seq, ShardId};
use tokio::time::Instant;

use super::Inner;
use super::error::Failure;
use super::statements::{LOCK_SHARD_WAIT, OWN_REQUEST};

/// Pauses between attempts to reach a server that is restarting.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    Committed,
    RolledBack,
    /// Not to be had in time, and why.
    Unknown(String),
}

/// Looks for the batch's request row under the lock of its shard row. Who holds that lock knows that the transaction
/// in doubt does not hold it any more: it has ended, one way or the other. Asks until `resolve_timeout` is over.
pub(super) async fn resolve(inner: &Inner, shard: ShardId, seq: Seq, nonce: u128) -> Fate {
    let deadline = Instant::now() + inner.options.resolve_timeout;
    let mut pause = FIRST_PAUSE;
    // The connection in doubt is dead or late, and others to the same server may be as well.
    inner.writers.forget_idle();
    loop {
        let why = match tokio::time::timeout_at(deadline, ask(inner, shard, seq, nonce)).await {
            Ok(Ok(Some(fate))) => return fate,
            // Without its shard row this is not the server that the batch was sent to, or not its data.
            Ok(Ok(None)) => return Fate::Unknown(format!("shard {shard} has no row any more")),
            Ok(Err(failure)) => failure.error.message,
            Err(_) => "the server did not answer in time".to_owned(),
        };
        if Instant::now() + pause >= deadline {
            return Fate::Unknown(why);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn ask(inner: &Inner, shard: ShardId, seq: Seq, nonce: u128) -> Result<Option<Fate>, Failure> {
    let mut lease = inner.writers.get_new().await?;
    let rows = match lease.map(&LOCK_SHARD_WAIT, (shard.0,), |row| row.shard()).await {
        Ok(rows) => rows,
        Err(failure) => {
            lease.roll_back().await;
            return Err(failure);
        }
    };
    let fate = if rows.is_empty() {
        None
    } else {
        let nonces = lease.map(&OWN_REQUEST, (shard.0, seq.0), |row| row.bytes()).await?;
        let own = nonces.first().is_some_and(|found| found.as_slice() == nonce.to_be_bytes());
        Some(if own { Fate::Committed } else { Fate::RolledBack })
    };
    lease.roll_back().await;
    Ok(fate)
}
