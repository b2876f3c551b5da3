//! What a promotion does with a shard's row, while moves are under way (R24, R25).

use tao_schema::ids::{Epoch, Position, Seq};
use tao_schema::planted::{Bug, planted};
use tao_schema::rows::ShardState;

/// What becomes of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// Nothing: it was written by this promotion already, or it was fenced and is not owned.
    Stays,
    /// Nothing: it is a move's.
    Left,
    /// It serves in a new epoch.
    Opens {
        /// The epoch.
        epoch: Epoch,
        /// Where it starts.
        first_seq: Seq,
        /// What the row says then.
        seq: Seq,
    },
}

/// The row is at `at`; `by_move`: a move from here, which is not over, fenced it; `owned`: by the topology it is this
/// server's, in the first epoch before and in the second one afterwards.
///
/// A move decides with rows, not with the topology, which may not say yet what was decided. So a row that a move holds is left
/// to it, epoch included: who opened it would be a second owner beside the one that the move may have made. And a row that
/// serves goes on serving, whatever the topology has. Its epoch then goes up from what it is: whoever tells the topology of the
/// move reads it here.
///
/// # Errors
/// It is older than the topology says: this server lacks more than the last writes.
pub(crate) fn fate(
    at: Position,
    state: ShardState,
    by_move: bool,
    owned: Option<(Epoch, Epoch)>,
) -> Result<Fate, String> {
    let left = match state {
        ShardState::Importing | ShardState::Aborted | ShardState::Gone => true,
        ShardState::Fenced => by_move && !planted(Bug::PromotionOpensFenced),
        ShardState::Serving => false,
    };
    if left {
        return Ok(Fate::Left);
    }
    let next = Epoch(at.epoch.0 + 1);
    let epoch = match owned {
        Some((_, new)) if at.epoch == new => return Ok(Fate::Stays),
        Some((old, new)) if at.epoch < old => {
            return Err(format!("shard {} is in epoch {}, neither {old} nor {new}", at.shard, at.epoch));
        }
        Some((_, new)) => next.max(new),
        None if state == ShardState::Fenced => return Ok(Fate::Stays),
        None => next,
    };
    let first_seq = at.seq.next();
    // A row that changes its state takes a seq for that, as everywhere, so that caches hear of it.
    let seq = if state == ShardState::Serving { at.seq } else { first_seq };
    Ok(Fate::Opens { epoch, first_seq, seq })
}

#[cfg(test)]
mod tests {
    use tao_schema::ids::ShardId;

    use super::*;

    #[test]
    fn r24_what_a_promotion_does_with_each_row() {
        use ShardState::{Aborted, Fenced, Gone, Importing, Serving};
        let at = |epoch| Position { shard: ShardId(3), epoch: Epoch(epoch), seq: Seq(9) };
        let owned = Some((Epoch(4), Epoch(5)));
        let opens = |epoch, seq| Ok(Fate::Opens { epoch: Epoch(epoch), first_seq: Seq(10), seq: Seq(seq) });
        let table = [
            ("the usual case", 4, Serving, false, owned, opens(5, 9)),
            ("again", 5, Serving, false, owned, Ok(Fate::Stays)),
            ("fenced by hand", 4, Fenced, false, owned, opens(5, 10)),
            ("a fence of a move taken away, the topology not told", 6, Serving, false, owned, opens(7, 9)),
            ("fenced by a move", 4, Fenced, true, owned, Ok(Fate::Left)),
            ("fenced by a move, in an epoch that nobody told of", 6, Fenced, true, owned, Ok(Fate::Left)),
            ("brought by a move, the topology not told", 8, Serving, false, None, opens(9, 9)),
            ("taken away by a move, the topology told", 4, Fenced, true, None, Ok(Fate::Left)),
            ("fenced by hand, and another's", 4, Fenced, false, None, Ok(Fate::Stays)),
            ("on its way to here", 4, Importing, false, None, Ok(Fate::Left)),
            ("on its way back to here", 4, Importing, false, owned, Ok(Fate::Left)),
            ("given up", 4, Aborted, false, None, Ok(Fate::Left)),
            ("gone", 4, Gone, false, None, Ok(Fate::Left)),
        ];
        for (name, epoch, state, by_move, owned, expected) in table {
            assert_eq!(fate(at(epoch), state, by_move, owned), expected, "{name}");
        }
        assert!(fate(at(3), Serving, false, owned).is_err(), "the server lacks an epoch");
    }
}
