//! Positions in logs, as sets of global transaction ids.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A set of transactions, as the server's dialect writes it. Comparable between the servers of one host group.
///
/// MySQL: `uuid:1-5:7,uuid:1-3`, exact sets. MariaDB: `domain-server-sequence,…`, the last of each server: a server's
/// sequence numbers in a domain only grow, so the last one stands for all before it. Memory: `memory-sequence`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct LogPosition {
    /// By source (uuid, `domain-server`, or `memory`): intervals of sequence numbers, both ends included, ascending.
    sources: BTreeMap<String, Vec<(u64, u64)>>,
}

/// A text that is no position.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is no set of transaction ids")]
pub struct NotAPosition(pub String);

impl LogPosition {
    /// Nothing was executed.
    pub const fn none() -> Self {
        Self { sources: BTreeMap::new() }
    }

    /// Whether every transaction of `other` is in this set.
    pub fn covers(&self, other: &Self) -> bool {
        other.without(self).is_empty()
    }

    /// Whether it holds no transaction.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// The transactions of this set that are not in `other`: after a failover, what the other server lacks.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut left = BTreeMap::new();
        for (source, intervals) in &self.sources {
            let theirs = other.sources.get(source).map_or(&[][..], Vec::as_slice);
            let rest: Vec<_> = intervals.iter().flat_map(|interval| subtract(*interval, theirs)).collect();
            if !rest.is_empty() {
                left.insert(source.clone(), rest);
            }
        }
        Self { sources: left }
    }

    /// Adds one transaction; unless the source is one of MySQL's (a uuid), it stands for all before it.
    pub fn add(&mut self, source: &str, sequence: u64) {
        let intervals = self.sources.entry(source.to_owned()).or_default();
        if !is_uuid(source) {
            let last = intervals.last().map_or(sequence, |interval| interval.1.max(sequence));
            *intervals = vec![(1, last)];
            return;
        }
        // The usual case: the next one of its source.
        if let Some(last) = intervals.last_mut()
            && last.1.checked_add(1) == Some(sequence)
        {
            last.1 = sequence;
            return;
        }
        intervals.push((sequence, sequence));
        *intervals = merged(std::mem::take(intervals));
    }

    /// Sources with their intervals, ascending.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &[(u64, u64)])> {
        self.sources.iter().map(|(source, intervals)| (source.as_str(), intervals.as_slice()))
    }

    /// Number of transactions; for MariaDB, of sequence numbers.
    pub fn len(&self) -> u64 {
        self.sources.values().flatten().map(|(first, last)| last - first + 1).sum()
    }
}

/// Sources of the other kinds, `domain-server` and `memory`, are shorter than a uuid.
fn is_uuid(source: &str) -> bool {
    source.len() == 36
}

fn subtract((first, last): (u64, u64), theirs: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut rest = Vec::new();
    let mut from = first;
    for (low, high) in theirs {
        if *high < from {
            continue;
        }
        if *low > last {
            break;
        }
        if *low > from {
            rest.push((from, low - 1));
        }
        from = match high.checked_add(1) {
            Some(next) => next,
            None => return rest,
        };
    }
    if from <= last {
        rest.push((from, last));
    }
    rest
}

fn merged(mut intervals: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    intervals.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::with_capacity(intervals.len());
    for (first, last) in intervals {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

impl FromStr for LogPosition {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let wrong = || NotAPosition(text.chars().take(80).collect());
        let mut sources: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        for part in parts {
            if let Some((uuid, ranges)) = part.split_once(':') {
                let intervals = sources.entry(uuid.to_ascii_lowercase()).or_default();
                for range in ranges.split(':') {
                    let (first, last) = range.split_once('-').unwrap_or((range, range));
                    let bounds = (first.parse().ok()).zip(last.parse().ok()).ok_or_else(wrong)?;
                    if bounds.0 == 0 || bounds.0 > bounds.1 {
                        return Err(wrong());
                    }
                    intervals.push(bounds);
                }
            } else {
                let (source, sequence) = part.rsplit_once('-').ok_or_else(wrong)?;
                let sequence: u64 = sequence.parse().map_err(|_| wrong())?;
                if sequence > 0 {
                    sources.entry(source.to_owned()).or_default().push((1, sequence));
                }
            }
        }
        let sources = sources.into_iter().map(|(source, intervals)| (source, merged(intervals))).collect();
        Ok(Self { sources })
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (source, intervals)) in self.sources.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            if !is_uuid(source) {
                let last = intervals.last().map_or(0, |interval| interval.1);
                write!(f, "{source}-{last}")?;
                continue;
            }
            f.write_str(source)?;
            for (first, last) in intervals {
                if first == last { write!(f, ":{first}")? } else { write!(f, ":{first}-{last}")? }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "11111111-2222-3333-4444-555555555555";
    const B: &str = "aaaaaaaa-2222-3333-4444-555555555555";

    fn set(text: &str) -> LogPosition {
        text.parse().unwrap()
    }

    #[test]
    fn both_dialects_are_read_written_and_compared() {
        for text in ["0-1-117,0-2-130", &format!("{A}:1-5:7,{B}:3"), "memory-12", ""] {
            assert_eq!(set(text).to_string(), text);
        }
        let (old, new) = (set("0-1-120,0-2-90"), set("0-1-117,0-2-130"));
        assert!(!new.covers(&old), "the old primary has what the new one lacks");
        assert_eq!(old.without(&new).len(), 3);
        assert!(set("0-1-120,0-2-130").covers(&old));

        let (old, new) = (set(&format!("{A}:1-9")), set(&format!("{A}:1-5:7,{B}:1-3")));
        assert_eq!(old.without(&new), set(&format!("{A}:6:8-9")));
        assert!(set(&format!("{A}:1-9,{B}:1-3")).covers(&new));
    }

    #[test]
    fn transactions_are_added_in_any_order() {
        let mut position = set(&format!("{A}:1-5"));
        for sequence in [6, 9, 8, 7] {
            position.add(A, sequence);
        }
        assert_eq!(position, set(&format!("{A}:1-9")));

        let mut position = set("0-1-117");
        for (source, sequence) in [("0-1", 119), ("0-2", 130), ("0-1", 118)] {
            position.add(source, sequence);
        }
        assert_eq!(position, set("0-1-119,0-2-130"));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["x", "0-1-y", &format!("{A}:5-1"), &format!("{A}:0"), "18446744073709551616-"] {
            assert!(text.parse::<LogPosition>().is_err(), "{text}");
        }
    }
}
