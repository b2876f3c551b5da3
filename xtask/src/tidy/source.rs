//! A Rust file taken apart as far as tidy needs it: code without comments and literals, and the literals.

/// The parts of one file. Lines count from 1.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// The text with the characters of comments and of string and character literals replaced by spaces; the lines
    /// are where they were.
    pub(super) code: String,
    /// Content of each string literal, with the line where it starts.
    pub(super) strings: Vec<(usize, String)>,
    /// Each line comment, slashes included, with its line.
    pub(super) comments: Vec<(usize, String)>,
}

struct Scanner {
    text: Vec<char>,
    at: usize,
    line: usize,
    /// The character before, to tell `r"` from the end of an identifier.
    before: char,
    source: Source,
}

// === impl Source ===

impl Source {
    pub(super) fn parse(text: &str) -> Self {
        let text = text.chars().collect();
        let mut scanner = Scanner { text, at: 0, line: 1, before: ' ', source: Self::default() };
        while scanner.step() {}
        scanner.source
    }
}

// === impl Scanner ===

impl Scanner {
    fn step(&mut self) -> bool {
        let Some(c) = self.next() else { return false };
        match c {
            '/' if self.peek(0) == Some('/') => self.line_comment(),
            '/' if self.peek(0) == Some('*') => self.block_comment(),
            '"' => self.string(0, false),
            '\'' => self.quote(),
            'r' if !is_word(self.before) || self.before == 'b' || self.before == 'c' => self.raw(c),
            _ => self.keep(c),
        }
        true
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek(0)?;
        self.at += 1;
        Some(c)
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.text.get(self.at + ahead).copied()
    }

    /// How many hashes follow.
    fn hashes(&self) -> usize {
        self.text.iter().skip(self.at).take_while(|c| **c == '#').count()
    }

    fn keep(&mut self, c: char) {
        self.before = c;
        self.line += usize::from(c == '\n');
        self.source.code.push(c);
    }

    /// A character that is not code.
    fn blank(&mut self, c: char) {
        self.keep(if c == '\n' { c } else { ' ' });
    }

    fn take(&mut self) -> Option<char> {
        let c = self.next()?;
        self.blank(c);
        Some(c)
    }

    fn take_many(&mut self, count: usize) {
        for _ in 0..count {
            self.take();
        }
    }

    fn line_comment(&mut self) {
        let line = self.line;
        let mut text = String::from('/');
        self.blank('/');
        while self.peek(0).is_some_and(|c| c != '\n') {
            text.extend(self.take());
        }
        self.source.comments.push((line, text));
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        let mut last = '/';
        self.blank('/');
        while let Some(c) = self.take() {
            match (last, c) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                _ => {
                    last = c;
                    continue;
                }
            }
            // So that the star of an opening is not also the star of an end.
            last = ' ';
            if depth == 0 {
                return;
            }
        }
    }

    /// After the opening quote; ends at a quote followed by `hashes` hashes.
    fn string(&mut self, hashes: usize, raw: bool) {
        let line = self.line;
        let mut text = String::new();
        self.blank('"');
        while let Some(c) = self.take() {
            if c == '\\' && !raw {
                text.push(c);
                text.extend(self.take());
            } else if c == '"' && self.take_hashes(hashes) {
                break;
            } else {
                text.push(c);
            }
        }
        self.source.strings.push((line, text));
    }

    /// Takes `wanted` hashes if that many follow.
    fn take_hashes(&mut self, wanted: usize) -> bool {
        let enough = self.hashes() >= wanted;
        if enough {
            self.take_many(wanted);
        }
        enough
    }

    /// After an `r` that starts a word: a raw string, a raw identifier, or a plain word.
    fn raw(&mut self, r: char) {
        let hashes = self.hashes();
        if self.peek(hashes) != Some('"') {
            return self.keep(r);
        }
        self.blank(r);
        self.take_many(hashes + 1);
        self.string(hashes, true);
    }

    /// After a single quote: a character literal or a lifetime.
    fn quote(&mut self) {
        if self.peek(0) != Some('\\') && self.peek(1) != Some('\'') {
            return self.keep('\'');
        }
        self.blank('\'');
        while let Some(c) = self.take() {
            match c {
                '\\' => self.take_many(1),
                '\'' => return,
                _ => {}
            }
        }
    }
}

/// Whether a character can be part of a name.
pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_comments_and_literals_are_told_apart() {
        // (text, code without spaces, literals)
        let cases: &[(&str, &str, &[&str])] = &[
            ("let a = \"x\"; // c", "leta=;", &["x"]),
            (r#"f("a\"b") + 1"#, "f()+1", &[r#"a\"b"#]),
            ("r#\"a \"quoted\" b\"# + r", "+r", &["a \"quoted\" b"]),
            ("br\"x\\\" y", "by", &["x\\"]),
            ("for_r\"x\"", "for_r", &["x"]),
            ("r#type = 1", "r#type=1", &[]),
            ("/* a /* \"b\" */ c */ d", "d", &[]),
            ("/*/ a */ d", "d", &[]),
            ("'\"' + '\\'' + 'x' + &'a str + '{'", "+++&'astr+", &[]),
            ("\"// no comment {\"", "", &["// no comment {"]),
        ];
        for (text, code, strings) in cases {
            let source = Source::parse(text);
            assert_eq!(source.code.split_whitespace().collect::<String>(), *code, "{text}");
            assert_eq!(
                source.strings.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(),
                *strings,
                "{text}"
            );
        }
    }

    #[test]
    fn lines_stay_where_they_are() {
        let source = Source::parse("a\n\"b\nc\"\n/* d\n */ // e\nf");
        assert_eq!(source.code.lines().count(), 6);
        assert_eq!(source.strings, [(2, "b\nc".to_owned())]);
        assert_eq!(source.comments, [(5, "// e".to_owned())]);
    }
}
