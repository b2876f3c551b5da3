//! The house rules that no compiler knows. Each violation names the place, the rule and what to do.

mod length;
mod manifests;
mod source;
mod sql;
mod words;

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use source::Source;

/// Written by people, or by rules that people wrote; everything else in the tree is data.
const EXTENSIONS: [&str; 9] = ["rs", "md", "toml", "sql", "sh", "proto", "yml", "yaml", "html"];
/// Scripts that have no extension.
const SCRIPTS: [&str; 1] = [".ci/run"];
/// Where SQL is: the store; the peers of the benchmarks; and what whole-cluster tests look at past the tier.
const SQL_FOLDERS: [&str; 3] = ["shard-store/", "bench/sql/", "integration-tests/sql/"];
/// Full of examples of what is refused.
const OWN_FOLDER: &str = "xtask/src/tidy/";
/// Hidden folders that hold sources all the same.
const HIDDEN_SOURCES: [&str; 3] = [".cargo", ".ci", ".github"];

/// What was looked at and found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) files: usize,
    /// Files and functions that say why they are longer than others may be.
    pub(crate) markers: usize,
    /// Files that say why they name SQL without executing it.
    pub(crate) naming_sql: usize,
    pub(crate) violations: Vec<Violation>,
}

/// A broken rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    path: String,
    /// Counted from 1.
    line: usize,
    rule: &'static str,
    advice: String,
}

/// Collects what is found in one file.
struct Findings<'a> {
    path: &'a str,
    report: &'a mut Report,
}

// === impl Violation ===

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: [{}] {}", self.path, self.line, self.rule, self.advice)
    }
}

// === impl Findings ===

impl Findings<'_> {
    fn add(&mut self, line: usize, rule: &'static str, advice: impl Into<String>) {
        let (path, advice) = (self.path.to_owned(), advice.into());
        self.report.violations.push(Violation { path, line, rule, advice });
    }
}

/// Checks every source file below `root`.
pub(crate) fn check_repository(root: &Path) -> Result<Report> {
    let mut report = Report::default();
    walk(root, root, &mut report)?;
    report.violations.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    Ok(report)
}

/// Checks one file; `path` is relative to the repository, with slashes.
fn check_file(path: &str, text: &str, report: &mut Report) {
    report.files += 1;
    let mut findings = Findings { path, report };
    if !path.starts_with(OWN_FOLDER) {
        words::check(text, &mut findings);
    }
    if path.ends_with(".rs") {
        let source = Source::parse(text);
        length::check(text, &source, &mut findings);
        module_doc(text, &mut findings);
        ignored_tests(&source, &mut findings);
        if !path.starts_with(OWN_FOLDER) {
            sql::check(text, &source, &mut findings);
        }
    } else if path.ends_with(".sql") && !SQL_FOLDERS.iter().any(|folder| path.starts_with(folder)) {
        findings.add(
            1,
            "sql",
            "SQL lives under shard-store/, behind the ShardStore trait (or under bench/sql/, for the peers, or \
             integration-tests/sql/, for looks past the tier); move the file there",
        );
    } else if path == "Cargo.toml" || path.ends_with("/Cargo.toml") {
        manifests::check(text, &mut findings);
    }
}

fn walk(root: &Path, folder: &Path, report: &mut Report) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("list {}", folder.display()))?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if entry.file_type().with_context(|| format!("look at {}", path.display()))?.is_dir() {
            let hidden = name.starts_with('.') && !HIDDEN_SOURCES.contains(&name.as_str());
            if !hidden && name != "target" {
                walk(root, &path, report)?;
            }
            continue;
        }
        let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        let known = path.extension().is_some_and(|ext| EXTENSIONS.iter().any(|known| ext == *known));
        if known || SCRIPTS.contains(&relative.as_str()) {
            let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            check_file(&relative, &text, report);
        }
    }
    Ok(())
}

/// A module says what it is before anything else. Files of tests may leave it to their names.
fn module_doc(text: &str, findings: &mut Findings<'_>) {
    let of_tests = findings.path.ends_with("/tests.rs") || findings.path.contains("/tests/");
    let first = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("// tidy:"));
    if !of_tests && !first.is_some_and(|line| line.starts_with("//!")) {
        findings.add(1, "module-doc", "start the file with a `//!` sentence that says what the module is");
    }
}

fn ignored_tests(source: &Source, findings: &mut Findings<'_>) {
    for (line, code) in (1..).zip(source.code.lines()) {
        let code: String = code.split_whitespace().collect();
        if code.contains("#[ignore") {
            findings.add(
                line,
                "ignored-test",
                "a test that does not run proves nothing; make it run or delete it",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules that a file breaks, with their lines.
    pub(super) fn broken(path: &str, text: &str) -> Vec<(usize, &'static str)> {
        let mut report = Report::default();
        check_file(path, text, &mut report);
        report.violations.iter().map(|violation| (violation.line, violation.rule)).collect()
    }

    #[test]
    fn good_files_pass() {
        for (path, text) in [
            ("a/src/lib.rs", "//! What it is.\n\nfn f() {}\n"),
            ("a/src/b.rs", "// tidy: long because it is one table\n//! What it is.\n"),
            ("a/src/tests.rs", "fn helper() {}\n"),
            ("a/tests/all.rs", "fn helper() {}\n"),
            ("shard-store/src/x.sql", "SELECT 1\n"),
            ("integration-tests/sql/x.sql", "SELECT 1\n"),
            ("README.md", "# A title\n"),
        ] {
            assert_eq!(broken(path, text), [], "{path}");
        }
    }

    #[test]
    fn bad_files_are_found() {
        for (path, text, expected) in [
            ("a/src/lib.rs", "fn f() {}\n", (1, "module-doc")),
            ("a/src/lib.rs", "/// An item.\nfn f() {}\n", (1, "module-doc")),
            ("a/src/lib.rs", "//! A\n#[ignore]\nfn f() {}\n", (2, "ignored-test")),
            ("a/src/lib.rs", "//! A\n#[ ignore = \"slow\"]\nfn f() {}\n", (2, "ignored-test")),
            ("leader-follower/src/x.sql", "SELECT 1\n", (1, "sql")),
            ("integration-tests/src/x.sql", "SELECT 1\n", (1, "sql")),
            ("README.md", "# A title\nIt is simply good.\n", (2, "wording")),
        ] {
            assert_eq!(broken(path, text), [expected], "{path}: {text}");
        }
    }

    #[test]
    fn a_violation_names_place_rule_and_advice() {
        let mut report = Report::default();
        check_file("a/src/lib.rs", "fn f() {}\n", &mut report);
        let text = report.violations.first().unwrap().to_string();
        assert!(text.starts_with("a/src/lib.rs:1: [module-doc] start the file"), "{text}");
    }
}
