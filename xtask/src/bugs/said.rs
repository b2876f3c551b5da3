//! What test programs, and the simulator, print.

/// A test that failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failed {
    pub(crate) name: String,
    /// The first line of its panic.
    pub(crate) why: String,
    pub(crate) seed: Option<String>,
}

/// What a test program said.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Said {
    pub(crate) passed: Vec<String>,
    pub(crate) failed: Vec<Failed>,
}

/// Longest reason that is kept.
const LONGEST: usize = 160;

/// Reads the output of a test program, as far as it came.
pub(crate) fn read(output: &str) -> Said {
    let mut said = Said::default();
    for line in output.lines() {
        // Without its prefix where another test wrote into the line.
        let Some((name, result)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
        else {
            continue;
        };
        match result {
            "ok" => said.passed.push(name.to_owned()),
            "FAILED" => said.failed.push(failed(output, name)),
            _ => {}
        }
    }
    said
}

fn failed(output: &str, name: &str) -> Failed {
    let head = format!("---- {name} stdout ----");
    let words = output.split_once(&head).map_or("", |(_, rest)| rest);
    let words = words.split("\n---- ").next().unwrap_or(words);
    let words = words.split("\nfailures:\n").next().unwrap_or(words);
    Failed { name: name.to_owned(), why: reason(words), seed: seed(words) }
}

/// The message of the first panic.
fn reason(words: &str) -> String {
    let mut lines = words.lines().skip_while(|line| !line.contains("panicked at")).skip(1);
    shortened(lines.next().unwrap_or("failed"))
}

/// The number behind the first word "seed".
fn seed(words: &str) -> Option<String> {
    words.match_indices("seed").find_map(|(at, found)| {
        let rest = words[at + found.len()..].trim_start_matches([' ', ':', '=', '"']);
        let number: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
        number.starts_with(|c: char| c.is_ascii_digit()).then_some(number)
    })
}

/// What the simulator found: seed, invariant (or that it panicked), and in what way.
pub(crate) fn simulated(output: &str) -> (Option<String>, String, String) {
    let found = output.lines().find_map(|line| {
        let (seed, rest) = line.strip_prefix("seed ")?.split_once(": ")?;
        let (_, first) = rest.split_once("the first: ")?;
        let (name, why) = first.split_once(": ")?;
        Some((Some(seed.to_owned()), name.to_owned(), shortened(why)))
    });
    found.unwrap_or_else(|| (None, "no end".to_owned(), last_words(output)))
}

/// The last line that says something.
pub(crate) fn last_words(output: &str) -> String {
    shortened(output.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing was said"))
}

/// The names that `--list` prints.
pub(crate) fn listed(output: &str) -> Vec<String> {
    output.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

fn shortened(line: &str) -> String {
    let line = line.trim();
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\nrunning 3 tests\ntest a::one ... ok\ntest a::two ... FAILED\ntest b ... ignored\n\nfailures:\n\n\
        ---- a::two stdout ----\nseed 0x1f\n\nthread 'a::two' (7) panicked at src/a.rs:1:2:\nassertion failed: left\n\
        \x20 left: 1\nnote: more\n\n\nfailures:\n    a::two\n\ntest result: FAILED.\n";

    #[test]
    fn results_reasons_and_seeds_are_found() {
        let said = read(OUTPUT);
        assert_eq!(said.passed, ["a::one"]);
        let why = "assertion failed: left".to_owned();
        assert_eq!(said.failed, [Failed { name: "a::two".into(), why, seed: Some("0x1f".into()) }]);
        assert_eq!(seed("no seeds, then seed: 42, and seed 43"), Some("42".to_owned()));
        let found = simulated("1 of 9 seeds\nseed 7: 2 findings, the first: I4: a cache differs\nmore\n");
        assert_eq!(found, (Some("7".to_owned()), "I4".to_owned(), "a cache differs".to_owned()));
        assert_eq!(simulated("1 hung\n"), (None, "no end".to_owned(), "1 hung".to_owned()));
        assert_eq!(listed("a::one: test\n\n3 tests, 0 benchmarks\n"), ["a::one"]);
        assert_eq!(last_words("first\nlast\n\n"), "last");
    }
}
