//! Files of at most 400 lines, functions of at most 70 (every line from `fn` to its closing brace). Longer ones say
//! why: `// tidy: long because …`, at the top of the file, or right above the function.

use super::Findings;
use super::source::{Source, is_word};

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;
const MARKER: &str = "// tidy: long because";

/// A function with a body; lines count from 1.
#[derive(Debug, PartialEq, Eq)]
struct Function {
    name: String,
    first_line: usize,
    last_line: usize,
}

pub(super) fn check(text: &str, source: &Source, findings: &mut Findings<'_>) {
    let lines: Vec<&str> = text.lines().collect();
    let functions = functions(&source.code);
    let mut excuses = markers(source, findings);
    let file_excuse = excuses.iter().position(|line| {
        // Above a function that nothing but comments precedes, it is the function's.
        let of_function = functions.iter().any(|function| is_right_above(&lines, *line, function.first_line));
        is_file_top(&lines, *line) && !of_function
    });
    if lines.len() > FILE_LINES_MAX && file_excuse.is_none() {
        let advice = format!(
            "{} lines, at most {FILE_LINES_MAX}: split it by responsibility, or give the reason at its top: \
             `{MARKER} …`",
            lines.len()
        );
        findings.add(1, "file-length", advice);
    }
    if let Some(excuse) = file_excuse {
        excuses.remove(excuse);
        findings.report.markers += 1;
    }
    for function in functions {
        let length = function.last_line - function.first_line + 1;
        let excuse = excuses.iter().position(|line| is_right_above(&lines, *line, function.first_line));
        if let Some(excuse) = excuse {
            excuses.remove(excuse);
            findings.report.markers += 1;
        } else if length > FUNCTION_LINES_MAX {
            let advice = format!(
                "fn {} has {length} lines, at most {FUNCTION_LINES_MAX}: split it, leaving the control flow in the \
                 parent, or give the reason right above it: `{MARKER} …`",
                function.name
            );
            findings.add(function.first_line, "function-length", advice);
        }
    }
    for line in excuses {
        findings.add(
            line,
            "marker",
            "this marker stands neither at the top of the file nor right above a function",
        );
    }
}

/// The lines of the markers that give a reason.
fn markers(source: &Source, findings: &mut Findings<'_>) -> Vec<usize> {
    let mut lines = Vec::new();
    for (line, comment) in &source.comments {
        match comment.strip_prefix(MARKER) {
            Some(reason) if reason.split_whitespace().count() < 2 => {
                findings.add(*line, "marker", "say in a few words why this must be long");
            }
            Some(_) => lines.push(*line),
            None => {}
        }
    }
    lines
}

/// Only comments and empty lines stand before the line.
pub(super) fn is_file_top(lines: &[&str], line: usize) -> bool {
    let before = lines.get(..line.saturating_sub(1)).unwrap_or_default();
    before.iter().map(|text| text.trim()).all(|text| text.is_empty() || text.starts_with("//"))
}

/// Only comments and attributes stand between the line and the function.
fn is_right_above(lines: &[&str], line: usize, function: usize) -> bool {
    let between = lines.get(line..function.saturating_sub(1));
    between.is_some_and(|between| {
        between.iter().map(|text| text.trim()).all(|text| text.starts_with("//") || text.starts_with('#'))
    })
}

/// All functions with a body, those inside others too.
fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    // Open braces; `Some` where a function's body began: its index in `found`.
    let mut open: Vec<Option<usize>> = Vec::new();
    // A function whose body has not begun: its index and how deep in parentheses and brackets we are.
    let mut pending: Option<(usize, usize)> = None;
    let mut line = 1;
    let mut word = String::new();
    let mut after_fn = false;
    for c in code.chars().chain([' ']) {
        if is_word(c) {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            if after_fn {
                found.push(Function { name: word.clone(), first_line: line, last_line: 0 });
                pending = Some((found.len() - 1, 0));
            }
            after_fn = word == "fn";
            word.clear();
        }
        // `fn(u8) -> u8` is a type, not an item.
        after_fn &= c.is_whitespace();
        match (c, &mut pending) {
            ('(' | '[', Some((_, depth))) => *depth += 1,
            (')' | ']', Some((_, depth))) => *depth = depth.saturating_sub(1),
            // A declaration without a body.
            (';', Some((_, 0))) => pending = None,
            ('{', Some((index, 0))) => {
                open.push(Some(*index));
                pending = None;
            }
            ('{', _) => open.push(None),
            ('}', _) => {
                if let Some(function) = open.pop().flatten().and_then(|index| found.get_mut(index)) {
                    function.last_line = line;
                }
            }
            ('\n', _) => line += 1,
            _ => {}
        }
    }
    found.retain(|function| function.last_line > 0);
    found
}

#[cfg(test)]
mod tests {
    use super::super::tests::broken;
    use super::*;

    fn spans(code: &str) -> Vec<(String, usize, usize)> {
        let functions = functions(&Source::parse(code).code);
        functions
            .into_iter()
            .map(|function| (function.name, function.first_line, function.last_line))
            .collect()
    }

    fn function_of(lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "    f();\n".repeat(lines - 2))
    }

    #[test]
    fn functions_are_found_with_their_ends() {
        for (code, expected) in [
            ("fn a() {\n}\n", vec![("a", 1, 2)]),
            ("pub const fn a<T: Fn(u8)>(x: [u8; 3]) -> T\nwhere\n    T: X,\n{\n}\n", vec![("a", 1, 5)]),
            ("trait T {\n    fn a(&self);\n    fn b(&self) {}\n}\n", vec![("b", 3, 3)]),
            ("fn a() {\n    fn b() {\n    }\n    let c = \"}\";\n}\n", vec![("a", 1, 5), ("b", 2, 3)]),
            ("type F = fn(u8) -> u8;\nstruct S {\n}\n", vec![]),
            ("fn a() {\n    let f: fn(u8) = |x| {};\n    match x { '{' => {} }\n}\n", vec![("a", 1, 4)]),
            ("extern \"C\" {\n    fn a(x: u8);\n}\nfn b() {}\n", vec![("b", 4, 4)]),
        ] {
            let expected: Vec<_> =
                expected.into_iter().map(|(name, first, last)| (String::from(name), first, last)).collect();
            assert_eq!(spans(code), expected, "{code}");
        }
    }

    #[test]
    fn lengths_are_held_to_the_line() {
        let doc = "//! Doc.\n";
        for (text, expected) in [
            (format!("{doc}{}", function_of(FUNCTION_LINES_MAX)), vec![]),
            (format!("{doc}{}", function_of(FUNCTION_LINES_MAX + 1)), vec![(2, "function-length")]),
            (format!("{doc}{}", "//\n".repeat(FILE_LINES_MAX - 1)), vec![]),
            (format!("{doc}{}", "//\n".repeat(FILE_LINES_MAX)), vec![(1, "file-length")]),
        ] {
            assert_eq!(broken("a/src/lib.rs", &text), expected);
        }
    }

    #[test]
    fn markers_excuse_what_they_stand_at_and_nothing_else() {
        let long = function_of(FUNCTION_LINES_MAX + 1);
        let many = "//\n".repeat(FILE_LINES_MAX);
        for (text, expected) in [
            (format!("//! Doc.\n{MARKER} it is one table\n#[inline]\n/// Doc.\n{long}"), vec![]),
            (format!("//! Doc.\n{MARKER} the table is one\n{many}"), vec![]),
            (format!("//! Doc.\n{MARKER}\nfn f() {{}}\n"), vec![(2, "marker")]),
            (
                format!("//! Doc.\nuse x;\n{MARKER} it is a table\n\n{long}"),
                vec![(5, "function-length"), (3, "marker")],
            ),
            (format!("//! Doc.\nuse x;\n// {MARKER} quoted, not meant\nfn f() {{}}\n"), vec![]),
        ] {
            assert_eq!(broken("a/src/lib.rs", &text), expected, "{text:.80}");
        }
    }
}
