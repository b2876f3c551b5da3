//! SQL stands in .sql files under shard-store, not in string literals: there it can be read, run and explained.
//!
//! A file that judges statements of others, or quotes them, and executes none of those says so at its top:
//! `// tidy: names SQL because …`.

use super::Findings;
use super::length::is_file_top;
use super::source::Source;

const MARKER: &str = "// tidy: names SQL because";

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

pub(super) fn check(text: &str, source: &Source, findings: &mut Findings<'_>) {
    let statements: Vec<usize> =
        source.strings.iter().filter(|(_, literal)| is_sql(literal)).map(|(line, _)| *line).collect();
    if is_marked(text, source, findings) {
        findings.report.naming_sql += 1;
        if statements.is_empty() {
            findings.add(1, "marker", "this file names no SQL: take the marker away");
        }
        return;
    }
    for line in statements {
        let advice = "SQL in a string literal: put the statement into a .sql file under shard-store/ and \
                      include_str! it";
        findings.add(line, "sql", advice);
    }
}

/// Whether the file gives, at its top, a reason to name SQL.
fn is_marked(text: &str, source: &Source, findings: &mut Findings<'_>) -> bool {
    let lines: Vec<&str> = text.lines().collect();
    let mut marked = false;
    for (line, comment) in &source.comments {
        let Some(reason) = comment.strip_prefix(MARKER) else { continue };
        if reason.split_whitespace().count() < 2 {
            findings.add(*line, "marker", "say in a few words why this file names SQL");
        } else if is_file_top(&lines, *line) {
            marked = true;
        } else {
            findings.add(*line, "marker", "this marker does not stand at the top of the file");
        }
    }
    marked
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

    #[test]
    fn a_marker_at_the_top_lets_a_file_name_sql() {
        let sql = "const A: &str = \"DELETE FROM b\";\n";
        for (text, expected) in [
            (format!("{MARKER} it judges them\n//! Doc.\n{sql}"), vec![]),
            (format!("//! Doc.\n\n{MARKER} it judges them\n\nuse x;\n{sql}"), vec![]),
            (format!("//! Doc.\n{MARKER}\n{sql}"), vec![(2, "marker"), (3, "sql")]),
            (format!("//! Doc.\nuse x;\n{MARKER} it judges them\n{sql}"), vec![(3, "marker"), (4, "sql")]),
            (format!("{MARKER} it judges them\n//! Doc.\n"), vec![(1, "marker")]),
        ] {
            assert_eq!(super::super::tests::broken("a/src/lib.rs", &text), expected, "{text}");
        }
    }

    #[test]
    fn files_with_the_marker_are_counted() {
        let mut report = super::super::Report::default();
        let text = format!("{MARKER} it judges them\n//! Doc.\nconst A: &str = \"DELETE FROM b\";\n");
        super::super::check_file("a/src/lib.rs", &text, &mut report);
        assert_eq!((report.naming_sql, report.markers), (1, 0));
    }
}
