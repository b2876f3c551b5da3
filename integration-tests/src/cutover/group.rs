//! A host group: the shard row on its primary, and what its replica may have of it.

/// Most rows of a server's log that its replica may lack, and one that it has.
pub const MAX_LAG: usize = 5;

/// State of a shard row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RowState {
    /// The shard was never here.
    Absent,
    /// Takes writes.
    Serving,
    /// Takes none, for a move or because a promotion closed it.
    Fenced,
    /// A move copies the shard here.
    Importing,
    /// A move to here was given up.
    Aborted,
}

/// A shard row, with the row of `shard_move` beside it and what the tables hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// Epoch of the shard.
    pub epoch: u8,
    /// Last change.
    pub seq: u8,
    /// What the row says.
    pub state: RowState,
    /// The last move that changed the row.
    pub by: u8,
    /// Which writes are in the tables, one bit each.
    pub data: u8,
    /// Source position up to which changes were applied here: seq ...
    pub applied: u8,
    /// ... and the epoch that it was read in.
    pub applied_epoch: u8,
}

impl Row {
    /// No row.
    pub const ABSENT: Self =
        Self { epoch: 0, seq: 0, state: RowState::Absent, by: 0, data: 0, applied: 0, applied_epoch: 0 };

    fn pack(self) -> u64 {
        let state = self.state as u8;
        u64::from_le_bytes([
            self.epoch,
            self.seq,
            state,
            self.by,
            self.data,
            self.applied,
            self.applied_epoch,
            1,
        ])
    }

    fn unpack(word: u64) -> Self {
        let [epoch, seq, state, by, data, applied, applied_epoch, _] = word.to_le_bytes();
        let state = match state {
            1 => RowState::Serving,
            2 => RowState::Fenced,
            3 => RowState::Importing,
            4 => RowState::Aborted,
            _ => RowState::Absent,
        };
        Self { epoch, seq, state, by, data, applied, applied_epoch }
    }
}

/// A host group: a primary, and a replica while there is one. Where the replica stands is not decided before somebody looks,
/// or it is promoted: it has at least the first row of the log, and at most the last.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Group {
    log: [u64; MAX_LAG],
    len: u8,
    /// Replicas that could still be promoted, one after the other.
    pub replicas: u8,
}

impl Group {
    /// A primary with one row, and its replicas, which have it.
    pub fn new(row: Row, replicas: u8) -> Self {
        let mut log = [0; MAX_LAG];
        log[0] = row.pack();
        Self { log, len: 1, replicas }
    }

    /// The primary's row.
    pub fn row(&self) -> Row {
        Row::unpack(self.log[usize::from(self.len) - 1])
    }

    /// The rows that the replica may have for its last, and the primary's.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        self.log[..usize::from(self.len)].iter().map(|word| Row::unpack(*word))
    }

    /// A transaction on the primary. `lag`: how many of the last ones the replica may lack.
    pub fn write(&mut self, row: Row, lag: usize) {
        let mut len = usize::from(self.len);
        if self.replicas == 0 {
            len = 0;
        } else if len > lag {
            self.log.copy_within(1..len, 0);
            len -= 1;
        }
        self.log[len] = row.pack();
        self.len = len as u8 + 1;
    }

    /// Waits until the replica has all that the primary has.
    pub fn wait_for_replica(&mut self) {
        let last = self.log[usize::from(self.len) - 1];
        self.log = [0; MAX_LAG];
        self.log[0] = last;
        self.len = 1;
    }

    /// What the replica may have: so many of the rows in the log.
    pub fn survivors(&self) -> std::ops::RangeInclusive<u8> {
        1..=self.len
    }

    /// The replica is the primary, with the first rows of the log.
    pub fn promote(&mut self, kept: u8) {
        let row = self.log[usize::from(kept) - 1];
        *self = Self::new(Row::unpack(row), self.replicas - 1);
    }

    /// The log as it is compared.
    pub fn packed(&self) -> &[u64; MAX_LAG] {
        &self.log
    }
}
