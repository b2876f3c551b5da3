//! The copier against a source that is written while it is copied.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tao_schema::ids::{AssocType, EdgeKey, ListKey, ObjectId};
use tao_schema::rows::EpochStart;

use super::super::rows::MoveTable;
use super::*;
use crate::apply::{CountRow, LockedShard, Tombstone, UnixMillis};

const SHARD: ShardId = ShardId(1);
const EPOCH: Epoch = Epoch(3);
const LIMIT: PageLimit = PageLimit { rows: 3, bytes: usize::MAX };
/// Keys of each table.
const KEYS: u64 = 8;

type Rows = BTreeMap<RawKey, RawRow>;

/// The source: its rows now, and everything that was done.
struct Source {
    epoch: Epoch,
    seq: u64,
    rows: Rows,
    log: Vec<RawTransaction>,
}

fn count(id1: u64, seq: u64) -> RawRow {
    let list = ListKey { id1: ObjectId::new(SHARD, id1), atype: AssocType(1) };
    RawRow::AssocCount(list, CountRow { count: seq, version: Seq(seq) })
}

fn tombstone(id1: u64, seq: u64) -> RawRow {
    let edge = EdgeKey { id1: ObjectId::new(SHARD, id1), atype: AssocType(1), id2: ObjectId(7) };
    RawRow::Tombstone(edge, Tombstone { epoch: EPOCH, seq: Seq(seq), at: UnixMillis(0) })
}

fn position(sequence: u64) -> LogPosition {
    let mut position = LogPosition::none();
    position.add("memory", sequence);
    position
}

fn progress() -> Progress {
    Progress { copied: Copied::NOTHING, applied: at(0), position: LogPosition::none(), step: 0 }
}

fn at(seq: u64) -> Position {
    Position { shard: SHARD, epoch: EPOCH, seq: Seq(seq) }
}

impl Source {
    fn new() -> Self {
        Self { epoch: EPOCH, seq: 0, rows: Rows::new(), log: Vec::new() }
    }

    fn at(&self) -> Position {
        Position { epoch: self.epoch, ..at(self.seq) }
    }

    /// A new epoch: of a promotion, or, with a seq, where a fence was taken away.
    fn open_epoch(&mut self, advances: bool) {
        self.epoch = Epoch(self.epoch.0 + 1);
        let start = EpochStart { epoch: self.epoch, first_seq: Seq(self.seq + 1) };
        self.change(advances, vec![RawRow::EpochHistory(start)], vec![]);
        let row = Some((self.epoch, ShardState::Serving));
        self.log.last_mut().unwrap().shard = row;
    }

    fn change(&mut self, advances: bool, puts: Vec<RawRow>, deletes: Vec<RawKey>) {
        self.seq += u64::from(advances);
        for row in &puts {
            self.rows.insert(row.key(), row.clone());
        }
        for key in &deletes {
            self.rows.remove(key);
        }
        let seq = advances.then_some(Seq(self.seq));
        let shard = advances.then_some((self.epoch, ShardState::Serving));
        let position = position(self.log.len() as u64 + 1);
        self.log.push(RawTransaction { seq, shard, puts, deletes, position });
    }

    /// A random transaction: two rows written, one deleted; or a purge.
    fn write(&mut self, rng: &mut StdRng) {
        let [a, b, c] = [0; 3].map(|_| rng.random_range(0..KEYS));
        if rng.random_bool(0.05) {
            return self.open_epoch(rng.random());
        }
        if rng.random_bool(0.2) {
            return self.change(false, vec![], vec![tombstone(a, 0).key()]);
        }
        let seq = self.seq + 1;
        let made = if rng.random_bool(0.5) { count } else { tombstone };
        let deletes = if c == a || c == b { vec![] } else { vec![made(c, 0).key()] };
        self.change(
            true,
            vec![count(a, seq), tombstone(b, seq)],
            deletes.into_iter().filter(|k| *k != count(a, 0).key() && *k != tombstone(b, 0).key()).collect(),
        );
    }

    fn page(&self, from: Copied) -> RawPage {
        let table = from.table.unwrap();
        let behind = self.rows.range(RawKey { table, parts: [0; 3] }..);
        let of_table = behind.take_while(|(key, _)| key.table == table).filter(|(key, _)| !from.covers(key));
        let mut rows: Vec<RawRow> = of_table.map(|(_, row)| row.clone()).take(LIMIT.rows).collect();
        rows.sort_by_key(RawRow::key);
        let last = rows.last().filter(|_| rows.len() == LIMIT.rows).map(RawRow::key);
        let to = last.map_or(Copied::whole(table), |key| Copied::up_to(table, key.parts));
        let (epoch, seq, state) = (self.epoch, Seq(self.seq), ShardState::Serving);
        let shard = LockedShard { shard: SHARD, epoch, seq, state, next_id: 1 };
        RawPage { shard, from, rows, to }
    }

    /// What the log has after a position.
    fn after(&self, read: &LogPosition, most: usize) -> (Vec<RawTransaction>, LogPosition) {
        let at = read.len() as usize;
        let some: Vec<_> = self.log[at..].iter().take(most).cloned().collect();
        let to = position((at + some.len()) as u64);
        (some, to)
    }
}

/// The target: its rows, and the progress in the same transaction.
struct Target {
    rows: Rows,
    progress: Progress,
}

impl Target {
    fn import(&mut self, import: &Import) {
        assert_eq!(import.step, self.progress.step, "the import that follows");
        for row in &import.puts {
            self.rows.insert(row.key(), row.clone());
        }
        for key in &import.deletes {
            self.rows.remove(key);
        }
        self.progress = import.progress.clone();
    }
}

fn copier(progress: &Progress) -> Copier {
    Copier::new(SHARD, MoveId(1), progress.clone())
}

/// Copies a source that goes on being written for a while; forgets everything but what is stored with probability
/// `crash` after each step.
fn run(seed: u64, crash: f64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut source = Source::new();
    for _ in 0..20 {
        source.write(&mut rng);
    }
    let mut target = Target { rows: Rows::new(), progress: progress() };
    let mut copier_now = copier(&target.progress);
    let mut writes = 60;
    for _ in 0..10_000 {
        if writes > 0 && rng.random_bool(0.5) {
            source.write(&mut rng);
            writes -= 1;
        }
        if rng.random_bool(crash) {
            copier_now = copier(&target.progress);
        }
        match copier_now.next(LIMIT).unwrap() {
            Step::Import(import) => {
                // The import was done or not, and the answer was lost.
                let lost = rng.random_bool(crash);
                if !lost || rng.random_bool(0.5) {
                    target.import(&import);
                }
                if lost {
                    copier_now = copier(&target.progress);
                }
            }
            Step::ReadChunk(from) => assert!(copier_now.chunk(source.page(from)).unwrap()),
            Step::ReadLog(_) => {
                let (more, to) = source.after(&copier_now.read, rng.random_range(1..4));
                copier_now.log(more, to).unwrap();
            }
            Step::CaughtUp if writes == 0 && copier_now.read.len() == source.log.len() as u64 => {
                assert_eq!(target.rows, source.rows, "seed {seed}");
                assert!(copier_now.drained(source.at()));
                return;
            }
            Step::CaughtUp => {
                let (more, to) = source.after(&copier_now.read, 3);
                copier_now.log(more, to).unwrap();
            }
        }
    }
    panic!("seed {seed}: the copy does not end");
}

#[test]
fn h31_a_copy_under_writes_ends_with_the_rows_of_the_source_whenever_it_crashes() {
    let first: u64 = rand::random::<u32>().into();
    println!("seeds {first} to {}", first + 299);
    for seed in first..first + 300 {
        run(seed, 0.0);
        run(seed, 0.2);
    }
}

#[test]
fn h31_a_row_that_was_deleted_behind_the_chunk_does_not_come_back() {
    let mut source = Source::new();
    source.change(true, vec![count(1, 1), count(2, 1)], vec![]);
    let mut target = Target { rows: Rows::new(), progress: progress() };
    // The chunk is read with both rows; then one is deleted, before the chunk is imported.
    let mut copier_now = copier(&Progress {
        copied: Copied { table: Some(MoveTable::AssocCount), last: None },
        ..target.progress.clone()
    });
    let Step::ReadChunk(from) = copier_now.next(LIMIT).unwrap() else { panic!("a chunk is wanted") };
    assert!(copier_now.chunk(source.page(from)).unwrap());
    source.change(true, vec![], vec![count(1, 0).key()]);
    assert_eq!(copier_now.next(LIMIT).unwrap(), Step::ReadLog(at(1)));
    let (log, to) = source.after(&copier_now.read, 9);
    copier_now.log(log, to).unwrap();
    let Step::Import(import) = copier_now.next(LIMIT).unwrap() else { panic!("the chunk goes in") };
    // As of the chunk, not later: the deletion is behind it.
    assert_eq!((import.progress.applied, import.puts.len(), import.deletes.len()), (at(1), 2, 0));
    target.import(&import);
    let Step::Import(import) = copier_now.next(LIMIT).unwrap() else { panic!("the deletion goes in") };
    assert_eq!(import.deletes, [count(1, 0).key()]);
    target.import(&import);
    assert_eq!(target.rows, source.rows);
}

#[test]
fn a_hole_and_an_old_page_are_noticed() {
    let mut source = Source::new();
    for seq in 1..=3 {
        source.change(true, vec![count(1, seq)], vec![]);
    }
    let mut copier_now = copier(&progress());
    copier_now.log(vec![source.log[1].clone()], position(2)).unwrap();
    assert_eq!(copier_now.next(LIMIT), Err(CopyError::Gap { applied: Seq::ZERO, found: Seq(2) }));

    let mut left = source.log[0].clone();
    left.shard = Some((EPOCH, ShardState::Gone));
    let gone = Err(CopyError::SourceLeft(ShardState::Gone));
    assert_eq!(copier(&progress()).log(vec![left], position(1)), gone);

    let ahead = Progress { applied: at(9), ..progress() };
    assert!(!copier(&ahead).chunk(source.page(Copied::NOTHING)).unwrap(), "older than what is applied");
    let elsewhere = source.page(Copied::whole(MoveTable::Object));
    assert_eq!(copier(&progress()).chunk(elsewhere), Err(CopyError::WrongPage));
}

#[test]
fn a_checkpoint_keeps_the_place_in_the_log() {
    let mut copier_now = copier(&Progress { copied: Copied::ALL, ..progress() });
    assert_eq!(copier_now.checkpoint(), None);
    copier_now.log(vec![], position(7)).unwrap();
    let import = copier_now.checkpoint().unwrap();
    assert_eq!((import.step, import.progress.step, import.progress.position), (0, 1, position(7)));
    assert_eq!(copier_now.next(LIMIT).unwrap(), Step::CaughtUp);
}

/// The log brings `transaction` to a copier that has applied everything up to seq 5.
fn brought(transaction: RawTransaction) -> Result<Position, CopyError> {
    let mut copier_now = copier(&Progress { copied: Copied::ALL, applied: at(5), ..progress() });
    copier_now.log(vec![transaction], position(1)).unwrap();
    copier_now.next(LIMIT)?;
    Ok(copier_now.progress().applied)
}

#[test]
fn h19_an_epoch_of_the_source_is_followed_if_it_begins_above_what_is_applied() {
    let opened = |first_seq: u64, seq: Option<u64>| {
        let start = EpochStart { epoch: Epoch(4), first_seq: Seq(first_seq) };
        let puts = vec![RawRow::EpochHistory(start)];
        let shard = Some((Epoch(4), ShardState::Serving));
        RawTransaction { seq: seq.map(Seq), shard, puts, deletes: vec![], position: position(1) }
    };
    let to = |seq| Ok(Position { epoch: Epoch(4), ..at(seq) });
    let lost = Err(CopyError::Epoch(Epoch(4)));
    assert_eq!(brought(opened(6, None)), to(5), "a promotion");
    assert_eq!(brought(opened(6, Some(6))), to(6), "a fence taken away");
    assert_eq!(brought(opened(5, None)), lost, "the last one applied was lost");
    assert_eq!(brought(opened(2, Some(2))), lost, "more were lost, and their seqs given again");
    let gap = Err(CopyError::Gap { applied: Seq(5), found: Seq(8) });
    assert_eq!(brought(opened(8, None)), gap, "the log lacks two");
    assert_eq!(brought(RawTransaction { puts: vec![], ..opened(6, None) }), lost, "nothing says where");
    let mut back = opened(6, Some(6));
    back.shard = Some((Epoch(2), ShardState::Serving));
    assert_eq!(brought(back), Err(CopyError::Epoch(Epoch(2))), "a history that goes back");
}

#[test]
fn a_page_of_a_newer_epoch_waits_for_it() {
    let mut source = Source::new();
    source.change(true, vec![count(1, 1)], vec![]);
    let table = Copied { table: Some(MoveTable::AssocCount), last: None };
    let mut copier_now = copier(&Progress { copied: table, applied: at(1), ..progress() });
    copier_now.next(LIMIT).unwrap();
    source.open_epoch(false);
    assert!(copier_now.chunk(source.page(table)).unwrap());
    assert_eq!(copier_now.next(LIMIT).unwrap(), Step::ReadLog(source.at()), "the same seq, a later position");
    let (log, to) = source.after(&position(1), 9);
    copier_now.log(log, to).unwrap();
    let Step::Import(import) = copier_now.next(LIMIT).unwrap() else { panic!("the chunk goes in") };
    assert_eq!((import.progress.applied, import.puts.len()), (source.at(), 1));
}
