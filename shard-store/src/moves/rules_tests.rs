//! What each call does in each state, as a table; and what it writes.

use tao_schema::ids::ShardId;

use super::*;

const SHARD: ShardId = ShardId(7);
const ONE: MoveId = MoveId(1);
const TWO: MoveId = MoveId(2);
const THREE: MoveId = MoveId(3);

const fn at(epoch: u32, seq: u64) -> Position {
    Position { shard: SHARD, epoch: Epoch(epoch), seq: Seq(seq) }
}

/// Where the source is fenced.
const FENCE: Position = at(4, 10);
/// Where the new owner is fenced for the way back.
const BACK: Position = at(5, 15);

/// One server's rows of the shard.
#[derive(Clone)]
struct Server {
    found: ShardMoves,
    any_rows: bool,
}

#[derive(Clone, Copy, Debug)]
enum Call {
    Begin(MoveId),
    /// Going on with move 1.
    Continue(MoveId),
    /// An import that ends at the fence.
    Take(MoveId),
    Commit(MoveId),
    Abort(MoveId),
    SetFence(MoveId),
    Unfence(MoveId),
    /// After the commit of move 1.
    Reverse(MoveId),
    Retire(MoveId),
    Delete,
}

use Call::{Abort, Begin, Commit, Continue, Delete, Retire, Reverse, SetFence, Take, Unfence};

fn proof(move_id: MoveId) -> Committed {
    Committed { move_id, at: at(5, 11), reverse_from: LogPosition::none() }
}

fn drained(step: u64) -> Progress {
    Progress { copied: Copied::ALL, applied: FENCE, position: LogPosition::none(), step }
}

impl Server {
    /// Never had the shard.
    fn without() -> Self {
        Self { found: ShardMoves { row: None, moves: vec![] }, any_rows: false }
    }

    /// Serves it.
    fn serving() -> Self {
        let (epoch, seq, state) = (FENCE.epoch, Seq(FENCE.seq.0 - 1), ShardState::Serving);
        let row = LockedShard { shard: SHARD, epoch, seq, state, next_id: 30 };
        Self { found: ShardMoves { row: Some(row), moves: vec![] }, any_rows: true }
    }

    fn row(&self) -> (ShardState, Position) {
        let row = self.found.row.as_ref().unwrap();
        (row.state, here(row))
    }

    /// Where the other server is fenced.
    fn fence(&self) -> Position {
        let away = self.found.of(ONE).is_some_and(|record| record.role == Role::Source);
        if away { BACK } else { FENCE }
    }

    fn after(mut self, calls: &[Call]) -> Self {
        for call in calls {
            let said = self.call(*call);
            assert!(said == "done", "{call:?}: {said}");
        }
        self
    }

    /// What the call comes to, in a word.
    fn call(&mut self, call: Call) -> &'static str {
        let (shard, none) = (SHARD, LogPosition::none());
        let source = "a".to_owned();
        let begun = |move_id, continues| {
            let (source, position) = (source.clone(), none.clone());
            BeginImport { shard, move_id, source, applied: at(4, 3), position, continues }
        };
        let found = self.found.clone();
        match call {
            Begin(id) => self.done(begin(&found, self.any_rows, &begun(id, None))),
            Continue(id) => self.done(begin(&found, self.any_rows, &begun(id, Some(ONE)))),
            Take(move_id) => {
                self.any_rows = true;
                let step = found.of(move_id).map_or(0, |record| record.progress.step);
                let progress = Progress { applied: self.fence(), ..drained(step + 1) };
                let import = Import { shard, move_id, step, puts: vec![], deletes: vec![], progress };
                self.done(super::import(&found, &import))
            }
            Commit(move_id) => {
                let commit =
                    CommitImport { shard, move_id, fence: self.fence(), next_id: 30, executed: none };
                self.done(super::commit(&found, &commit))
            }
            Abort(move_id) => self.done(abort(&found, &AbortImport { shard, move_id, source })),
            SetFence(move_id) => {
                let epoch = found.row.map_or(FENCE.epoch, |row| row.epoch);
                let asked = FenceShard { shard, move_id, epoch, target: "b".to_owned() };
                self.done(fence(&found, &asked))
            }
            Unfence(move_id) => self.done(unfence(&found, &Aborted { shard, move_id })),
            Reverse(move_id) => {
                self.done(reverse(&found, &BeginReverse { committed: proof(ONE), move_id, source }))
            }
            Retire(move_id) => self.done(retire(&found, &proof(move_id))),
            Delete => self.done(delete(&found)),
        }
    }

    fn done<T>(&mut self, ruled: Ruled<T>) -> &'static str {
        match Ruling::of(ruled) {
            Ruling::Write(change, _) => {
                let before = self.found.row;
                self.found.row = change.row.or(before);
                assert_eq!(self.found.row.map(|row| row.shard), before.or(change.row).map(|_| SHARD));
                for record in change.records {
                    self.found.moves.retain(|known| known.move_id != record.move_id);
                    self.found.moves.push(record);
                }
                self.found.moves.sort_by_key(|record| record.move_id);
                self.one_import_runs_while_the_row_says_so();
                "done"
            }
            Ruling::Answer(Answer::Refused(refusal)) => match refusal {
                Refusal::State(_) => "state",
                Refusal::OtherMove(_) => "other",
                Refusal::UnknownMove => "unknown",
                Refusal::WrongRole(_) => "role",
                Refusal::Aborted => "aborted",
                Refusal::Committed => "committed",
                Refusal::Epoch(_) => "epoch",
                Refusal::RowsExist => "rows",
                Refusal::NotDrained(_) => "drain",
                Refusal::Step(_) => "step",
            },
            Ruling::Answer(_) => "already",
        }
    }

    fn one_import_runs_while_the_row_says_so(&self) {
        let running = |role| {
            let of_role = self.found.moves.iter().filter(move |record| record.role == role);
            of_role.filter(|record| record.outcome == Outcome::Running).count()
        };
        let state = self.found.row.map(|row| row.state);
        assert_eq!(running(Role::Target), usize::from(state == Some(ShardState::Importing)));
        assert_eq!(running(Role::Source), usize::from(state == Some(ShardState::Fenced)));
    }
}

/// Each row: a state, and what each of the calls comes to in it.
fn check(calls: &[Call], table: &[(&str, Server, &str)]) {
    for (name, server, expected) in table {
        let said: Vec<_> = calls.iter().map(|call| server.clone().call(*call)).collect();
        assert_eq!(said.join(" "), *expected, "{name}, of {calls:?}");
    }
}

#[test]
fn each_call_on_a_target_in_each_state() {
    let calls = [
        Begin(ONE),
        Begin(TWO),
        Continue(TWO),
        Take(ONE),
        Commit(ONE),
        Abort(ONE),
        Abort(TWO),
        SetFence(TWO),
        Unfence(ONE),
        Retire(ONE),
        Delete,
    ];
    let target = |calls: &[Call]| Server::without().after(calls);
    let aborted = [Begin(ONE), Take(ONE), Abort(ONE)];
    check(
        &calls,
        &[
            // begin 1, 2, go on; import, commit; abort 1, 2; fence, unfence; retire, delete
            (
                "never here",
                target(&[]),
                "done done unknown unknown unknown done done state state unknown state",
            ),
            (
                "importing",
                target(&[Begin(ONE)]),
                "already other state done drain done done state role role state",
            ),
            (
                "drained",
                target(&[Begin(ONE), Take(ONE)]),
                "already other state done done done done state role role state",
            ),
            (
                "committed",
                target(&[Begin(ONE), Take(ONE), Commit(ONE)]),
                "committed state committed committed already committed done done role role state",
            ),
            (
                "aborted",
                target(&aborted),
                "aborted rows done aborted aborted already done state role role done",
            ),
            (
                "aborted and deleted",
                target(&[Begin(ONE), Take(ONE), Abort(ONE), Delete]),
                "aborted rows state aborted aborted already done state role role done",
            ),
            (
                "aborted before it began",
                target(&[Abort(ONE)]),
                "aborted done state aborted aborted already done state state role state",
            ),
            (
                "gone on with",
                target(&aborted).after(&[Continue(TWO)]),
                "aborted already already aborted aborted already done role role role state",
            ),
        ],
    );
}

#[test]
fn each_call_on_a_source_in_each_state() {
    let calls = [
        SetFence(ONE),
        SetFence(TWO),
        Unfence(ONE),
        Reverse(TWO),
        Abort(TWO),
        Commit(TWO),
        Retire(ONE),
        Delete,
        Begin(THREE),
        Continue(THREE),
    ];
    let source = |calls: &[Call]| Server::serving().after(calls);
    let back = [SetFence(ONE), Reverse(TWO)];
    check(
        &calls,
        &[
            // fence 1, 2, unfence; reverse, abort, commit of it; retire, delete; begin, go on
            ("serving", source(&[]), "done done done unknown done unknown unknown state state unknown"),
            (
                "fenced",
                source(&[SetFence(ONE)]),
                "already state done done done unknown done state state role",
            ),
            (
                "opened again",
                source(&[SetFence(ONE), Unfence(ONE)]),
                "aborted done already aborted done unknown aborted state state role",
            ),
            (
                "never fenced",
                source(&[Unfence(ONE)]),
                "aborted done already aborted done unknown aborted state state role",
            ),
            (
                "turned round",
                source(&back),
                "committed role committed already done drain done state other role",
            ),
            (
                "turned round and drained",
                source(&back).after(&[Take(TWO)]),
                "committed role committed already done done done state other role",
            ),
            (
                "the way back aborted",
                source(&back).after(&[Abort(TWO)]),
                "committed role committed aborted already aborted done done rows role",
            ),
            (
                "retired",
                source(&[SetFence(ONE), Retire(ONE)]),
                "committed state committed committed done unknown already done rows role",
            ),
        ],
    );
}

#[test]
fn h29_whoever_was_replaced_comes_too_late() {
    // A server that has heard of move 2 begins and fences nothing for move 1, whatever the row says.
    for calls in [&[Abort(TWO)][..], &[Unfence(TWO)]] {
        assert_eq!(Server::serving().after(calls).call(SetFence(ONE)), "other", "{calls:?}");
    }
    assert_eq!(Server::without().after(&[Abort(TWO)]).call(Begin(ONE)), "other");
    let fenced = Server::serving().after(&[Unfence(TWO), SetFence(THREE)]);
    assert_eq!(fenced.clone().call(Reverse(TWO)), "role");
    assert_eq!(fenced.clone().call(Unfence(TWO)), "already");
    assert_eq!(fenced.row().0, ShardState::Fenced, "the fence of move 3 stays");
    // That move 1 never fenced is noted without harm to the fence of move 3.
    let noted = fenced.after(&[Unfence(ONE)]);
    assert_eq!(noted.row(), (ShardState::Fenced, FENCE));
}

#[test]
fn a_commit_opens_the_epoch_after_the_fence_and_compares_the_whole_position() {
    let server = Server::without().after(&[Begin(ONE), Take(ONE)]);
    let commit = |fence| CommitImport {
        shard: SHARD,
        move_id: ONE,
        fence,
        next_id: 30,
        executed: LogPosition::none(),
    };
    for wrong in [at(4, 9), at(4, 11), at(5, 10), at(3, 10)] {
        assert!(matches!(super::commit(&server.found, &commit(wrong)), Err(Refusal::NotDrained(FENCE))));
    }
    let mut part = server.clone();
    part.found.moves[0].progress.copied = Copied::whole(crate::moves::MoveTable::Object);
    assert_eq!(part.call(Commit(ONE)), "drain", "a table is missing");
    let committed = server.after(&[Commit(ONE)]);
    assert_eq!(committed.row(), (ShardState::Serving, at(5, 11)));
    assert_eq!(committed.found.of(ONE).unwrap().epoch, Epoch(5));

    // The source was promoted while it was copied, so the fence is in a newer epoch than the one that the copy began in.
    let mut later = Server::without().after(&[Begin(ONE)]);
    later.found.moves[0].progress = Progress { applied: at(9, 40), ..drained(1) };
    let change = super::commit(&later.found, &commit(at(9, 40)));
    let Ok(Ruling::Write(change, proof)) = change else { panic!("the commit was refused") };
    let start = EpochStart { epoch: Epoch(10), first_seq: Seq(41) };
    assert_eq!((proof.at(), change.opened, change.advances), (at(10, 41), Some(start), true));
}

#[test]
fn a_fence_that_is_taken_away_opens_an_epoch_past_the_commit() {
    let fenced = Server::serving().after(&[SetFence(ONE)]);
    assert_eq!(fenced.row(), (ShardState::Fenced, FENCE));
    let gone = Aborted { shard: SHARD, move_id: ONE };
    let Ok(Ruling::Write(change, opened)) = unfence(&fenced.found, &gone) else { panic!("refused") };
    let start = EpochStart { epoch: Epoch(6), first_seq: Seq(11) };
    assert_eq!((opened, change.opened, change.advances), (at(6, 11), Some(start), true));
    let open = fenced.after(&[Unfence(ONE)]);
    assert_eq!(open.row(), (ShardState::Serving, at(6, 11)));
    // Again, much later: where it was opened, not where it is.
    let mut later = open;
    later.found.row.as_mut().unwrap().seq = Seq(99);
    let again = unfence(&later.found, &gone);
    assert!(matches!(again, Ok(Ruling::Answer(Answer::AlreadyDone(opened))) if opened == at(6, 11)));
}

#[test]
fn a_move_goes_on_where_the_last_one_ended_and_nowhere_else() {
    let aborted = Server::without().after(&[Begin(ONE), Take(ONE), Abort(ONE)]);
    let continued = aborted.clone().after(&[Continue(TWO)]);
    assert_eq!(continued.found.of(TWO).unwrap().progress, drained(1));
    assert_eq!(continued.row().0, ShardState::Importing);
    // One that never began is not in the way of going on with the one before.
    aborted.clone().after(&[Abort(TWO), Continue(THREE)]);
    // The rows are those of move 2 since.
    let by_two = continued.after(&[Take(TWO), Abort(TWO)]);
    assert_eq!(by_two.clone().call(Continue(THREE)), "other");
    // A deletion says so in the state.
    assert_eq!(aborted.after(&[Delete]).row().0, ShardState::Gone);
}

#[test]
fn what_was_retired_stays_so_whatever_comes_back() {
    // Moved away, its rows deleted, and copied here again by another move: the deletion of the first move is over.
    let mut server = Server::serving().after(&[SetFence(ONE), Retire(ONE), Delete]);
    server.any_rows = false;
    let again = server.after(&[Begin(THREE)]);
    assert_eq!(again.clone().call(Retire(ONE)), "already");
    assert_eq!(again.row().0, ShardState::Importing);
    // So it is if the way back was aborted, and its rows deleted, before anybody retired the first move.
    let mut server = Server::serving().after(&[SetFence(ONE), Reverse(TWO), Abort(TWO), Delete]);
    server.any_rows = false;
    let again = server.after(&[Begin(THREE)]);
    assert_eq!(again.clone().call(Retire(ONE)), "already");
    assert_eq!(again.row().0, ShardState::Importing);
}

#[test]
fn a_source_that_is_older_than_what_was_here_is_refused() {
    let mut server = Server::without().after(&[Begin(ONE), Abort(ONE)]);
    server.found.row.as_mut().unwrap().epoch = Epoch(5);
    assert_eq!(server.call(Begin(TWO)), "epoch");
    assert_eq!(server.call(Continue(TWO)), "done", "its log goes on in the epochs that follow");
}
