//! Alternating rounds.

use std::time::Duration;

use anyhow::Result;

use crate::measure::Plan;
use crate::report::Round;
use crate::say;

/// How often, how long, and where chance starts.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    /// Rounds of each row.
    pub number: usize,
    /// Of one side of a round.
    pub time: Duration,
    /// Of the first round; each has its own.
    pub seed: u64,
}

impl Rounds {
    /// When to measure in a round. Both sides draw the same keys.
    pub fn plan(&self, round: usize) -> Plan {
        Plan::new(self.time, self.seed.wrapping_add(round as u64 * 7_919))
    }
}

/// Measures both sides in turn, in an order that turns around, and puts each round's figures together by `value`.
///
/// # Errors
/// A side fails.
pub async fn alternate(
    rounds: &Rounds,
    name: &str,
    value: impl Fn(f64, f64) -> Round,
    ours: impl AsyncFn(Plan) -> Result<f64>,
    theirs: impl AsyncFn(Plan) -> Result<f64>,
) -> Result<Vec<Round>> {
    let mut all = Vec::new();
    for round in 0..rounds.number {
        let plan = rounds.plan(round);
        let (our, their) = if round % 2 == 0 {
            let our = ours(plan).await?;
            (our, theirs(plan).await?)
        } else {
            let their = theirs(plan).await?;
            (ours(plan).await?, their)
        };
        let round = value(our, their);
        say(&format!("  {name}: {our:.1} against {their:.1}: {:.3}", round.value));
        all.push(round);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test]
    async fn the_order_turns_around_and_both_draw_the_same() {
        let rounds = Rounds { number: 3, time: Duration::from_millis(1), seed: 9 };
        let seen = RefCell::new(Vec::new());
        let side = async |who: char, plan: Plan| {
            seen.borrow_mut().push((who, plan.seed));
            Ok(if who == 'a' { 6.0 } else { 3.0 })
        };
        let measured = alternate(
            &rounds,
            "test",
            Round::ratio,
            async |plan| side('a', plan).await,
            async |plan| side('b', plan).await,
        )
        .await
        .unwrap();
        assert!(measured.iter().all(|round| (round.value - 2.0).abs() < 1e-9));
        let order: String = seen.borrow().iter().map(|(who, _)| *who).collect();
        assert_eq!(order, "abbaab");
        assert!(seen.borrow().chunks(2).all(|pair| pair[0].1 == pair[1].1));
    }
}
