//! I3: within a session nothing gets older.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tao_schema::ErrorCode;
use tao_schema::ids::{Epoch, Position, Seq, ShardId};

use super::Court;
use super::demands::positions;
use super::reads::Read;
use super::standing::Standing;
use crate::history::operation::{Call, Invariant, Operation, Reply, SessionId};

/// What a session has seen of a shard: the greatest seq of each epoch, with the operation that showed it.
type Seen<'a> = BTreeMap<Epoch, (Seq, &'a Operation)>;

/// An event with its time, and its order among those of one time.
type Dated<'a> = (Duration, u8, Event<'a>);

/// Something that happens to a session's knowledge of one shard.
enum Event<'a> {
    /// An answer told this position.
    Told(&'a Operation, Position),
    /// It was told that what it knew is lost: it starts again.
    Lost,
    /// An answered read that had begun now.
    Read(Read<'a>),
}

impl<'a> Court<'a> {
    /// A session demands everything that it was told of a shard, so no answer to a read that began later may lack any
    /// of it; that is more than that each key by itself never falls.
    pub(super) fn sessions(&mut self) {
        let mut sessions: HashMap<(SessionId, ShardId), Vec<Dated<'a>>> = HashMap::new();
        for operation in self.operations.iter().filter(|operation| operation.session != SessionId::NONE) {
            let part = self.part;
            let mut note = |shard, event| {
                if !part.has(shard) {
                    return;
                }
                // What ended when another began may have been seen by it, or not: reads first.
                let (when, order) = match &event {
                    Event::Read(read) => (read.operation.start, 0),
                    Event::Lost => (operation.end, 1),
                    Event::Told(..) => (operation.end, 2),
                };
                sessions.entry((operation.session, shard)).or_default().push((when, order, event));
            };
            match (&operation.call, &operation.result) {
                (Call::Read(request), Ok(Reply::Read(reply))) => {
                    note(request.op.shard(), Event::Read(Read { operation, request, reply }));
                }
                (Call::Read(request), Err(ErrorCode::LostEpoch)) => note(request.op.shard(), Event::Lost),
                _ => {}
            }
            for position in positions(operation) {
                note(position.shard, Event::Told(operation, *position));
            }
        }
        for mut events in sessions.into_values() {
            events.sort_by_key(|(when, order, _)| (*when, *order));
            let (mut seen, mut told_of_loss) = (Seen::new(), false);
            for (_, _, event) in events {
                match event {
                    Event::Lost => {
                        seen.clear();
                        told_of_loss = true;
                    }
                    // A late answer from before the loss: the application, which was told, forgets it with the rest. A read
                    // that demands it all the same is judged by that (I2).
                    Event::Told(_, position)
                        if told_of_loss && self.standing(position) != Standing::Present => {}
                    Event::Told(operation, position) => {
                        let known = seen.entry(position.epoch).or_insert((position.seq, operation));
                        if position.seq > known.0 {
                            *known = (position.seq, operation);
                        }
                    }
                    Event::Read(read) => self.not_back(read, &seen),
                }
            }
        }
    }

    fn not_back(&mut self, read: Read<'a>, seen: &Seen<'a>) {
        let answered = read.reply.position;
        for (epoch, (seq, shown_by)) in seen {
            self.checked(Invariant::I3);
            let known = Position { shard: answered.shard, epoch: *epoch, seq: *seq };
            if !self.includes(answered, known) {
                let message = format!(
                    "session {} had seen {known} by operation #{}; its later operation #{} was answered at {answered}",
                    read.operation.session.0, shown_by.id, read.operation.id
                );
                self.wrong(read, Invariant::I3, message);
            }
        }
    }
}
