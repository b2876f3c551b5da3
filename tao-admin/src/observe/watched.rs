//! What the log says of a watched item, and what follows for an answer.

use std::collections::VecDeque;

use tao_schema::ids::{ObjectId, Seq};
use tao_schema::rows::{ChangeItem, EpochStart};

use super::history::{Place, Relation, ShardHistory};
use super::item::{Content, Seen, State, edges_of};

/// Changes of one item that are remembered, beginning with the sampled one. Of an answer that lies in between those
/// forgotten and those known, only its position is judged.
const VERSIONS: usize = 32;

/// An item from its sampled change on.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The sampled change.
    pub change: Place,
    /// The edges that are looked at, if it is a list.
    pub edges: Vec<ObjectId>,
    /// What the sampled change and those after it left, oldest first; empty only when all are lost.
    versions: VecDeque<(Place, State)>,
}

/// What an answer is worth.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Judged {
    /// It has the change, or a later one.
    Consistent,
    /// Its position is before the change, or of another history.
    Stale,
    /// It claims a position at which the log says something else. Worse than stale: no reader can tell.
    Wrong(String),
    /// The log has not come so far: judge it again when it has.
    NotYet,
    /// A promotion lost the change: there is nothing to see.
    Void,
}

impl Watched {
    /// Watches what a change is about.
    pub fn new(change: Place, item: &ChangeItem) -> Self {
        let edges = edges_of(item);
        let state = State::of(item, &edges);
        Self { change, edges, versions: VecDeque::from([(change, state)]) }
    }

    /// The item changed again.
    pub fn changed(&mut self, at: Place, item: &ChangeItem) {
        let Some((_, last)) = self.versions.back() else { return };
        let state = last.after(item, &self.edges);
        if self.versions.len() == VERSIONS {
            self.versions.pop_front();
        }
        self.versions.push_back((at, state));
    }

    /// An epoch begins: changes of earlier ones from there on are lost.
    pub fn cut(&mut self, start: EpochStart) {
        self.versions.retain(|((epoch, seq), _)| *epoch >= start.epoch || *seq < start.first_seq);
    }

    /// Judges an answer by what the log has told.
    pub fn judge(&self, shard: &ShardHistory, seen: &Seen) -> Judged {
        let at = (seen.position.epoch, seen.position.seq);
        match shard.relate(at, self.change) {
            Relation::Lost => Judged::Void,
            Relation::Unheard => Judged::NotYet,
            Relation::Lacks => Judged::Stale,
            Relation::Contains => self.compare(shard, at, &seen.content),
        }
    }

    /// The newest change known at or before `at` decides what the answer must show.
    fn compare(&self, shard: &ShardHistory, at: Place, content: &Content) -> Judged {
        let newest = self.versions.iter().rev().find(|((_, seq), _)| *seq <= at.1);
        // All are forgotten that far back: the position is new enough, and more can't be said.
        let Some(((_, version), state)) = newest else { return Judged::Consistent };
        let known = Known { version: *version, complete: shard.complete(at), lost: shard.lost(at) };
        match (content, state) {
            (Content::Object(shown), State::Object(stored)) => known.object(*shown, *stored),
            (Content::Count { count, version }, State::List { count: stored, .. }) => known
                .versioned(*version, || {
                    (count != stored).then(|| format!("count {count} where the log has {stored}"))
                }),
            (Content::Edges { edges, version }, State::List { edges: stored, .. }) => {
                known.versioned(*version, || {
                    let differs = stored.iter().find(|(id2, digest)| edges.get(id2) != digest.as_ref());
                    differs.map(|(id2, digest)| match (edges.contains_key(id2), digest) {
                        (true, None) => format!("edge to {id2}, which the log has deleted"),
                        (false, _) => format!("no edge to {id2}, which the log has"),
                        (true, Some(_)) => format!("edge to {id2} with other contents than in the log"),
                    })
                })
            }
            _ => Judged::Wrong("an answer of another kind than was asked for".to_owned()),
        }
    }
}

/// What is known of an item at an answer's position.
struct Known {
    /// Its newest change up to there that the log has told of.
    version: Seq,
    /// The log has told of everything up to there.
    complete: bool,
    /// The position is on a branch that a promotion cut off, of which the log tells no more.
    lost: bool,
}

impl Known {
    fn object(&self, shown: Option<(Seq, u128)>, stored: Option<u128>) -> Judged {
        match (shown, stored) {
            (Some((version, digest)), _) => self.versioned(version, || match stored {
                None => Some("an object that the log has deleted".to_owned()),
                Some(stored) => (digest != stored).then(|| "other contents than in the log".to_owned()),
            }),
            (None, None) => Judged::Consistent,
            (None, Some(_)) if self.complete => {
                Judged::Wrong(format!("no object, where the log has version {}", self.version))
            }
            (None, Some(_)) => self.undecided(),
        }
    }

    /// A version names the change that an answer's content is from.
    fn versioned(&self, shown: Seq, differs: impl FnOnce() -> Option<String>) -> Judged {
        match shown.cmp(&self.version) {
            std::cmp::Ordering::Equal => differs().map_or(Judged::Consistent, Judged::Wrong),
            std::cmp::Ordering::Less => Judged::Wrong(format!(
                "version {shown} under a position at which the log has version {}",
                self.version
            )),
            std::cmp::Ordering::Greater if self.complete => Judged::Wrong(format!(
                "version {shown}, of which the log knows nothing; it has version {}",
                self.version
            )),
            std::cmp::Ordering::Greater => self.undecided(),
        }
    }

    /// On a branch that was cut off nothing more will be told; its shared part has the change.
    const fn undecided(&self) -> Judged {
        if self.lost { Judged::Consistent } else { Judged::NotYet }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tao_schema::fields::EncodedFields;
    use tao_schema::ids::{AssocType, Epoch, ListKey, ObjectType, Position, ShardId, Time};
    use tao_schema::rows::{EdgeValue, ListChange, ObjectRow};

    use super::super::item::object_digest;
    use super::*;

    fn object(seq: u64, text: Option<&'static [u8]>) -> ChangeItem {
        let row = text.map(|text| ObjectRow {
            otype: ObjectType(1),
            version: Seq(seq),
            fields: EncodedFields(text.into()),
        });
        ChangeItem::Object { id: ObjectId(7), row }
    }

    fn seen(epoch: u32, seq: u64, content: Content) -> Seen {
        let position = Position { shard: ShardId(0), epoch: Epoch(epoch), seq: Seq(seq) };
        Seen { position, content, source: None, rule: String::new() }
    }

    fn shows(seq: u64, version: u64, text: &[u8]) -> Seen {
        seen(1, seq, Content::Object(Some((Seq(version), object_digest(ObjectType(1), text)))))
    }

    fn at(seq: u64) -> Place {
        (Epoch(1), Seq(seq))
    }

    /// Changed at 10 (sampled), deleted at 20, made again at 30; the log has come to 40.
    fn watched() -> (Watched, ShardHistory) {
        let mut watched = Watched::new(at(10), &object(10, Some(b"a")));
        watched.changed(at(20), &object(20, None));
        watched.changed(at(30), &object(30, Some(b"c")));
        let mut shard = ShardHistory::default();
        shard.change(at(40));
        (watched, shard)
    }

    #[test]
    fn an_object_is_judged_by_what_the_log_has_at_the_answers_position() {
        let (watched, shard) = watched();
        let judge = |seen: Seen| watched.judge(&shard, &seen);
        let absent = |seq| seen(1, seq, Content::Object(None));
        assert_eq!(judge(shows(9, 3, b"old")), Judged::Stale);
        assert_eq!(judge(absent(9)), Judged::Stale);
        for right in [shows(10, 10, b"a"), shows(19, 10, b"a"), absent(20), absent(29), shows(40, 30, b"c")] {
            assert_eq!(judge(right), Judged::Consistent);
        }
        for wrong in [
            shows(10, 3, b"old"), // old content under a new position: the silent kind
            shows(15, 10, b"b"),  // other content under the right version
            absent(15),           // absent, where the log has it
            shows(25, 10, b"a"),  // deleted meanwhile
            shows(40, 10, b"a"),  // changed meanwhile
            shows(40, 35, b"d"),  // from nowhere
        ] {
            assert!(matches!(judge(wrong), Judged::Wrong(_)));
        }
        // Beyond what the log has told: not guessed.
        assert_eq!(judge(shows(41, 41, b"e")), Judged::NotYet);
        assert_eq!(judge(absent(41)), Judged::NotYet);
        assert_eq!(judge(shows(41, 30, b"c")), Judged::Consistent);
    }

    #[test]
    fn a_promotion_voids_a_lost_change_and_a_lost_branch_is_stale() {
        let (mut watched, mut shard) = watched();
        let start = EpochStart { epoch: Epoch(2), first_seq: Seq(25) };
        shard.epoch(start);
        watched.cut(start);
        // On the branch that was cut off, behind the end: it has the sampled change; of what it shows nobody can tell.
        assert_eq!(watched.judge(&shard, &shows(40, 30, b"c")), Judged::Consistent);
        assert_eq!(watched.judge(&shard, &seen(2, 25, Content::Object(None))), Judged::Consistent);
        let lost = Watched::new(at(30), &object(30, Some(b"c")));
        assert_eq!(lost.judge(&shard, &shows(40, 30, b"c")), Judged::Void);
    }

    fn list(count: u64, edges: &[(u64, Option<u32>)]) -> ChangeItem {
        let value = |time: &u32| EdgeValue { time: Time(*time), fields: EncodedFields::new() };
        let edges = edges.iter().map(|(id2, time)| (ObjectId(*id2), time.as_ref().map(value))).collect();
        let key = ListKey { id1: ObjectId(1), atype: AssocType(2) };
        ChangeItem::List(ListChange { key, prev_version: Seq(0), count, edges })
    }

    #[test]
    fn a_list_is_judged_by_count_edges_and_deletions() {
        let mut watched = Watched::new(at(10), &list(3, &[(7, Some(5)), (8, None)]));
        watched.changed(at(20), &list(2, &[(7, None)]));
        let mut shard = ShardHistory::default();
        shard.change(at(30));
        let count = |seq, version, count| {
            watched.judge(&shard, &seen(1, seq, Content::Count { count, version: Seq(version) }))
        };
        assert_eq!(count(9, 5, 2), Judged::Stale);
        assert_eq!(count(10, 10, 3), Judged::Consistent);
        assert_eq!(count(30, 20, 2), Judged::Consistent);
        assert!(matches!(count(10, 10, 2), Judged::Wrong(_)));
        assert!(matches!(count(30, 10, 3), Judged::Wrong(_)));

        let State::List { edges, .. } = State::of(&list(3, &[(7, Some(5))]), &[ObjectId(7)]) else {
            unreachable!("a list")
        };
        let there: BTreeMap<_, _> =
            edges.into_iter().filter_map(|(id, digest)| Some((id, digest?))).collect();
        let edges = |seq, version, edges: &BTreeMap<ObjectId, u128>| {
            let content = Content::Edges { edges: edges.clone(), version: Seq(version) };
            watched.judge(&shard, &seen(1, seq, content))
        };
        let none = BTreeMap::new();
        assert_eq!(edges(10, 10, &there), Judged::Consistent);
        assert_eq!(edges(20, 20, &none), Judged::Consistent);
        assert!(matches!(edges(10, 10, &none), Judged::Wrong(_)));
        assert!(matches!(edges(20, 20, &there), Judged::Wrong(why) if why.contains("deleted")));
    }
}
