// tidy: names SQL because it judges the statements that a log holds
//! Statements in the log. Rows come as rows; a statement is a bound of a transaction, or a change of tables.

/// What a statement is to a tail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Statement {
    /// A transaction begins.
    Begin,
    /// It is committed.
    Commit,
    /// It is taken back.
    Rollback,
    /// A part of it is taken back.
    RollbackTo,
    /// Inside a transaction, without effect on rows.
    Within,
    /// Changes no row of ours.
    Harmless,
    /// May have changed rows of ours: it can't be followed (R9).
    Harmful,
}

/// First words of statements that change rows, as statements: in a log of rows there are none. Whichever database they
/// name, a trigger or a function of theirs may change ours.
const ROW_STATEMENTS: &[&str] =
    &["INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "CALL", "WITH", "DO", "SELECT", "MERGE"];

/// First words of statements that change no row, in whichever database.
const WITHOUT_ROWS: &[&str] =
    &["GRANT", "REVOKE", "ANALYZE", "FLUSH", "SET PASSWORD", "SET DEFAULT ROLE", "DROP TEMPORARY", "INSTALL"];

/// Tables and what is not a table: making either changes no row that is there.
const NO_TABLES: &[&str] = &["USER", "ROLE", "FUNCTION", "PROCEDURE", "EVENT", "VIEW", "TRIGGER", "SERVER"];

/// Tells what a statement is. `database` is the one that was in use; `ours` are the names of our databases.
pub(super) fn judge(text: &[u8], database: &[u8], ours: [&str; 2]) -> Statement {
    let text = String::from_utf8_lossy(text);
    let words = first_words(&text);
    let starts = |prefix: &str| {
        words.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    };
    match words.as_str() {
        "BEGIN" | "START TRANSACTION" => return Statement::Begin,
        "COMMIT" => return Statement::Commit,
        "ROLLBACK" => return Statement::Rollback,
        _ => {}
    }
    if starts("XA START") || starts("XA BEGIN") {
        return Statement::Begin;
    }
    if starts("ROLLBACK TO") {
        return Statement::RollbackTo;
    }
    if ["SAVEPOINT", "RELEASE", "XA"].iter().any(|word| starts(word)) {
        return if starts("XA COMMIT") || starts("XA ROLLBACK") {
            Statement::Harmless
        } else {
            Statement::Within
        };
    }
    if ROW_STATEMENTS.iter().any(|word| starts(word)) {
        return Statement::Harmful;
    }
    if WITHOUT_ROWS.iter().any(|word| starts(word)) {
        return Statement::Harmless;
    }
    // What is made anew had no rows; what is replaced may have had.
    if starts("CREATE") && !starts("CREATE OR REPLACE TABLE") {
        return Statement::Harmless;
    }
    if ["ALTER", "DROP", "RENAME", "CREATE OR REPLACE"]
        .iter()
        .any(|verb| NO_TABLES.iter().any(|thing| starts(&format!("{verb} {thing}"))))
    {
        return Statement::Harmless;
    }
    let in_ours = ours.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(database));
    if in_ours || ours.iter().any(|name| mentions(&text, name)) {
        return Statement::Harmful;
    }
    Statement::Harmless
}

/// Whether a name occurs in a text, whatever stands around it.
fn mentions(text: &str, name: &str) -> bool {
    text.to_ascii_lowercase().contains(&name.to_ascii_lowercase())
}

/// The first words in upper case, without comments; what a comment hides from other servers (`/*!40005 … */`) counts.
fn first_words(text: &str) -> String {
    let mut words = String::new();
    let mut rest = text;
    while words.len() < 64 {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ';' || c == '(' || c == '`');
        if let Some(after) = rest.strip_prefix("/*!").or_else(|| rest.strip_prefix("/*M!")) {
            rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
        } else if let Some(after) = rest.strip_prefix("*/") {
            rest = after;
        } else if let Some(after) = rest.strip_prefix("/*") {
            rest = after.split_once("*/").map_or("", |(_, rest)| rest);
        } else if rest.starts_with('#') || rest.starts_with("-- ") {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
        } else {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            if end == 0 {
                break;
            }
            if !words.is_empty() {
                words.push(' ');
            }
            words.push_str(&rest[..end].to_ascii_uppercase());
            rest = &rest[end..];
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [&str; 2] = ["tao", "tao_meta"];

    #[test]
    fn statements_on_our_tables_are_told_from_others() {
        let check = |text: &str, database: &str, expected| {
            assert_eq!(judge(text.as_bytes(), database.as_bytes(), OURS), expected, "{text}");
        };
        use Statement::{Begin, Commit, Harmful, Harmless, Rollback, RollbackTo, Within};
        check("BEGIN", "", Begin);
        check("COMMIT", "tao", Commit);
        check("ROLLBACK", "tao", Rollback);
        check("ROLLBACK TO `a`", "tao", RollbackTo);
        check("SAVEPOINT `a`", "tao", Within);
        check("XA START X'61',X'',1", "tao", Begin);
        check("XA END X'61',X'',1", "tao", Within);
        check("XA COMMIT X'61',X'',1", "", Harmless);

        check("TRUNCATE TABLE object", "tao", Harmful);
        check("truncate `tao`.`object`", "shop", Harmful);
        check("/* ours */ ALTER TABLE assoc ADD x INT", "tao", Harmful);
        check("-- first\nDROP TABLE IF EXISTS `object` /* generated by server */", "tao", Harmful);
        check("RENAME TABLE a TO tao.b", "shop", Harmful);
        check("CREATE OR REPLACE TABLE object (id INT)", "tao", Harmful);
        check("drop database TAO", "", Harmful);
        check("OPTIMIZE TABLE object", "tao", Harmful);
        check("UPDATE object SET version = 1", "tao", Harmful);
        check("insert into basket values (1)", "shop", Harmful);
        check("ALTER TABLE basket ADD x INT", "tao_meta", Harmful);

        check("ALTER TABLE basket ADD x INT", "shop", Harmless);
        check("TRUNCATE basket", "shop", Harmless);
        check("CREATE TABLE IF NOT EXISTS migration (version INT)", "tao", Harmless);
        check("CREATE DATABASE IF NOT EXISTS `tao`", "", Harmless);
        check("GRANT ALL ON tao.* TO 'tao'@'%'", "tao", Harmless);
        check("ALTER USER 'tao'@'127.0.0.1' IDENTIFIED WITH x", "tao", Harmless);
        check("DROP /*!40005 TEMPORARY */ TABLE IF EXISTS `t`", "tao", Harmless);
        check("SET PASSWORD FOR 'tao'@'%' = 'x'", "tao", Harmless);
    }
}
