//! What is durable, who is about to do what, and what must never be seen.

use std::fmt;

use super::group::{Group, MAX_LAG, Row, RowState};

/// Most writes that a search issues.
pub const MAX_WRITES: usize = 4;
/// Epochs are below this.
const EPOCHS: usize = 9;

/// A host group; the same number in every role that it plays.
pub type GroupId = usize;
/// Where the shard is in the beginning.
pub const FIRST: GroupId = 0;

/// What a worker is about to do: decided on what it has read, and maybe long outdated when it is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub enum Task {
    /// Nothing; it looks.
    Idle,
    /// Target: make a row for the move, or take on the one that an earlier move left.
    Import { id: u8 },
    /// Source: serving -> fenced.
    Fence { id: u8 },
    /// Target: importing -> serving; it has seen the fence at this position.
    Commit { id: u8, epoch: u8, seq: u8 },
    /// Target: importing -> aborted.
    Abort { id: u8 },
    /// Source: fenced -> serving.
    Unfence { id: u8 },
    /// Source: serving, and this move is over.
    Mark { id: u8 },
    /// Topology: the shard is there.
    Tell { group: GroupId, epoch: u8 },
    /// Target: what was read of the source (without `ApplyCompares` only, else it is one step).
    Apply { group: GroupId, epoch: u8, seq: u8, data: u8 },
}

impl Task {
    fn pack(self) -> u32 {
        let (kind, a, b, c) = match self {
            Self::Idle => (0, 0, 0, 0),
            Self::Import { id } => (1, id, 0, 0),
            Self::Fence { id } => (2, id, 0, 0),
            Self::Commit { id, epoch, seq } => (3, id, epoch, seq),
            Self::Abort { id } => (4, id, 0, 0),
            Self::Unfence { id } => (5, id, 0, 0),
            Self::Mark { id } => (8, id, 0, 0),
            Self::Tell { group, epoch } => (6, group as u8, epoch, 0),
            Self::Apply { group, epoch, seq, data } => (7, group as u8, epoch, seq << 4 | data),
        };
        u32::from_le_bytes([kind, a, b, c])
    }
}

/// What a leader has open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transaction {
    /// None.
    None,
    /// A write with the shard row locked; the client waits.
    Open(u8),
    /// COMMIT was sent and the connection is gone; the server still holds the lock, and decides alone.
    Adrift(u8),
    /// It is over, and the leader does not know how.
    Uncertain(u8),
}

/// A leader of the master region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leader {
    /// Where it believes the shard to be ...
    pub group: GroupId,
    /// ... and in which epoch.
    pub epoch: u8,
    /// Its one write under way.
    pub transaction: Transaction,
    /// The host group of that.
    pub at: GroupId,
}

impl Leader {
    /// The write that holds the lock of this group's row.
    pub fn holds(&self, group: GroupId) -> bool {
        self.at == group && matches!(self.transaction, Transaction::Open(_) | Transaction::Adrift(_))
    }

    fn pack(self) -> u32 {
        let (kind, write) = match self.transaction {
            Transaction::None => (0, 0),
            Transaction::Open(write) => (1, write),
            Transaction::Adrift(write) => (2, write),
            Transaction::Uncertain(write) => (3, write),
        };
        u32::from_le_bytes([self.epoch, (self.group << 4 | self.at) as u8, kind, write])
    }
}

/// What the client of a write was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// It was not issued yet.
    Unissued,
    /// Nothing, or "unknown".
    Nothing,
    /// It is committed.
    Acknowledged,
    /// It is not, and never will be.
    Failed,
}

/// A write and what became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Write {
    /// What the client knows.
    pub told: Told,
    /// Where it was committed: host group, epoch, seq; all 0: nowhere.
    pub committed: (u8, u8, u8),
    /// A promotion lost it.
    pub lost: bool,
}

/// The move in progress, or the last one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Move {
    /// Counts from 1; 0: there was none.
    pub id: u8,
    /// Whether somebody shall go on with it.
    pub open: bool,
    /// Its source.
    pub source: GroupId,
}

impl Move {
    /// Its target.
    pub const fn target(self) -> GroupId {
        1 - self.source
    }
}

/// What must never be seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Violation {
    /// Two primaries serve.
    TwoOwners,
    /// One epoch began in two places, or twice.
    EpochTwice,
    /// Two writes were committed at one epoch and seq.
    PositionTwice,
    /// A write was acknowledged in an epoch in which it was not committed.
    WrongEpoch,
    /// The owner lacks a write that was acknowledged and that no promotion lost.
    AcknowledgedLost,
    /// The owner has a write whose client was told that it failed.
    FailedPresent,
    /// The owner has a write that a promotion lost.
    LostCameBack,
    /// From here no schedule, without further faults, ends the move with one owner that the topology names.
    Doubt,
}

/// Everything.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// The two host groups.
    pub groups: [Group; 2],
    /// The workers, in no order.
    pub workers: [Task; 2],
    /// The leaders, in no order.
    pub leaders: [Leader; 2],
    /// The assignment that the topology holds: host group and epoch.
    pub topology: (GroupId, u8),
    /// The move.
    pub record: Move,
    /// The writes, in the order in which they were issued.
    pub writes: [Write; MAX_WRITES],
    /// Of each epoch that was ever opened on a primary: host group and first seq.
    opened: [u8; EPOCHS],
    /// Found by the last step.
    pub broken: Option<Violation>,
}

/// A state, packed: what the search compares.
pub type Key = [u64; 2 * MAX_LAG + 6];

impl State {
    /// The shard serves in the first group.
    pub fn new(replicas: [u8; 2]) -> Self {
        let serving = Row { epoch: 1, seq: 1, state: RowState::Serving, ..Row::ABSENT };
        let leader = Leader { group: FIRST, epoch: 1, transaction: Transaction::None, at: FIRST };
        let write = Write { told: Told::Unissued, committed: (0, 0, 0), lost: false };
        let mut state = Self {
            groups: [Group::new(serving, replicas[0]), Group::new(Row::ABSENT, replicas[1])],
            workers: [Task::Idle; 2],
            leaders: [leader; 2],
            topology: (FIRST, 1),
            record: Move { id: 0, open: false, source: FIRST },
            writes: [write; MAX_WRITES],
            opened: [0; EPOCHS],
            broken: None,
        };
        state.open_epoch(FIRST, 1, 1);
        state
    }

    /// The primary's row of a group.
    pub fn row(&self, group: GroupId) -> Row {
        self.groups[group].row()
    }

    /// Notes that an epoch begins on a primary: anybody who reads its log may have seen it.
    pub fn open_epoch(&mut self, group: GroupId, epoch: u8, first_seq: u8) {
        let entry = 0x80 | (group as u8) << 6 | first_seq;
        let known = &mut self.opened[usize::from(epoch)];
        if *known != 0 && *known != entry {
            self.broken = Some(Violation::EpochTwice);
        }
        *known = entry;
    }

    /// First seq of the epochs after one, as the history of the shard has it.
    pub fn first_seq_after(&self, epoch: u8, until: u8) -> Option<u8> {
        let later = usize::from(epoch) + 1..=usize::from(until);
        later.map(|epoch| self.opened[epoch]).filter(|entry| *entry != 0).map(|entry| entry & 0x3f).min()
    }

    /// Whether a transaction holds the lock of the group's row.
    pub fn locked(&self, group: GroupId) -> bool {
        self.leaders.iter().any(|leader| leader.holds(group))
    }

    /// The invariants.
    pub fn violation(&self) -> Option<Violation> {
        if self.broken.is_some() {
            return self.broken;
        }
        let rows = [self.row(0), self.row(1)];
        if rows.iter().all(|row| row.state == RowState::Serving) {
            return Some(Violation::TwoOwners);
        }
        let owner = rows.iter().find(|row| row.state == RowState::Serving)?;
        self.writes.iter().enumerate().find_map(|(index, write)| {
            let present = owner.data & (1 << index) != 0;
            match (write.told, write.lost, present) {
                (Told::Acknowledged, false, false) => Some(Violation::AcknowledgedLost),
                (Told::Failed, _, true) => Some(Violation::FailedPresent),
                (_, true, true) => Some(Violation::LostCameBack),
                _ => None,
            }
        })
    }

    /// Whether the move is over, one server owns the shard, and the topology names it.
    pub fn settled(&self) -> bool {
        let row = self.row(self.topology.0);
        !self.record.open && row.state == RowState::Serving && row.epoch == self.topology.1
    }

    /// Equal workers are equal whoever they are, and so are leaders.
    pub fn sort(&mut self) {
        for leader in &mut self.leaders {
            if !leader.holds(leader.at) {
                leader.at = FIRST;
            }
        }
        if self.workers[0].pack() > self.workers[1].pack() {
            self.workers.swap(0, 1);
        }
        if self.leaders[0].pack() > self.leaders[1].pack() {
            self.leaders.swap(0, 1);
        }
    }

    /// The state as the search compares it.
    pub fn key(&self) -> Key {
        let pair = |a: u32, b: u32| u64::from(a) << 32 | u64::from(b);
        let [s, t] = &self.groups;
        let mut key = [0; 2 * MAX_LAG + 6];
        key[..MAX_LAG].copy_from_slice(s.packed());
        key[MAX_LAG..2 * MAX_LAG].copy_from_slice(t.packed());
        let rest = &mut key[2 * MAX_LAG..];
        let record = self.record;
        let place = [
            self.topology.0 as u8,
            self.topology.1,
            record.id,
            u8::from(record.open),
            record.source as u8,
            s.replicas << 4 | t.replicas,
            s.survivors().end() << 4 | t.survivors().end(),
            self.opened[8],
        ];
        rest[0] = u64::from_le_bytes(place);
        rest[1] = pair(self.workers[0].pack(), self.workers[1].pack());
        rest[2] = pair(self.leaders[0].pack(), self.leaders[1].pack());
        let [_, a, b, c, d, e, f, g, _] = self.opened;
        rest[3] = u64::from_le_bytes([a, b, c, d, e, f, g, 0]);
        let write = |write: &Write| {
            let (group, epoch, seq) = write.committed;
            u32::from_le_bytes([write.told as u8, u8::from(write.lost) << 4 | group, epoch, seq])
        };
        rest[4] = pair(write(&self.writes[0]), write(&self.writes[1]));
        rest[5] = pair(write(&self.writes[2]), write(&self.writes[3]));
        key
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, group) in ["S", "T"].into_iter().zip(&self.groups) {
            let row = group.row();
            let data = (0..MAX_WRITES).filter(|index| row.data & (1 << index) != 0);
            let data: Vec<String> = data.map(|index| index.to_string()).collect();
            write!(f, "{name} {:?} by {} ({},{})", row.state, row.by, row.epoch, row.seq)?;
            write!(f, " has[{}] applied({},{}); ", data.join(" "), row.applied_epoch, row.applied)?;
        }
        write!(f, "topology {}@{}", ["S", "T"][self.topology.0], self.topology.1)?;
        for task in self.workers.iter().filter(|task| **task != Task::Idle) {
            write!(f, "; about to {task:?}")?;
        }
        Ok(())
    }
}
