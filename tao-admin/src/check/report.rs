//! The outcome of a check.

use serde::Serialize;

/// Differences that are listed one by one; the rest is counted.
const LISTED: usize = 100;

/// What was compared and what differs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Whether the database was compared with itself, too.
    pub deep: bool,
    /// Nodes whose memory was compared.
    pub nodes: Vec<String>,
    /// Shards looked at.
    pub shards: u32,
    /// Cached entries compared with the database.
    pub cached_entries: u64,
    /// Edges within these entries.
    pub cached_edges: u64,
    /// Entries that changed while they were compared, and were compared again.
    pub compared_again: u64,
    /// Objects in the database (deep).
    pub objects: u64,
    /// Edges in the database (deep).
    pub edges: u64,
    /// Counts compared with the length of their lists (deep).
    pub counts: u64,
    /// Edges compared with their inverse (deep).
    pub inverses: u64,
    /// Pairs whose other side was still pending when first looked at (deep).
    pub pending_inverses: u64,
    /// How many differences there are.
    pub difference_count: u64,
    /// The first of them.
    pub differences: Vec<Difference>,
    /// How long it took.
    pub seconds: f64,
}

/// One thing that is not as it must be.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// `cache`, `count` or `inverse`.
    pub kind: &'static str,
    /// The node whose memory differs; empty for the database itself.
    pub node: String,
    /// Which object, list or edge.
    pub key: String,
    /// What is there and what should be.
    pub detail: String,
}

impl Report {
    /// Adds a difference.
    pub fn differs(&mut self, kind: &'static str, node: &str, key: String, detail: String) {
        self.difference_count += 1;
        if self.differences.len() < LISTED {
            self.differences.push(Difference { kind, node: node.to_owned(), key, detail });
        }
    }

    /// For people.
    pub fn to_text(&self) -> String {
        use std::fmt::Write;
        let mut text = String::new();
        let mut line = |what: &str, figure: u64| {
            // Writing to a string can't fail.
            let _infallible = writeln!(text, "{figure:>12}  {what}");
        };
        line("cached entries compared with the database", self.cached_entries);
        line("edges within them", self.cached_edges);
        if self.deep {
            line("objects", self.objects);
            line("edges", self.edges);
            line("counts compared with their lists", self.counts);
            line("edges compared with their inverses", self.inverses);
        }
        line("differences", self.difference_count);
        for difference in &self.differences {
            let node = if difference.node.is_empty() { "database" } else { &difference.node };
            let Difference { kind, key, detail, .. } = difference;
            let _infallible = writeln!(text, "{kind} at {node}: {key}: {detail}");
        }
        text
    }

    /// Adds another part's figures.
    pub fn absorb(&mut self, other: Self) {
        self.cached_entries += other.cached_entries;
        self.cached_edges += other.cached_edges;
        self.compared_again += other.compared_again;
        self.objects += other.objects;
        self.edges += other.edges;
        self.counts += other.counts;
        self.inverses += other.inverses;
        self.pending_inverses += other.pending_inverses;
        self.difference_count += other.difference_count;
        let room = LISTED.saturating_sub(self.differences.len());
        self.differences.extend(other.differences.into_iter().take(room));
    }
}
