//! The observer as a whole, with a log, nodes and a clock made by hand.

use std::sync::Arc;
use std::time::Duration;

use tao_schema::fields::EncodedFields;
use tao_schema::ids::{Epoch, HostGroupId, ObjectId, ObjectType, Position, PrimaryTime, Seq, ShardId};
use tao_schema::ops::{Answer, ReadReply};
use tao_schema::rows::{ChangeItem, EpochStart, ObjectRow, ShardChange, ShardState};
use tao_shard_store::log::{Beat, BeatWriter, Survey, TailEvent};
use tao_shard_store::store::ShardRow;

use super::item::Seen;
use super::looks::{Answered, Look};
use super::metrics::Metrics;
use super::observer::{Observer, Proof, Rules};
use super::report::Report;
use super::tally::{Role, Target};

const GROUP: HostGroupId = HostGroupId(1);
const SHARD: ShardId = ShardId(0);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn observer(rate: f64) -> Observer {
    let ages = vec![ms(1_000), ms(5_000), ms(60_000)];
    let metrics = Metrics::new(&ages);
    let mut observer = Observer::new(Rules { ages, rate, seed: 1 }, metrics);
    observer.started(std::time::SystemTime::UNIX_EPOCH);
    let row = ShardRow { shard: SHARD, epoch: Epoch(1), seq: Seq(9), state: ShardState::Serving };
    observer.on_opened(GROUP, &Survey { rows: vec![row], epochs: Vec::new(), beat: None }, true);
    observer
}

fn row(seq: u64) -> ObjectRow {
    let fields = EncodedFields(seq.to_le_bytes().to_vec().into());
    ObjectRow { otype: ObjectType(1), version: Seq(seq), fields }
}

/// The object of number `id` is written at `seq`.
fn write(id: u64, epoch: u32, seq: u64) -> TailEvent {
    let item = ChangeItem::Object { id: ObjectId(id), row: Some(row(seq)) };
    let change = ShardChange { shard: SHARD, epoch: Epoch(epoch), seq: Seq(seq), items: vec![item] };
    TailEvent::Change { change: Arc::new(change), state: ShardState::Serving }
}

fn target(node: &str) -> Arc<Target> {
    let (region, address) = ("east".to_owned(), String::new());
    Arc::new(Target { region, role: Role::Follower, node: node.to_owned(), address })
}

fn two(_: ShardId) -> Vec<Arc<Target>> {
    vec![target("one"), target("two")]
}

/// An answer that shows the object of `version`, right at `position`.
fn shows(epoch: u32, position: u64, version: u64) -> Seen {
    let position = Position { shard: SHARD, epoch: Epoch(epoch), seq: Seq(position) };
    let answer = Answer::Object(Some((ObjectId(0), row(version))));
    Seen::of(&ReadReply { position, answer, explain: None, time: None })
}

fn answered(look: Look, seen: Seen) -> Answered {
    let at = look.due + ms(3);
    Answered { look, outcome: Ok(vec![seen]), began: at, ended: at + ms(2) }
}

/// A sampled change at `seq`, shown by the primary at 100 ms.
fn sampled(observer: &mut Observer, seq: u64) -> Proof {
    let proof = observer.on_log(GROUP, &[write(7, 1, seq)], ms(90)).pop().expect("the first change is taken");
    observer.on_shown(proof.sample, ms(100));
    proof
}

fn report(observer: &Observer) -> Report {
    Report::of(observer, Vec::new(), 0.0)
}

#[test]
fn a_change_is_looked_at_everywhere_at_each_age_and_then_forgotten() {
    let mut observer = observer(10.0);
    let proof = sampled(&mut observer, 10);
    assert_eq!(proof.position, Position { shard: SHARD, epoch: Epoch(1), seq: Seq(10) });
    assert!(observer.looks_due(ms(1_099), two).is_empty(), "not before its time");
    for due in [1_100, 5_100, 60_100] {
        assert_eq!(observer.next_due(), Some(ms(due)));
        let looks = observer.looks_due(ms(due), two);
        assert_eq!(looks.len(), 2);
        for look in looks {
            assert_eq!(observer.on_answer(answered(look, shows(1, 10, 10))), None);
        }
    }
    assert!(observer.idle() && observer.next_due().is_none());
    let report = report(&observer);
    assert_eq!((report.samples, report.inconsistency_count, report.judged()), (1, 0, true));
    assert!(report.ages.iter().all(|line| line.counts.consistent == 2 && line.judged == 2));
}

#[test]
fn staleness_that_lasts_is_verified_only_at_the_end() {
    let mut observer = observer(10.0);
    sampled(&mut observer, 10);
    for due in [1_100, 5_100] {
        for look in observer.looks_due(ms(due), two) {
            let seq = if look.target.node == "two" { 9 } else { 10 };
            // No verification: it might bring the node up to date.
            assert_eq!(observer.on_answer(answered(look, shows(1, seq, seq))), None);
        }
    }
    assert_eq!(report(&observer).inconsistency_count, 0, "it may still come");
    let mut verification = None;
    for look in observer.looks_due(ms(60_100), two) {
        let seq = if look.target.node == "two" { 9 } else { 10 };
        verification = verification.or(observer.on_answer(answered(look, shows(1, seq, seq))));
    }
    let verification = verification.expect("a stale answer at the last age is verified");
    assert!(verification.verifies.is_some() && !observer.idle());
    assert_eq!(observer.on_answer(answered(verification, shows(1, 10, 10))), None);
    let report = report(&observer);
    assert_eq!(report.ages.iter().map(|line| line.counts.stale).collect::<Vec<_>>(), [1, 1, 1]);
    let [found] = report.inconsistencies.as_slice() else { panic!("one finding: {report:?}") };
    assert_eq!((found.node.as_str(), found.verdict), ("two", "stale"));
    let since = found.since.as_deref();
    assert_eq!((found.age.as_str(), since), ("60s", Some("1970-01-01T00:00:00.100Z")));
    assert_eq!((found.change.as_str(), found.answered.as_str()), ("0:1:10", "0:1:9"));
    assert_eq!(found.proved.as_deref(), Some("0:1:10"));
    assert!(observer.idle());
}

#[test]
fn what_cannot_be_told_is_unknown_and_never_consistent() {
    let mut observer = observer(10.0);
    sampled(&mut observer, 10);
    let mut looks = observer.looks_due(ms(1_100), two);
    let (slow, down) = (looks.pop().expect("two looks"), looks.pop().expect("two looks"));
    let outcome = Err("no answer within 5s".to_owned());
    observer.on_answer(Answered { look: down, outcome, began: ms(1_101), ended: ms(6_101) });
    // It has the change, but answers long after the time that was asked for.
    let outcome = Ok(vec![shows(1, 10, 10)]);
    observer.on_answer(Answered { look: slow, outcome, began: ms(1_101), ended: ms(1_700) });
    // Beyond what the log has told, until patience ends.
    for look in observer.looks_due(ms(5_100), two) {
        assert_eq!(observer.on_answer(answered(look, shows(1, 12, 12))), None);
    }
    assert!(observer.settle(ms(6_000)).is_empty());
    assert_eq!(report(&observer).ages[1].counts.unknown, 0, "still waited for");
    observer.settle(ms(7_200));
    let report = report(&observer);
    assert_eq!([report.ages[0].judged, report.ages[1].judged], [0, 0]);
    assert_eq!([report.ages[0].counts.unknown, report.ages[1].counts.unknown], [2, 2]);
    let reasons: Vec<_> = report.unknown.keys().copied().collect();
    assert_eq!(reasons, ["answered late", "beyond the log", "error"]);
}

#[test]
fn an_answer_ahead_of_the_log_is_judged_when_the_log_has_come() {
    let mut observer = observer(10.0);
    sampled(&mut observer, 10);
    for look in observer.looks_due(ms(1_100), two) {
        let version = if look.target.node == "two" { 11 } else { 12 };
        observer.on_answer(answered(look, shows(1, 12, version)));
    }
    observer.on_log(GROUP, &[write(7, 1, 11), write(7, 1, 12)], ms(1_200));
    assert!(observer.settle(ms(1_200)).is_empty());
    let report = report(&observer);
    assert_eq!((report.ages[0].counts.consistent, report.ages[0].counts.wrong), (1, 1));
    assert_eq!(report.inconsistency_count, 1, "a wrong answer counts at any age");
}

#[test]
fn a_promotion_voids_what_it_lost_and_nothing_else() {
    let mut observer = observer(10.0);
    let kept = observer.on_log(GROUP, &[write(7, 1, 10)], ms(0)).pop().expect("taken");
    let lost = observer.on_log(GROUP, &[write(8, 1, 11)], ms(1)).pop().expect("taken");
    observer.on_shown(kept.sample, ms(10));
    observer.on_shown(lost.sample, ms(10));
    let start = EpochStart { epoch: Epoch(2), first_seq: Seq(11) };
    observer.on_log(GROUP, &[TailEvent::Epoch { shard: SHARD, start }, write(9, 2, 11)], ms(500));
    for look in observer.looks_due(ms(1_010), two) {
        observer.on_answer(answered(
            look.clone(),
            shows(2, 11, if look.sample == kept.sample { 10 } else { 11 }),
        ));
    }
    let report = report(&observer);
    assert_eq!((report.ages[0].counts.consistent, report.ages[0].counts.unknown), (2, 2));
    assert_eq!((report.void, report.inconsistency_count), (1, 0));
}

#[test]
fn what_nobody_has_seen_or_whose_age_is_unknown_is_not_sampled() {
    let mut observer = observer(10.0);
    assert!(observer.on_log(GROUP, &[write(7, 1, 9)], ms(0)).is_empty(), "made before the log was opened");
    let unproved = observer.on_log(GROUP, &[write(7, 1, 10)], ms(1)).pop().expect("taken");
    observer.on_not_shown(unproved.sample);
    assert!(observer.idle() && observer.next_due().is_none());
    // A heartbeat that took seconds: so did the changes beside it.
    let beat =
        |time| TailEvent::Beat { beat: Beat { writer: BeatWriter(1), nonce: time }, time: PrimaryTime(time) };
    observer.on_log(GROUP, &[beat(1_000)], ms(1_000));
    assert!(observer.on_log(GROUP, &[beat(1_250), write(7, 1, 11)], ms(5_000)).is_empty());
    assert_eq!(observer.on_log(GROUP, &[beat(5_200), write(7, 1, 12)], ms(5_200)).len(), 1);
    // A log that begins anew says nothing of what was watched before.
    let row = ShardRow { shard: SHARD, epoch: Epoch(1), seq: Seq(20), state: ShardState::Serving };
    observer.on_opened(GROUP, &Survey { rows: vec![row], epochs: Vec::new(), beat: None }, true);
    assert!(observer.idle());
    assert_eq!(report(&observer).void, 2);
}

#[test]
fn a_node_that_does_not_answer_gets_no_more_than_its_share() {
    let mut observer = observer(1_000.0);
    let events: Vec<_> = (0..40).map(|at| write(100 + at, 1, 10 + at)).collect();
    let proofs = observer.on_log(GROUP, &events, ms(0));
    assert_eq!(proofs.len(), 40);
    for proof in proofs {
        observer.on_shown(proof.sample, ms(0));
    }
    let looks = observer.looks_due(ms(1_000), |_| vec![target("one")]);
    assert_eq!(looks.len(), 16);
    assert_eq!(report(&observer).unknown["busy"], 24);
}
