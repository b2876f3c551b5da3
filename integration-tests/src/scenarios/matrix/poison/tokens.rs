//! Sessions that nobody issued.

use std::time::{Duration, Instant};

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tao_client::ErrorCode;
use tao_schema::ids::{Epoch, ObjectId, ObjectType, Position, Seq};

use super::{Ground, Outcome};
use crate::history::Invariant;

/// What a read with a forged token waits.
const PATIENCE: Duration = Duration::from_millis(500);
/// A read may last so much longer than it said it would wait.
const SLACK: Duration = Duration::from_millis(1_000);

pub(super) async fn give(ground: &Ground<'_>, hold: Duration) -> Result<Outcome> {
    let mut random = StdRng::seed_from_u64(ground.seed);
    let mut outcome = Outcome::default();
    let began = Instant::now();
    let mut refused = 0;
    while began.elapsed() < hold {
        let door = &ground.doors[random.random_range(0..ground.doors.len())];
        let id = ObjectId::named(ObjectType(1), random.random_range(0..16), ground.cluster.shards());
        let shard = id.shard();
        let real = door.client.object_get(id).timeout(PATIENCE).send_explained().await;
        let Some(real) = real.ok().and_then(|answer| answer.position) else { continue };
        let ahead = random.random_range(1_000_000..u64::MAX / 2);
        let forged = match random.random_range(0..3) {
            0 => Position { shard, epoch: real.epoch, seq: Seq(real.seq.0.saturating_add(ahead)) },
            1 => Position { shard, epoch: Epoch(real.epoch.0.saturating_add(7)), seq: real.seq },
            _ => Position { shard, epoch: Epoch(u32::MAX), seq: Seq(u64::MAX) },
        };
        let asked = Instant::now();
        let read = door.client.object_get(id).at_least(forged).timeout(PATIENCE).send_explained().await;
        outcome.injected += 1;
        match read {
            Ok(answer) => outcome.wrong(
                Invariant::I2,
                format!(
                    "a read of {id} with the forged token {forged:?} was answered at {:?}",
                    answer.position
                ),
            ),
            Err(error) if error.code == ErrorCode::Internal || error.code == ErrorCode::Corrupt => {
                outcome.wrong(
                    Invariant::I2,
                    format!("a forged token {forged:?} is no fault of the node: {error}"),
                );
            }
            Err(_) => refused += 1,
        }
        if asked.elapsed() > PATIENCE + SLACK {
            let took = asked.elapsed();
            outcome.wrong(Invariant::I9, format!("a read with a forged token took {took:?} of {PATIENCE:?}"));
        }
        // Text that is no session, or a changed one, is either refused at once or as good as a forged one.
        let mut text = door.client.session().export().into_bytes();
        text.extend((0..random.random_range(1..40)).map(|_| random.random_range(b' '..b'~')));
        if let Ok(text) = String::from_utf8(text)
            && let Err(error) = door.client.resume_session(&text)
            && error.code != ErrorCode::InvalidArgument
        {
            outcome.wrong(
                Invariant::I2,
                format!("the session {text:?} is an argument that is wrong, not {error}"),
            );
        }
    }
    outcome.checked.push((Invariant::I2, refused));
    Ok(outcome)
}
