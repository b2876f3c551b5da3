//! One table's rows as a batch sees them: what was read, what it is now, and how to take a refused unit back.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::RangeBounds;

use tao_schema::error::{Error, Result};

use super::plan::Mutations;

/// A row before and after.
struct Cell<R> {
    before: Option<R>,
    now: Option<R>,
}

/// Rows by key. Every key that a unit may touch is declared before (it was read, found or absent): a read of another
/// key is an error, because a row that nobody read must never pass for absent.
pub(super) struct Overlay<K, R> {
    cells: BTreeMap<K, Cell<R>>,
    undo: Vec<(K, Option<R>)>,
}

impl<K: Ord + Copy + Debug, R: Clone + PartialEq> Overlay<K, R> {
    /// All of `keys` absent until loaded.
    pub(super) fn new(keys: impl IntoIterator<Item = K>) -> Self {
        let cells = keys.into_iter().map(|key| (key, Cell { before: None, now: None })).collect();
        Self { cells, undo: Vec::new() }
    }

    /// A row that exists in the database. Rows that were not asked for are ignored.
    pub(super) fn load(&mut self, key: K, row: R) {
        if let Some(cell) = self.cells.get_mut(&key) {
            cell.before = Some(row.clone());
            cell.now = Some(row);
        }
    }

    pub(super) fn knows(&self, key: &K) -> bool {
        self.cells.contains_key(key)
    }

    pub(super) fn get(&self, key: &K) -> Result<Option<&R>> {
        self.cells.get(key).map(|cell| cell.now.as_ref()).ok_or_else(|| unread(key))
    }

    pub(super) fn set(&mut self, key: K, row: Option<R>) -> Result<()> {
        let cell = self.cells.get_mut(&key).ok_or_else(|| unread(&key))?;
        let old = std::mem::replace(&mut cell.now, row);
        self.undo.push((key, old));
        Ok(())
    }

    /// The unit stands.
    pub(super) fn keep(&mut self) {
        self.undo.clear();
    }

    /// The unit is refused: everything as it was before it.
    pub(super) fn take_back(&mut self) {
        while let Some((key, old)) = self.undo.pop() {
            if let Some(cell) = self.cells.get_mut(&key) {
                cell.now = old;
            }
        }
    }

    /// Rows of a range that differ from what was read: key, before, now.
    pub(super) fn changed(
        &self,
        range: impl RangeBounds<K>,
    ) -> impl Iterator<Item = (&K, Option<&R>, Option<&R>)> {
        let cells = self.cells.range(range).filter(|(_, cell)| cell.before != cell.now);
        cells.map(|(key, cell)| (key, cell.before.as_ref(), cell.now.as_ref()))
    }

    /// The row images to write, in order of key.
    pub(super) fn mutations(&self) -> Mutations<K, R> {
        let mut mutations = Mutations { puts: Vec::new(), overwrites: 0, deletes: Vec::new() };
        for (key, before, now) in self.changed(..) {
            match now {
                Some(row) => {
                    mutations.puts.push((*key, row.clone()));
                    mutations.overwrites += usize::from(before.is_some());
                }
                None => mutations.deletes.push(*key),
            }
        }
        mutations
    }
}

fn unread(key: &impl Debug) -> Error {
    Error::internal(format!("the row {key:?} was not read before it was needed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_was_not_read_is_not_absent() {
        let mut rows: Overlay<u8, &str> = Overlay::new([1]);
        assert_eq!(rows.get(&1).unwrap(), None);
        assert!(rows.get(&2).is_err());
        assert!(rows.set(2, Some("x")).is_err());
        assert_eq!(rows.mutations(), Mutations { puts: vec![], overwrites: 0, deletes: vec![] });
    }

    #[test]
    fn a_refused_unit_is_taken_back_to_where_it_began() {
        let mut rows = Overlay::new([1, 2, 3]);
        rows.load(1, "read");
        rows.set(1, Some("kept")).unwrap();
        rows.set(2, Some("kept")).unwrap();
        rows.keep();
        rows.set(1, None).unwrap();
        rows.set(1, Some("refused")).unwrap();
        rows.set(3, Some("refused")).unwrap();
        rows.take_back();
        assert_eq!(rows.get(&1).unwrap(), Some(&"kept"));
        let puts = vec![(1, "kept"), (2, "kept")];
        assert_eq!(rows.mutations(), Mutations { puts, overwrites: 1, deletes: vec![] });
    }

    #[test]
    fn only_rows_that_differ_are_written() {
        let mut rows = Overlay::new([1, 2, 3]);
        rows.load(1, "same");
        rows.load(2, "gone");
        rows.set(1, Some("other")).unwrap();
        rows.set(1, Some("same")).unwrap();
        rows.set(2, None).unwrap();
        rows.set(3, Some("came")).unwrap();
        rows.set(3, None).unwrap();
        assert_eq!(rows.mutations(), Mutations { puts: vec![], overwrites: 0, deletes: vec![2] });
    }
}
