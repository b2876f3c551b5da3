//! Wrong wall clocks of nodes, as `tao_shard_store::fleet` makes them for servers: a clock jumps while its program runs.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tao_shard_store::fleet::{NO_CLOCK_LIBRARY, clock_library};

/// The clocks of a cluster's nodes.
pub(crate) struct Clocks {
    library: PathBuf,
    folder: PathBuf,
}

impl Clocks {
    /// Clocks whose offsets stand in files of `folder`.
    ///
    /// # Errors
    /// The machine does not have the library.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let library = clock_library().context(NO_CLOCK_LIBRARY)?;
        Ok(Self { library, folder: folder.to_owned() })
    }

    /// The environment of a node that obeys its clock; the clock is right at first.
    pub(crate) fn environment(&self, node: &str) -> Result<Vec<(&'static str, PathBuf)>> {
        self.set(node, 0)?;
        Ok(tao_shard_store::fleet::clock_environment(&self.library, &self.file(node)))
    }

    /// Sets a node's clock ahead, or back; from a second later on at the latest.
    pub(crate) fn set(&self, node: &str, seconds: i64) -> Result<()> {
        tao_shard_store::fleet::write_clock_offset(&self.file(node), seconds)
            .with_context(|| format!("the clock of {node}"))
    }

    fn file(&self, node: &str) -> PathBuf {
        self.folder.join(format!("{node}.clock"))
    }
}
