//! TOML that people write: errors name the file, the line and the key.

use std::fmt;
use std::ops::Range;

use serde::de::DeserializeOwned;

/// Largest text that is parsed, in bytes: a topology of the largest cluster fits many times.
const MAX_TEXT_BYTES: usize = 16 << 20;

/// What is wrong with a file, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TomlError {
    /// The file as the caller named it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// The key as a dotted path; empty where there is none, as at a syntax error.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for TomlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for TomlError {}

/// A text with the name of its file: makes errors that say where.
#[derive(Clone, Copy)]
pub(crate) struct TomlText<'a> {
    pub(crate) text: &'a str,
    pub(crate) file: &'a str,
}

impl TomlText<'_> {
    /// Deserializes the whole text.
    pub(crate) fn parse<T: DeserializeOwned>(self) -> Result<T, TomlError> {
        if self.text.len() > MAX_TEXT_BYTES {
            let message =
                format!("the file has {} bytes; at most {MAX_TEXT_BYTES} are read", self.text.len());
            return Err(self.error(0..0, message));
        }
        toml::from_str(self.text).map_err(|error| {
            self.error(error.span().unwrap_or(0..0), error.message().trim_end().replace('\n', "; "))
        })
    }

    /// An error at a place in the text.
    pub(crate) fn error(self, at: Range<usize>, message: impl Into<String>) -> TomlError {
        let start = (0..=at.start.min(self.text.len())).rev().find(|&i| self.text.is_char_boundary(i));
        let before = &self.text[..start.unwrap_or(0)];
        TomlError {
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            key: self.key_at(before.len()),
            message: message.into(),
        }
    }

    /// The line of a key, for checks that run after deserializing, on values without places: from the `nth`
    /// occurrence of `anchor` on (counted from 0), the first line that starts with `key`, or the anchor's own line if
    /// the table ends before. 1 if there is no such anchor.
    pub(crate) fn line_of(self, anchor: &str, nth: usize, key: Option<&str>) -> usize {
        let Some((at, _)) = self.text.match_indices(anchor).nth(nth) else { return 1 };
        let line = self.text[..at].matches('\n').count() + 1;
        let table = self.text[at..].lines().enumerate().skip(1);
        let mut keys = table.take_while(|(_, text)| !text.trim_start().starts_with('['));
        let found = keys.find(|(_, text)| {
            let after = key.and_then(|key| text.trim_start().strip_prefix(key));
            after.is_some_and(|after| after.trim_start().starts_with('='))
        });
        line + found.map_or(0, |(offset, _)| offset)
    }

    /// The dotted key of the line at `offset`: the last table header up to there and what stands left of `=`.
    /// A guess from the layout, good for every file that is written one key a line.
    fn key_at(self, offset: usize) -> String {
        let line_start = self.text[..offset].rfind('\n').map_or(0, |at| at + 1);
        let line_end = self.text[offset..].find('\n').map_or(self.text.len(), |at| offset + at);
        let line = self.text[line_start..line_end].trim();
        if let Some(header) = table_header(line) {
            return header.to_owned();
        }
        let table = self.text[..line_start].lines().rev().find_map(|line| table_header(line.trim()));
        // An inline table or array over several lines: the key stands on its first line, which has the `=`.
        let key = line.split_once('=').map_or("", |(left, _)| left.trim().trim_start_matches('{').trim());
        match (table, key) {
            (None, key) => key.to_owned(),
            (Some(table), "") => table.to_owned(),
            (Some(table), key) => format!("{table}.{key}"),
        }
    }
}

/// The name in `[name]` or `[[name]]`; `None` for any other line.
fn table_header(line: &str) -> Option<&str> {
    let inner = line.strip_prefix('[')?;
    let inner = inner.strip_prefix('[').unwrap_or(inner);
    let name = &inner[..inner.find(']')?];
    // A line of an array of strings or tables starts with a bracket, too.
    name.chars().all(|c| c.is_ascii_alphanumeric() || "._-\" ".contains(c)).then_some(name)
}

/// Whether `name` may name a type, a field, a region, a tier or a node: it stands in TOML keys, in flags and in paths.
pub(crate) fn is_name(name: &str, extra: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || extra.contains(c))
}
