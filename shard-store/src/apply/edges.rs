//! Edges, on the side that orders them.

use tao_schema::error::{Error, ErrorCode, Result};
use tao_schema::ids::{EdgeKey, ListKey, Position, Seq};
use tao_schema::limits::MAX_ASSOC_BYTES;
use tao_schema::ops::Effect;
use tao_schema::planted::{Bug, planted};
use tao_schema::rows::EdgeValue;

use super::rows::{CountRow, EdgeRow};
use super::workspace::{Workspace, precondition};
use crate::write::{ExpectedList, Inverse};

impl Workspace<'_> {
    pub(super) fn check_list(&self, list: ListKey, expected: Option<ExpectedList>) -> Result<()> {
        let Some(ExpectedList(expected)) = expected else { return Ok(()) };
        let version = self.counts.get(&list)?.map_or(Seq::ZERO, |row| row.version);
        if version == expected {
            return Ok(());
        }
        let ListKey { id1, atype } = list;
        Err(precondition(format!("list {id1} of type {atype} has version {version}, not {expected}")))
    }

    pub(super) fn edge_put(
        &mut self,
        edge: EdgeKey,
        value: &EdgeValue,
        create_only: bool,
        inverse: Option<Inverse>,
    ) -> Result<Effect> {
        if create_only && self.edges.get(&edge)?.is_some() {
            let EdgeKey { id1, atype, id2 } = edge;
            return Err(precondition(format!("association {id1} to {id2} of type {atype} exists already")));
        }
        if value.fields.len() > MAX_ASSOC_BYTES {
            let bytes = value.fields.len();
            let message = format!("an association would have {bytes} bytes; the limit is {MAX_ASSOC_BYTES}");
            return Err(Error::invalid(message));
        }
        let position = self.next_position(edge.id1.shard())?;
        let effect = self.write_edge(edge, value, position)?;
        self.settle_inverse(edge, inverse, Some(value))?;
        Ok(effect)
    }

    pub(super) fn edge_delete(&mut self, edge: EdgeKey, inverse: Option<Inverse>) -> Result<Effect> {
        if !self.remove_edge(edge)? {
            self.still_pending(edge, inverse)?;
            return Ok(Effect::Nothing);
        }
        self.settle_inverse(edge, inverse, None)?;
        Ok(Effect::Deleted)
    }

    pub(super) fn edge_change_type(
        &mut self,
        edge: EdgeKey,
        target: EdgeKey,
        inverse: Option<Inverse>,
        new_inverse: Option<Inverse>,
    ) -> Result<Effect> {
        let other = |edge: EdgeKey, inverse: Option<Inverse>| inverse.map(|i| edge.reversed(i.atype));
        let (old_other, new_other) = (other(edge, inverse), other(target, new_inverse));
        // Two pairs that share an edge have no common order (H28).
        if edge == target || old_other == Some(target) || (old_other.is_some() && old_other == new_other) {
            let (old, new) = (edge.atype, target.atype);
            return Err(Error::invalid(format!(
                "an association of type {old} can't become one of type {new}"
            )));
        }
        let Some(row) = self.edges.get(&edge)? else {
            self.still_pending(edge, inverse)?;
            return Ok(Effect::Nothing);
        };
        let value = row.value.clone();
        let position = self.next_position(edge.id1.shard())?;
        self.remove_edge(edge)?;
        self.settle_inverse(edge, inverse, None)?;
        self.write_edge(target, &value, position)?;
        self.settle_inverse(target, new_inverse, Some(&value))?;
        Ok(Effect::Updated)
    }

    /// Writes an edge row and its list's count row. `origin`: where the ordering shard wrote this state.
    pub(super) fn write_edge(
        &mut self,
        edge: EdgeKey,
        value: &EdgeValue,
        origin: Position,
    ) -> Result<Effect> {
        let existed = self.edges.get(&edge)?.is_some();
        let row = EdgeRow { value: value.clone(), epoch: origin.epoch, seq: origin.seq };
        self.edges.set(edge, Some(row))?;
        self.change_list(edge.list(), |count| match existed && !planted(Bug::CountTwice) {
            true => Some(count),
            false => count.checked_add(1),
        })?;
        Ok(if existed { Effect::Updated } else { Effect::Created })
    }

    /// Removes an edge row, if there is one, and counts it. Answers whether there was.
    pub(super) fn remove_edge(&mut self, edge: EdgeKey) -> Result<bool> {
        if self.edges.get(&edge)?.is_none() {
            return Ok(false);
        }
        self.edges.set(edge, None)?;
        self.change_list(edge.list(), |count| count.checked_sub(1))?;
        Ok(true)
    }

    /// The list's count row in this batch's version. Made at the first edge, it stays for ever (R13).
    fn change_list(&mut self, list: ListKey, step: impl FnOnce(u64) -> Option<u64>) -> Result<()> {
        let shard = list.id1.shard();
        let version = self.next_position(shard)?.seq;
        let count = self.counts.get(&list)?.map_or(0, |row| row.count);
        let Some(count) = step(count) else {
            let ListKey { id1, atype } = list;
            let message = format!("the count {count} of list {id1}, type {atype}, contradicts its edges");
            return Err(Error::new(ErrorCode::Corrupt, message));
        };
        self.counts.set(list, Some(CountRow { count, version }))?;
        self.touch(shard);
        Ok(())
    }
}
