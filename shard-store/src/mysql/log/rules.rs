//! The settings that a log depends on, one rule each.

/// What a rule needs to know of its server.
pub(super) struct Server {
    /// It applies the log of another one.
    pub(super) replica: bool,
    /// The operator takes the risk of settings that lose commits.
    pub(super) unsafe_durability: bool,
    /// Bytes that a packet must be able to have.
    pub(super) min_packet: u64,
}

/// Which servers a rule is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum When {
    Always,
    Replica,
}

/// What a variable must be. A server that does not have it obeys.
pub(super) struct Rule {
    pub(super) variable: &'static str,
    pub(super) must: &'static str,
    pub(super) holds: fn(&str, &Server) -> bool,
    pub(super) why: &'static str,
    pub(super) when: When,
    pub(super) fatal: bool,
    /// `SET GLOBAL` can change it.
    pub(super) dynamic: bool,
    /// About what a crash loses: the operator may take the risk.
    pub(super) durability: bool,
}

impl Rule {
    const fn new(
        variable: &'static str,
        must: &'static str,
        holds: fn(&str, &Server) -> bool,
        why: &'static str,
    ) -> Self {
        let (when, fatal, dynamic, durability) = (When::Always, true, true, false);
        Self { variable, must, holds, why, when, fatal, dynamic, durability }
    }

    const fn restart(self) -> Self {
        Self { dynamic: false, ..self }
    }

    const fn advice(self) -> Self {
        Self { fatal: false, ..self }
    }

    const fn replica(self) -> Self {
        Self { when: When::Replica, ..self }
    }

    const fn durability(self) -> Self {
        Self { durability: true, ..self }
    }
}

fn on(found: &str, _: &Server) -> bool {
    matches!(found.to_ascii_uppercase().as_str(), "ON" | "1" | "YES")
}

fn off(found: &str, _: &Server) -> bool {
    matches!(found.to_ascii_uppercase().as_str(), "OFF" | "0" | "NO")
}

fn full(found: &str, _: &Server) -> bool {
    found.eq_ignore_ascii_case("FULL")
}

fn one(found: &str, _: &Server) -> bool {
    found == "1"
}

fn number(found: &str) -> u64 {
    found.parse().unwrap_or(u64::MAX)
}

const UPDATES: &str =
    "a replica that does not log what it applies has nothing to tell to its region's leaders";
const COMPRESSED: &str = "compressed events can't be read, and the tail stops at the first";
const OWN_PACKET: &str = "a row of the largest object must fit, with room to spare";

/// All rules, most important first.
pub(super) const RULES: &[Rule] = &[
    Rule::new("log_bin", "ON", on, "without a log the caches never learn of a change").restart(),
    Rule::new(
        "binlog_format",
        "ROW",
        |found, _| found.eq_ignore_ascii_case("ROW"),
        "statements do not say which rows they changed",
    ),
    Rule::new("binlog_row_image", "FULL", full, "caches are kept from row images, and need every column"),
    Rule::new(
        "binlog_row_metadata",
        "FULL",
        full,
        "without names and signs of columns a number can be taken for another",
    ),
    Rule::new("binlog_row_value_options", "''", |found, _| found.is_empty(), "partial rows can't be read"),
    Rule::new("log_bin_compress", "OFF", off, COMPRESSED),
    Rule::new("binlog_transaction_compression", "OFF", off, COMPRESSED),
    Rule::new("log_slave_updates", "ON", on, UPDATES).restart().replica(),
    Rule::new("log_replica_updates", "ON", on, UPDATES).restart().replica(),
    Rule::new("gtid_mode", "ON", on, "a place in the log that holds on every server is a set of GTIDs"),
    Rule::new("enforce_gtid_consistency", "ON", on, "what has no GTID of its own can't be resumed after"),
    Rule::new("gtid_strict_mode", "ON", on, "only then a sequence number stands for all before it"),
    Rule::new(
        "binlog_order_commits",
        "ON",
        on,
        "a heartbeat that can be seen must vouch for all before it in the log",
    ),
    Rule::new(
        "replica_preserve_commit_order",
        "ON",
        |found, server| on(found, server) || !server.replica,
        "a replica's log must have its primary's order",
    )
    .replica(),
    Rule::new("sync_binlog", "1", one, "a crash would lose what the log has told, and use its numbers again")
        .durability(),
    Rule::new("innodb_flush_log_at_trx_commit", "1", one, "a crash would lose acknowledged writes")
        .durability(),
    Rule::new(
        "read_only",
        "ON",
        |found, _| !found.eq_ignore_ascii_case("OFF") && found != "0",
        "a replica that takes writes has a history of its own, which no other server knows",
    )
    .replica(),
    Rule::new(
        "max_allowed_packet",
        "67108864",
        |found, server| number(found) >= server.min_packet,
        OWN_PACKET,
    ),
    Rule::new("slave_max_allowed_packet", "1073741824", |found, _| number(found) >= 64 << 20, OWN_PACKET)
        .replica(),
    Rule::new("replica_max_allowed_packet", "1073741824", |found, _| number(found) >= 64 << 20, OWN_PACKET)
        .replica(),
    Rule::new(
        "binlog_row_event_max_size",
        "8192",
        |found, _| number(found) <= 64 << 20,
        "an event of many rows is held in memory whole",
    )
    .restart()
    .advice(),
    Rule::new(
        "binlog_checksum",
        "CRC32",
        |found, _| found.eq_ignore_ascii_case("CRC32"),
        "without a checksum damage on the way is not noticed",
    )
    .advice(),
    Rule::new(
        "binlog_expire_logs_seconds",
        "604800",
        |found, _| matches!(number(found), 0 | 3_600..),
        "a leader that was away for longer than the log reaches back starts with empty caches",
    )
    .advice(),
];
