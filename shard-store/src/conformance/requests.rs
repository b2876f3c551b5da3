//! A retry has one effect (R3), whichever leader it reaches.

use std::time::Duration;

use tao_schema::error::ErrorCode;
use tao_schema::ids::{ObjectId, Seq};
use tao_schema::limits::MAX_OBJECT_BYTES;
use tao_schema::ops::Effect;

use super::Verdict;
use super::bench::*;
use crate::store::SharedStore;
use crate::write::{MAX_RETRY_AGE, StoreOp, UnitResult};

const FIRST: Duration = Duration::ZERO;
const RETRY: Duration = Duration::from_secs(2);

/// Add, delete by somebody else, retry of the add: the edge stays deleted (hole H5).
async fn retry_after_a_deletion(bench: &Bench, retried_at: &SharedStore) -> Verdict {
    let shard = bench.shards[0];
    let follows = edge(ObjectId::new(shard, 1), FOLLOWS, ObjectId::new(shard, 2));
    // The retrying leader has seen the shard before, so that it must catch up, not only start.
    done_alone(retried_at, unit(vec![add(ObjectId::new(shard, 9), text("x"))])).await?;
    let attempt = |age| request(7, age, unit(vec![put(follows, 5)]));
    let first = bench.write(attempt(FIRST)).await?;
    ensure!(!first.replayed, "the first attempt is a replay");
    bench.write(request(8, FIRST, unit(vec![remove(follows)]))).await?;
    let retry = done_alone(retried_at, attempt(RETRY)).await?;
    ensure!(retry.replayed, "the retry is not a replay");
    ensure_eq!(retry.outcomes, first.outcomes, "the retry's outcome");
    ensure_eq!(retry.positions, first.positions, "the retry's position");
    ensure_eq!(bench.edge(follows).await?, None, "the deleted edge");
    ensure_eq!(bench.row(shard).await?.seq, Seq(3), "changes of the shard");
    Ok(())
}

pub(super) async fn h5_a_retry_has_one_effect(bench: &Bench) -> Verdict {
    retry_after_a_deletion(bench, &bench.one).await
}

pub(super) async fn h5_a_retry_through_another_leader_has_one_effect(bench: &Bench) -> Verdict {
    retry_after_a_deletion(bench, &bench.other).await
}

pub(super) async fn h5_a_retried_precondition_reports_its_success(bench: &Bench) -> Verdict {
    let x = ObjectId::new(bench.shards[1], 1);
    bench.ops(vec![add(x, text("0"))]).await?;
    let op = StoreOp::ObjectUpdate {
        id: x,
        otype: OTYPE,
        set: text("1"),
        clear: vec![],
        max_bytes: MAX_OBJECT_BYTES,
        expected: Some(Seq(1)),
    };
    let attempt = |age| request(1, age, unit(vec![op.clone()]));
    bench.write(attempt(FIRST)).await?;
    for store in [&bench.one, &bench.other] {
        let retry = done_alone(store, attempt(RETRY)).await?;
        ensure_eq!(effects(&retry), vec![Effect::Updated], "the retried update's effect");
        ensure!(retry.replayed, "the retry is not a replay");
    }
    // Another request with the same precondition is refused.
    let result = bench.commit(vec![request(2, FIRST, unit(vec![op]))]).await?;
    ensure_eq!(refusal(&result.units[0])?.code, ErrorCode::PreconditionFailed, "another request");
    Ok(())
}

pub(super) async fn h5_two_attempts_in_one_batch_have_one_effect(bench: &Bench) -> Verdict {
    let shard = bench.shards[2];
    let attempt = |age| request(1, age, unit_on(shard, vec![allocate()]));
    let result = bench.commit(vec![attempt(FIRST), attempt(RETRY)]).await?;
    let (first, second) = (done(&result, 0)?, done(&result, 1)?);
    ensure_eq!(second.outcomes, first.outcomes, "the second attempt's outcome");
    ensure_eq!(second.positions, first.positions, "the second attempt's position");
    ensure_eq!((first.replayed, second.replayed), (false, true), "which is the replay");
    ensure_eq!(result.changes[0].items.len(), 1, "objects created");
    Ok(())
}

pub(super) async fn h6_a_retried_object_add_gets_the_first_id(bench: &Bench) -> Verdict {
    let shard = bench.shards[3];
    let attempt = |age| request(1, age, unit_on(shard, vec![allocate(), allocate()]));
    let first = bench.write(attempt(FIRST)).await?;
    for store in [&bench.other, &bench.one] {
        ensure_eq!(done_alone(store, attempt(RETRY)).await?.outcomes, first.outcomes, "ids of the retry");
    }
    let next = bench.write(request(2, FIRST, unit_on(shard, vec![allocate()]))).await?;
    ensure!(!first.outcomes.contains(&next.outcomes[0]), "an id was given out twice: {next:?}");
    ensure_eq!(bench.row(shard).await?.seq, Seq(2), "changes of the shard");
    Ok(())
}

pub(super) async fn a_retry_that_comes_too_late_is_refused(bench: &Bench) -> Verdict {
    let x = ObjectId::new(bench.shards[0], 1);
    let attempt = |id, age| request(id, age, unit(vec![add(x, text("x"))]));
    let result = bench.commit(vec![attempt(1, MAX_RETRY_AGE + Duration::from_secs(1))]).await?;
    ensure_eq!(refusal(&result.units[0])?.code, ErrorCode::RetryTooLate, "a retry beyond the limit");
    ensure_eq!(bench.object(x).await?, None, "the object");
    bench.write(attempt(1, MAX_RETRY_AGE)).await?;
    Ok(())
}

pub(super) async fn a_replayed_pair_names_both_shards(bench: &Bench) -> Verdict {
    let [a, b, ..] = bench.shards;
    let [likes, follows] = [LIKES, FOLLOWS].map(|t| edge(ObjectId::new(a, 1), t, ObjectId::new(b, 1)));
    let both = |age| request(1, age, unit(vec![put_pair(likes, 5, together(LIKED_BY))]));
    let first = bench.write(both(FIRST)).await?;
    ensure_eq!(first.positions.len(), 2, "positions of a pair");
    ensure_eq!(first.positions[0].shard, a, "the ordering shard comes first");
    let retry = done_alone(&bench.other, both(RETRY)).await?;
    ensure_eq!(retry.positions, first.positions, "positions of the replay");
    // A pair apart: the replay has nothing pending, the outbox has.
    let apart = |age| request(2, age, unit(vec![put_pair(follows, 5, apart(FOLLOWED_BY))]));
    ensure_eq!(bench.write(apart(FIRST)).await?.pending.len(), 1, "pending inverses");
    let retry = done_alone(&bench.other, apart(RETRY)).await?;
    ensure!(retry.replayed && retry.pending.is_empty(), "the replay of a pair apart: {retry:?}");
    ensure_eq!(bench.outbox(a).await?.len(), 1, "outbox rows");
    Ok(())
}

pub(super) async fn a_refused_request_may_succeed_later(bench: &Bench) -> Verdict {
    let x = ObjectId::new(bench.shards[1], 1);
    let attempt = |age| request(1, age, unit(vec![update(x, text("1"))]));
    let result = bench.commit(vec![attempt(FIRST), attempt(RETRY)]).await?;
    for at in 0..2 {
        let refused = matches!(&result.units[at], UnitResult::Refused(e) if e.code == ErrorCode::NotFound);
        ensure!(refused, "attempt {at} on an absent object: {:?}", result.units[at]);
    }
    bench.ops(vec![add(x, text("0"))]).await?;
    // A refusal left no trace: it is not remembered either.
    let retry = bench.write(attempt(RETRY)).await?;
    ensure!(!retry.replayed, "a refusal was replayed");
    ensure_eq!(bench.object(x).await?.map(|row| row.fields), Some(text("1")), "the object");
    Ok(())
}
