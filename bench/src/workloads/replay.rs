//! A real edge list with times, replayed: each edge is added in the order of its time, then the newest edges of its list are
//! read. An edge that comes again is added again, with its new time.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use bytes::Bytes;
use rand::rngs::StdRng;
use tao_schema::ids::{AssocType, EdgeKey, ListKey, ObjectId};

use super::ids::{Population, Room};
use super::zipf::Zipf;
use super::{EDGE, EdgeData, Ids, Op, Size, Workload};

/// Each is an association type of its own: answered a question, commented on a question, commented on an answer.
const FILES: [&str; 3] =
    ["snap/sx-mathoverflow-a2q.txt.gz", "snap/sx-mathoverflow-c2q.txt.gz", "snap/sx-mathoverflow-c2a.txt.gz"];

/// See the module.
#[derive(Debug)]
pub struct Replay {
    ids: Ids,
    edges: Vec<Timed>,
    users: u32,
    /// The next edge; all callers take from here, so that time goes on.
    next: AtomicUsize,
    from_files: bool,
}

/// An edge of the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Timed {
    from: u32,
    to: u32,
    time: u32,
    kind: u16,
}

impl Replay {
    /// The files, or as many edges among so many users.
    ///
    /// # Errors
    /// A file can't be understood.
    pub fn new(size: &Size) -> Result<Self> {
        let mut edges = Vec::new();
        for (kind, name) in FILES.into_iter().enumerate() {
            if let Some(text) = size.data.text(name)? {
                // The types of the schema are two; the third shares the second's.
                let kind = EDGE.0 + (kind as u16).min(1);
                edges.extend(parse(&text, kind).with_context(|| name.to_owned())?);
            }
        }
        let from_files = !edges.is_empty();
        if !from_files {
            edges = generated(size);
        }
        edges.sort_by_key(|edge| edge.time);
        let users = edges.iter().map(|edge| edge.from.max(edge.to) + 1).max().unwrap_or(1);
        Ok(Self {
            ids: Ids::new(Room::Replay, size.shards, size.seed),
            edges,
            users,
            next: AtomicUsize::new(0),
            from_files,
        })
    }
}

fn parse(text: &str, kind: u16) -> Result<Vec<Timed>> {
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let edges = lines.map(|line| {
        let mut fields = line.split_whitespace().map(str::parse::<u32>);
        match (fields.next(), fields.next(), fields.next()) {
            (Some(Ok(from)), Some(Ok(to)), Some(Ok(time))) => Ok(Timed { from, to, time, kind }),
            _ => anyhow::bail!("no `from to seconds`: {line:?}"),
        }
    });
    edges.collect()
}

/// Popular users ask and answer more.
fn generated(size: &Size) -> Vec<Timed> {
    let users = size.objects.clamp(10, 20_000);
    let (from, to) = (Zipf::new(users, 0.8, 1), Zipf::new(users, 0.8, 2));
    let mut random = rand::SeedableRng::seed_from_u64(size.seed);
    let edge =
        |time| Timed { from: from.number(&mut random), to: to.number(&mut random), time, kind: EDGE.0 };
    (1_250_000_000..1_250_000_000 + users * 10).map(edge).collect()
}

impl Workload for Replay {
    fn source(&self) -> String {
        let from = if self.from_files { "mathoverflow" } else { "a generated stand-in" };
        format!(
            "{from}: {} timed edges of {} users, each followed by a read of its list",
            self.edges.len(),
            self.users
        )
    }

    fn objects(&self) -> u32 {
        self.users
    }

    fn object(&self, number: u32) -> (ObjectId, Bytes) {
        (self.ids.id(Population::Objects, number), self.ids.bytes(number, 64))
    }

    fn lists(&self) -> u32 {
        0
    }

    fn list(&self, number: u32) -> (ListKey, Vec<EdgeData>) {
        (self.ids.list(Population::Objects, number), Vec::new())
    }

    fn draw(&self, _: &mut StdRng, ops: &mut Vec<Op>) {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.edges.len();
        let Timed { from, to, time, kind } = self.edges[at];
        let (id1, id2) = (self.ids.id(Population::Objects, from), self.ids.id(Population::Objects, to));
        let atype = AssocType(kind);
        ops.push(Op::AssocAdd(EdgeKey { id1, atype, id2 }, time, Bytes::new()));
        ops.push(Op::AssocRange(ListKey { id1, atype }, 50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_edges_and_anything_else_is_refused() {
        let edges = parse("1 2 30\n\n# c\n4 5 60\n", 1).unwrap();
        assert_eq!(edges[1], Timed { from: 4, to: 5, time: 60, kind: 1 });
        assert!(parse("1 2\n", 1).is_err());
    }
}
