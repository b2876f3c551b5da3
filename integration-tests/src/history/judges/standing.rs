//! What a position is, measured by the truth.

use tao_schema::ids::Position;

use super::Court;

/// Where a position stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// In the present lineage, and its content is known.
    Present,
    /// Beyond the end of its epoch; a log has it.
    Lost,
    /// Beyond the end of its epoch, and no log that was read has it.
    LostUnread,
    /// Older than what is known.
    Unknown,
    /// No log has it: it never was.
    Nowhere,
}

impl Court<'_> {
    pub(super) fn standing(&self, position: Position) -> Standing {
        let Some(truth) = self.truth.shard(position.shard) else { return Standing::Unknown };
        let at = (position.epoch, position.seq);
        let base = truth.base();
        if position.seq.0 == 0 && base.1.0 == 0 {
            return Standing::Present;
        }
        if truth.is_lost(at) {
            let read = truth.at(position.epoch, position.seq).is_some();
            return if read { Standing::Lost } else { Standing::LostUnread };
        }
        if position.seq < base.1 || !truth.is_whole() && position.seq == base.1 {
            return Standing::Unknown;
        }
        if at > truth.end() || position.seq > truth.end().1 { Standing::Nowhere } else { Standing::Present }
    }
}
