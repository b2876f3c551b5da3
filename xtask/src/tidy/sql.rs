//! SQL stands in .sql files under shard-store, not in string literals: there it can be read, run and explained.

use super::Findings;
use super::source::Source;

/// What statements begin with; in capitals it is SQL wherever it stands in a literal. `*` is one word or more.
const CAPITALS: [&[&str]; 20] = [
    &["SELECT", "*", "FROM"],
    &["SELECT", "*", "FOR", "UPDATE"],
    &["INSERT", "INTO"],
    &["INSERT", "IGNORE"],
    &["REPLACE", "INTO"],
    &["UPDATE", "*", "SET"],
    &["DELETE", "FROM"],
    &["CREATE", "TABLE", "*"],
    &["CREATE", "INDEX", "*"],
    &["CREATE", "DATABASE", "*"],
    &["CREATE", "USER", "*"],
    &["ALTER", "TABLE", "*"],
    &["DROP", "TABLE", "*"],
    &["DROP", "DATABASE", "*"],
    &["TRUNCATE", "TABLE", "*"],
    &["START", "TRANSACTION"],
    &["SET", "SESSION", "*", "="],
    &["SET", "GLOBAL", "*", "="],
    &["SHOW", "VARIABLES"],
    &["LOCK", "TABLES"],
];
/// In small letters most of that is English, too: only these, only at the beginning of a literal, only close together.
const SMALL: [&[&str]; 8] = [
    &["select", "*", "from"],
    &["insert", "into"],
    &["replace", "into"],
    &["update", "*", "set"],
    &["delete", "from"],
    &["create", "table"],
    &["alter", "table"],
    &["drop", "table"],
];
const SMALL_GAP_MAX: usize = 2;
/// Whole literals that are statements. In small letters, one word alone is English.
const ALONE: [&str; 4] = ["BEGIN", "COMMIT", "ROLLBACK", "select 1"];

pub(super) fn check(source: &Source, findings: &mut Findings<'_>) {
    for (line, text) in &source.strings {
        if is_sql(text) {
            let advice = "SQL in a string literal: put the statement into a .sql file under shard-store/ and \
                          include_str! it";
            findings.add(*line, "sql", advice);
        }
    }
}

fn is_sql(literal: &str) -> bool {
    let text = literal.replace("\\n", " ").replace("\\t", " ").replace('=', " = ");
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',' | ';' | '`' | '\\'))
        .filter(|word| !word.is_empty())
        .collect();
    if words.first() == Some(&"SELECT") || ALONE.contains(&words.join(" ").as_str()) {
        return true;
    }
    let from = |start: usize| words.get(start..).unwrap_or_default();
    let capitals = |start| CAPITALS.iter().any(|shape| matches(from(start), shape, usize::MAX));
    (0..words.len()).any(capitals) || SMALL.iter().any(|shape| matches(&words, shape, SMALL_GAP_MAX))
}

/// Whether the words begin with the shape; a `*` is at most `gap_max` words.
fn matches(words: &[&str], shape: &[&str], gap_max: usize) -> bool {
    match shape.split_first() {
        None => true,
        Some((&"*", rest)) => (1..=gap_max.min(words.len()))
            .any(|gap| matches(words.get(gap..).unwrap_or_default(), rest, gap_max)),
        Some((first, rest)) => {
            words.split_first().is_some_and(|(word, words)| word == first && matches(words, rest, gap_max))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_found() {
        for literal in [
            "SELECT 1",
            "SELECT @@server_id",
            "select id from object where id = ?",
            "WITH x AS (SELECT a FROM b) DELETE FROM c",
            "INSERT INTO edge (id1) VALUES (?)",
            "insert into edge values (?)",
            "UPDATE shard SET seq = ?",
            "update `shard` set seq = ?",
            "\\n    DELETE\\n FROM edge",
            "CREATE TABLE IF NOT EXISTS t (a INT)",
            "ALTER TABLE t ADD b INT",
            "SET SESSION wait_timeout=5",
            "COMMIT",
            "... FOR UPDATE after SELECT a FROM b FOR UPDATE",
        ] {
            assert!(is_sql(literal), "{literal}");
        }
    }

    #[test]
    fn english_is_not_sql() {
        for literal in [
            "",
            "delete the files from disk",
            "update the row and wait until everybody who listens has set",
            "the select! macro takes from each",
            "insert an edge into the list",
            "create a table of events",
            "commit",
            "commit after the fence",
            "could not COMMIT: {error}",
            "SELECTED FROM the ring",
            "CREATE TABLE",
            "both must be 1; SET GLOBAL them",
            "select one of the followers from the tier",
            "an UPDATE of a subset",
            "set global limits",
        ] {
            assert!(!is_sql(literal), "{literal}");
        }
    }

    #[test]
    fn only_literals_count() {
        let text = "//! SELECT a FROM b\nlet a = \"x\"; // DELETE FROM b\nlet b = r#\"DELETE FROM b\"#;\n";
        let broken = super::super::tests::broken("a/src/lib.rs", text);
        assert_eq!(broken, [(3, "sql")]);
    }
}
