//! New epochs for the shards of a server that is about to become the primary (R24).

use std::collections::BTreeMap;

use mysql_async::OptsBuilder;
use tao_schema::ids::{Epoch, Seq, ShardId};
use tao_schema::rows::{EpochStart, ShardState};

use super::ServerAdmin;
use super::session::Session;
use super::statements::{BEGIN, COMMIT, EPOCH_HISTORY, FENCE_SHARD, OPEN_EPOCH, SHARDS_FOR_UPDATE};
use crate::store::{StoreError, StoreErrorKind};

/// A shard that the server shall own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochChange {
    /// The shard.
    pub shard: ShardId,
    /// Its epoch before.
    pub old: Epoch,
    /// Its epoch from now on.
    pub new: Epoch,
}

/// What [`ServerAdmin::open_epochs`] found or made.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OpenedEpochs {
    /// The owned shards with the start of their new epochs.
    pub opened: Vec<(ShardId, EpochStart)>,
    /// Shards that are not owned, and were serving.
    pub fenced: Vec<ShardId>,
}

struct Row {
    epoch: Epoch,
    seq: Seq,
    state: ShardState,
}

impl ServerAdmin {
    /// Writes every shard row of the server, in one transaction: shards of `owned` get the new epoch, which starts after
    /// the last seq that arrived here, serve, and skip `skip_ids` ids, because a lost transaction may have given some
    /// away (H6); shards that are not owned stop serving. Shards that have the new epoch already stay as they are.
    ///
    /// The server is shut for everybody else meanwhile, and stays shut: [`ServerAdmin::set_read_only`] opens it. The
    /// transaction is replicated.
    ///
    /// # Errors
    /// `Rejected`: a shard of `owned` is not here or is in neither of the epochs; nothing was changed. Else the server
    /// does not answer or refuses, and it is not known whether the transaction took effect: repeat it.
    pub async fn open_epochs(
        &self,
        owned: &[EpochChange],
        skip_ids: u64,
    ) -> Result<OpenedEpochs, StoreError> {
        let opts = OptsBuilder::from_opts(self.opts.clone()).db_name(Some(&self.database)).into();
        let mut session = Session::logged(&opts, &self.server, self.connect_limit).await?;
        session.run(&session.dialect.admin_only).await?;
        session.run(&BEGIN).await?;
        // Dropping the session in an error closes its connection, and the server rolls back.
        let opened = write(&mut session, owned, skip_ids).await?;
        session.run(&COMMIT).await?;
        session.run(&session.dialect.close).await?;
        session.close().await;
        Ok(opened)
    }
}

async fn write(
    session: &mut Session,
    owned: &[EpochChange],
    skip_ids: u64,
) -> Result<OpenedEpochs, StoreError> {
    let rows = rows(session).await?;
    let mut result = OpenedEpochs::default();
    let mut open = BTreeMap::new();
    for change in owned {
        let refused = |what: String| {
            let message = format!("{}: shard {}: {what}", session.server(), change.shard);
            StoreError::new(StoreErrorKind::Rejected, message)
        };
        let row = rows.get(&change.shard).ok_or_else(|| refused("has no row on this server".to_owned()))?;
        if row.epoch != change.new && row.epoch != change.old {
            return Err(refused(format!(
                "is in epoch {}, neither {} nor {}: another promotion or move came first",
                row.epoch, change.old, change.new
            )));
        }
        open.insert(change.shard, *change);
    }
    for (shard, row) in &rows {
        match open.get(shard) {
            Some(change) if row.epoch == change.old => {
                let first_seq = row.seq.next();
                session.execute(&EPOCH_HISTORY, (shard.0, change.new.0, first_seq.0)).await?;
                let params = (change.new.0, ShardState::Serving.number(), skip_ids, shard.0, change.old.0);
                changed_one(session.execute(&OPEN_EPOCH, params).await?, session, *shard)?;
                result.opened.push((*shard, EpochStart { epoch: change.new, first_seq }));
            }
            Some(_) => {}
            None if row.state == ShardState::Serving => {
                let params = (ShardState::Fenced.number(), shard.0, ShardState::Serving.number());
                changed_one(session.execute(&FENCE_SHARD, params).await?, session, *shard)?;
                result.fenced.push(*shard);
            }
            None => {}
        }
    }
    Ok(result)
}

async fn rows(session: &mut Session) -> Result<BTreeMap<ShardId, Row>, StoreError> {
    let rows = session.rows(&SHARDS_FOR_UPDATE).await?;
    let read = rows.into_iter().map(|row| {
        let (shard, epoch, seq, state): (u16, u32, u64, u8) = mysql_async::from_row_opt(row).ok()?;
        let state = ShardState::from_number(state)?;
        Some((ShardId(shard), Row { epoch: Epoch(epoch), seq: Seq(seq), state }))
    });
    read.collect::<Option<_>>().ok_or_else(|| {
        let message = format!("{}: a shard row that this program does not understand", session.server());
        StoreError::new(StoreErrorKind::Incompatible, message)
    })
}

/// The rows are locked: anything else would be a fault.
fn changed_one(changed: u64, session: &Session, shard: ShardId) -> Result<(), StoreError> {
    if changed == 1 {
        return Ok(());
    }
    let message = format!("{}: shard {shard}: {changed} rows changed in place of 1", session.server());
    Err(StoreError::new(StoreErrorKind::Rejected, message))
}
