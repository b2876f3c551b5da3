//! Edge lists as SNAP publishes them: a line an edge, fields separated by blanks, `#` comments, optionally gzipped.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use flate2::read::MultiGzDecoder;

/// Layout of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Format {
    /// `a b`
    Snap,
    /// `a b unix_seconds`
    SnapTemporal,
}

/// Longest line that is read: a damaged file must not fill the memory.
const MAX_LINE: u64 = 1 << 10;

/// An edge of a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Line {
    /// The first node's number.
    pub from: u32,
    /// The second node's number.
    pub to: u32,
    /// The time; 0 in a file without times.
    pub time: u32,
}

/// An edge list that is being read.
pub struct Source {
    path: PathBuf,
    format: Format,
    reader: Box<dyn BufRead + Send>,
    line: u64,
    bytes_read: Arc<AtomicU64>,
    bytes: u64,
}

impl Source {
    /// Opens a file; one whose name ends in `.gz` is unpacked on the way.
    ///
    /// # Errors
    /// It can't be read.
    pub fn open(path: &Path, format: Format) -> Result<Self> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        let bytes = file.metadata()?.len();
        let bytes_read = Arc::new(AtomicU64::new(0));
        let counted = Counted { inner: file, bytes: Arc::clone(&bytes_read) };
        let reader: Box<dyn BufRead + Send> = if path.extension().is_some_and(|extension| extension == "gz") {
            Box::new(BufReader::new(MultiGzDecoder::new(BufReader::new(counted))))
        } else {
            Box::new(BufReader::new(counted))
        };
        Ok(Self { path: path.to_owned(), format, reader, line: 0, bytes_read, bytes })
    }

    /// Bytes of the file, as it is on disk.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// The next edge; `None` at the end.
    ///
    /// # Errors
    /// A line that is no edge, named by file and line.
    pub fn next_edge(&mut self) -> Result<Option<Line>> {
        let mut text = String::new();
        loop {
            text.clear();
            self.line += 1;
            let read =
                (&mut self.reader).take(MAX_LINE).read_line(&mut text).with_context(|| self.place())?;
            if read == 0 {
                return Ok(None);
            }
            anyhow::ensure!(
                read < MAX_LINE as usize || text.ends_with('\n'),
                "{}: line too long",
                self.place()
            );
            let line = text.trim();
            if !line.is_empty() && !line.starts_with('#') {
                return parse(line, self.format).with_context(|| self.place()).map(Some);
            }
        }
    }

    fn place(&self) -> String {
        format!("{} line {}", self.path.display(), self.line)
    }
}

fn parse(line: &str, format: Format) -> Result<Line> {
    let mut parts = line.split_ascii_whitespace();
    let mut number = |what: &str| -> Result<u32> {
        let part = parts.next().with_context(|| format!("'{line}' has no {what}"))?;
        part.parse().with_context(|| format!("{what} '{part}' must be a whole number up to {}", u32::MAX))
    };
    let (from, to) = (number("first node")?, number("second node")?);
    let time = match format {
        Format::Snap => 0,
        Format::SnapTemporal => number("time")?,
    };
    anyhow::ensure!(parts.next().is_none(), "'{line}' has more columns than the format; see --format");
    Ok(Line { from, to, time })
}

/// Counts what passes, for the progress bar.
struct Counted {
    inner: File,
    bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn edges(name: &str, content: &[u8], format: Format) -> Result<Vec<Line>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join(name);
        std::fs::write(&path, content)?;
        let mut source = Source::open(&path, format)?;
        let mut edges = Vec::new();
        while let Some(edge) = source.next_edge()? {
            edges.push(edge);
        }
        Ok(edges)
    }

    #[test]
    fn reads_plain_and_gzipped_with_comments() {
        let text = b"# SNAP\n1 2 77\n\n3\t4  78\n";
        let wanted = vec![Line { from: 1, to: 2, time: 77 }, Line { from: 3, to: 4, time: 78 }];
        assert_eq!(edges("a.txt", text, Format::SnapTemporal).unwrap(), wanted);
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(text).unwrap();
        assert_eq!(edges("a.txt.gz", &packed.finish().unwrap(), Format::SnapTemporal).unwrap(), wanted);
    }

    #[test]
    fn a_bad_line_is_named() {
        for (text, wanted) in [
            ("1 2\n1\n", "line 2"),
            ("1 2 3\n", "more columns"),
            ("1 -2\n", "whole number"),
            ("1 4294967296\n", "whole number"),
        ] {
            let error = format!("{:#}", edges("a.txt", text.as_bytes(), Format::Snap).unwrap_err());
            assert!(error.contains(wanted), "{error}");
        }
        let long = "1".repeat(5_000);
        assert!(edges("a.txt", long.as_bytes(), Format::Snap).is_err());
    }
}
