//! New epochs for the shards of a server that is about to become the primary (R24).

use std::collections::{BTreeMap, BTreeSet};

use mysql_async::OptsBuilder;
use tao_schema::ids::{Epoch, Position, Seq, ShardId};
use tao_schema::planted::{Bug, planted};
use tao_schema::rows::{EpochStart, ShardState};

use super::session::Session;
use super::statements::{
    BEGIN, COMMIT, FENCED_BY_MOVES, HAS_MOVES, OPEN_HISTORY, OPEN_REQUESTS, OPEN_SHARDS, SHARDS_FOR_UPDATE,
    Sql,
};
use super::{ServerAdmin, following};
use crate::moves::promotion::{Fate, fate};
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

/// What [`ServerAdmin::open_epochs`] found and changed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OpenedEpochs {
    /// The shards that got new epochs now, with their starts.
    pub opened: Vec<(ShardId, EpochStart)>,
    /// The shards that moves have: fenced by one, on their way to here, given up or gone. Left as they are, epoch included.
    pub left: Vec<ShardId>,
    /// Every shard that serves here now, with its epoch; owned or not.
    pub serving: BTreeMap<ShardId, Epoch>,
}

#[derive(Clone, Copy)]
struct Row {
    epoch: Epoch,
    seq: Seq,
    state: ShardState,
    /// A move fenced it, and is not over.
    by_move: bool,
}

/// What becomes of a row.
struct Step {
    shard: ShardId,
    old: Row,
    new: Row,
    skip_ids: u64,
}

impl ServerAdmin {
    /// Writes the shard rows of the server, in one transaction: shards of `owned` get the new epoch, which starts after
    /// the last seq that arrived here, serve, and skip `skip_ids` ids, because a lost transaction may have given some
    /// away (H6). Shards that have the new epoch already stay as they are. A row that changes its state takes a seq for
    /// that, as everywhere, so that caches hear of it.
    ///
    /// What moves have is left to them; and a shard that serves here goes on, whatever `owned` says of it, in an epoch above
    /// both its own and the new one: a move may have opened it, and not told the topology yet (R25). The epochs of
    /// such shards go up again if this is repeated.
    ///
    /// The server is shut for everybody else meanwhile, and stays shut: [`ServerAdmin::set_read_only`] opens it. The
    /// transaction is replicated.
    ///
    /// # Errors
    /// `Rejected`: a shard of `owned` is not here or is in an older epoch, or the server still follows a source,
    /// whose history its own transaction would leave; nothing was changed. Else the server does not answer or refuses, and
    /// it is not known whether the transaction took effect: repeat it.
    pub async fn open_epochs(
        &self,
        owned: &[EpochChange],
        skip_ids: u64,
    ) -> Result<OpenedEpochs, StoreError> {
        let opts = OptsBuilder::from_opts(self.opts.clone()).db_name(Some(&self.database)).into();
        let mut session = Session::logged(&opts, &self.server, self.connect_limit).await?;
        if let Some(source) = following(&mut session).await?.map(|following| following.source) {
            return Err(rejected(&session, format!("follows {source}: let it forget its source first")));
        }
        session.run(&session.dialect.admin_only).await?;
        let skip_ids = if planted(Bug::IdsReissuedAfterPromotion) { 0 } else { skip_ids };
        let opened = transact(&mut session, owned, skip_ids).await;
        if opened.is_err() {
            // A connection of its own: what the first one is still doing ends with it.
            drop(session);
            session = self.session().await?;
        }
        session.run(&session.dialect.close).await?;
        session.close().await;
        opened
    }
}

async fn transact(
    session: &mut Session,
    owned: &[EpochChange],
    skip_ids: u64,
) -> Result<OpenedEpochs, StoreError> {
    session.run(&BEGIN).await?;
    let rows = rows(session).await?;
    let fenced = fenced_by_moves(session).await?;
    let rows = rows.into_iter().map(|(shard, row)| {
        let by_move = fenced.contains(&(shard, row.epoch));
        (shard, Row { by_move, ..row })
    });
    let rows = rows.collect();
    let (steps, result) = plan(&rows, owned, skip_ids).map_err(|what| rejected(session, what))?;
    if !steps.is_empty() {
        write(session, &steps, &result.opened).await?;
    }
    session.run(&COMMIT).await?;
    Ok(result)
}

/// What is still to be done.
fn plan(
    rows: &BTreeMap<ShardId, Row>,
    owned: &[EpochChange],
    skip_ids: u64,
) -> Result<(Vec<Step>, OpenedEpochs), String> {
    let (mut steps, mut result) = (Vec::new(), OpenedEpochs::default());
    let owned: BTreeMap<_, _> = owned.iter().map(|change| (change.shard, (change.old, change.new))).collect();
    if let Some(shard) = owned.keys().find(|shard| !rows.contains_key(shard)) {
        return Err(format!("shard {shard} has no row on this server"));
    }
    for (shard, row) in rows.iter().map(|(shard, row)| (*shard, *row)) {
        let at = Position { shard, epoch: row.epoch, seq: row.seq };
        let mut after = row;
        match fate(at, row.state, row.by_move, owned.get(&shard).copied())? {
            Fate::Stays => {}
            Fate::Left => result.left.push(shard),
            Fate::Opens { epoch, first_seq, seq } => {
                after = Row { epoch, seq, state: ShardState::Serving, by_move: false };
                steps.push(Step { shard, old: row, new: after, skip_ids });
                result.opened.push((shard, EpochStart { epoch, first_seq }));
            }
        }
        if after.state == ShardState::Serving {
            result.serving.insert(shard, after.epoch);
        }
    }
    Ok((steps, result))
}

async fn write(
    session: &mut Session,
    steps: &[Step],
    opened: &[(ShardId, EpochStart)],
) -> Result<(), StoreError> {
    let history =
        opened.iter().map(|(shard, start)| format!("[{shard},{},{}]", start.epoch, start.first_seq));
    expect(session, &OPEN_HISTORY, (json(history),), opened.len()).await?;

    let advanced: Vec<&Step> = steps.iter().filter(|step| step.new.seq != step.old.seq).collect();
    let requests =
        advanced.iter().map(|step| format!("[{},{},{}]", step.shard, step.new.epoch, step.new.seq));
    let nonce = rand::random::<u128>().to_be_bytes().to_vec();
    expect(session, &OPEN_REQUESTS, (nonce, json(requests)), advanced.len()).await?;

    let shards = steps.iter().map(|step| {
        let Step { shard, old, new, skip_ids } = step;
        format!("[{shard},{},{},{},{},{skip_ids}]", old.epoch, new.epoch, new.seq, new.state.number())
    });
    expect(session, &OPEN_SHARDS, (json(shards),), steps.len()).await
}

fn json(rows: impl Iterator<Item = String>) -> String {
    format!("[{}]", rows.collect::<Vec<_>>().join(","))
}

/// The rows are locked: another number of them would be a fault.
async fn expect(
    session: &mut Session,
    sql: &Sql,
    params: impl Into<mysql_async::Params>,
    expected: usize,
) -> Result<(), StoreError> {
    if expected == 0 {
        return Ok(());
    }
    let changed = session.execute(sql, params).await?;
    if changed == expected as u64 {
        return Ok(());
    }
    Err(rejected(session, format!("{}: {changed} rows changed in place of {expected}", sql.name)))
}

async fn rows(session: &mut Session) -> Result<BTreeMap<ShardId, Row>, StoreError> {
    let rows = session.rows(&SHARDS_FOR_UPDATE).await?;
    let read = rows.into_iter().map(|row| {
        let (shard, epoch, seq, state): (u16, u32, u64, u8) = mysql_async::from_row_opt(row).ok()?;
        let state = ShardState::from_number(state)?;
        Some((ShardId(shard), Row { epoch: Epoch(epoch), seq: Seq(seq), state, by_move: false }))
    });
    read.collect::<Option<_>>().ok_or_else(|| not_understood(session, "a shard row"))
}

async fn fenced_by_moves(session: &mut Session) -> Result<BTreeSet<(ShardId, Epoch)>, StoreError> {
    if session.row::<u64>(&HAS_MOVES).await? == 0 {
        return Ok(BTreeSet::new());
    }
    let rows = session.rows(&FENCED_BY_MOVES).await?;
    let read = rows.into_iter().map(|row| {
        let (shard, epoch): (u16, u32) = mysql_async::from_row_opt(row).ok()?;
        Some((ShardId(shard), Epoch(epoch)))
    });
    read.collect::<Option<_>>().ok_or_else(|| not_understood(session, "the record of a move"))
}

fn not_understood(session: &Session, what: &str) -> StoreError {
    let message = format!("{}: {what} that this program does not understand", session.server());
    StoreError::new(StoreErrorKind::Incompatible, message)
}

fn rejected(session: &Session, what: String) -> StoreError {
    StoreError::new(StoreErrorKind::Rejected, format!("{}: {what}", session.server()))
}
