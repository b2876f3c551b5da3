//! Wording: no unfinished business, no advertising, no paths of one person's machine.

use super::Findings;
use super::source::is_word;

/// Each with what to do instead. Small letters; compared without regard to case, as whole words.
const REFUSED: [(&str, &str); 12] = [
    ("todo", "finish it, or leave it out and open an issue"),
    ("fixme", "put it right, or leave it out and open an issue"),
    ("xxx", "say what is meant"),
    ("hack", "say why it is right; if it is not, put it right"),
    ("blazing", "give a figure"),
    ("blazingly", "give a figure"),
    ("lightning-fast", "give a figure"),
    ("effortless", "say what has to be done"),
    ("seamless", "say what is noticed"),
    ("seamlessly", "say what is noticed"),
    ("simply", "leave the word out"),
    ("just works", "say what it does"),
];
/// Folders at the root of a file system whose content exists on one machine only.
const MACHINE_FOLDERS: [&str; 3] = ["root", "work", "home"];

pub(super) fn check(text: &str, findings: &mut Findings<'_>) {
    let toml = findings.path.ends_with(".toml");
    for (number, line) in (1..).zip(text.lines()) {
        // The lint that forbids unfinished business has its name in the lint table.
        let prose = if toml { line.split_once('#').map_or("", |(_, comment)| comment) } else { line };
        let lower = prose.to_lowercase();
        for (word, advice) in REFUSED.iter().filter(|(word, _)| contains_word(&lower, word)) {
            findings.add(number, "wording", format!("\"{word}\": {advice}"));
        }
        let paths = MACHINE_FOLDERS.map(|folder| format!("/{folder}/"));
        for path in paths.iter().filter(|path| names_path(line, path)) {
            findings.add(
                number,
                "machine-path",
                format!("{path}… exists on one machine only; make it a parameter"),
            );
        }
    }
}

fn contains_word(text: &str, word: &str) -> bool {
    let free = |c: Option<char>| c.is_none_or(|c| !is_word(c));
    text.match_indices(word).any(|(start, _)| {
        let (before, after) = (text.get(..start), text.get(start + word.len()..));
        free(before.and_then(|text| text.chars().next_back()))
            && free(after.and_then(|text| text.chars().next()))
    })
}

/// The path stands at the beginning of a word, not within another path or address.
fn names_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(start, _)| {
        let before = line.get(..start).and_then(|text| text.chars().next_back());
        before.is_none_or(|c| !is_word(c) && !matches!(c, '.' | '~' | '}' | '-'))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::broken;

    #[test]
    fn bad_wording_is_found() {
        for (text, rule) in [
            ("# TODO: more", "wording"),
            ("It is blazing fast.", "wording"),
            ("It Just Works.", "wording"),
            ("a hack", "wording"),
            ("(xxx)", "wording"),
            ("cp a /root/b", "machine-path"),
            ("`/home/me/tao`", "machine-path"),
            ("/home/main", "machine-path"),
        ] {
            assert_eq!(broken("README.md", text), [(1, rule)], "{text}");
        }
    }

    #[test]
    fn good_wording_passes() {
        for text in [
            "mastodon",
            "a hacksaw",
            "0xxx1",
            "https://example.org/home/a",
            "target/root/a",
            "it works",
            "xxxy",
        ] {
            assert_eq!(broken("README.md", text), [], "{text}");
        }
    }

    #[test]
    fn in_toml_only_comments_are_prose() {
        assert_eq!(broken("clippy.toml", "todo = \"deny\"\n"), []);
        assert_eq!(broken("clippy.toml", "a = 1 # todo\n"), [(1, "wording")]);
    }
}
