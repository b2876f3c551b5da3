//! Operations that go to disk as they end, so that a run may be longer than memory.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tao_schema::graph_schema::GraphSchema;

use super::{FORMAT, Head, RunFiles, lines, part_name};
use crate::history::judges::{Part, Rules, shards};
use crate::history::operation::Operation;
use crate::history::truth::Truth;

/// Files of a run that is going on, one for each part of the shards.
///
/// An operation takes some 400 bytes on disk, once for each part that it touches. A run of an hour at 1,000 operations a
/// second is 1.5 GB; judged in 32 parts each is some 110,000 operations, which take a few hundred megabytes of memory
/// while they are judged. The truth stays in memory: some 500 bytes for each change.
#[derive(Debug)]
pub struct Spill {
    folder: PathBuf,
    files: Vec<BufWriter<File>>,
    schema: Arc<GraphSchema>,
    with_text: bool,
    operations: u64,
    trouble: Option<anyhow::Error>,
}

impl Spill {
    /// Makes the folder, if need be, and empty files in it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn create(folder: &Path, parts: u16, schema: Arc<GraphSchema>) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let make = |part| {
            let path = folder.join(part_name(part));
            Ok(BufWriter::new(File::create(&path).with_context(|| format!("make {}", path.display()))?))
        };
        let files = (0..parts.max(1)).map(make).collect::<Result<_>>()?;
        let folder = folder.to_owned();
        Ok(Self { folder, files, schema, with_text: false, operations: 0, trouble: None })
    }

    /// Writes a line for people with each operation: for short runs.
    #[must_use]
    pub fn with_text(self) -> Self {
        Self { with_text: true, ..self }
    }

    /// Writes an operation; they come in the order of their ends. What goes wrong is told by [`Spill::finish`].
    pub fn take(&mut self, operation: &Operation) {
        if self.trouble.is_none() {
            self.trouble = self.write(operation).err();
        }
    }

    fn write(&mut self, operation: &Operation) -> Result<()> {
        let parts = self.files.len() as u16;
        let touched: BTreeSet<u16> =
            shards(operation, &self.schema).into_iter().map(|shard| Part::of(shard, parts)).collect();
        let line = lines::write(operation, self.with_text)?;
        for part in touched {
            let file = self.files.get_mut(usize::from(part)).context("a part of that index")?;
            writeln!(file, "{line}").context("write an operation")?;
        }
        self.operations += 1;
        Ok(())
    }

    /// Operations that were written.
    pub const fn operations(&self) -> u64 {
        self.operations
    }

    /// Ends the run: with its truth it can be judged, now or later.
    ///
    /// # Errors
    /// The first thing that went wrong with any file: then operations are missing, and nothing can be judged.
    pub fn finish(mut self, name: &str, truth: &Truth, rules: &Rules) -> Result<RunFiles> {
        if let Some(trouble) = self.trouble.take() {
            return Err(trouble.context("operations are missing on disk"));
        }
        for file in &mut self.files {
            file.flush().context("write the last operations")?;
        }
        let head = Head {
            format: FORMAT,
            name: name.to_owned(),
            parts: self.files.len() as u16,
            complete: rules.complete,
            lossless: rules.lossless,
            schema: rules.schema.source().to_owned(),
        };
        RunFiles::write(&self.folder, head, truth)
    }
}
