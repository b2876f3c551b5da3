//! Wrong wall clocks of single programs, by `libfaketime`: a library that is loaded before all others and stands between
//! a program and the system's answers about time. It reads the offset from a file, again every second, so that a clock
//! jumps while the program runs.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Names the library where it is in no usual place.
const LIBRARY_VARIABLE: &str = "TAO_LIBFAKETIME";
/// Where distributions put it.
const USUAL_FOLDERS: [&str; 5] = [
    "/usr/lib/x86_64-linux-gnu/faketime",
    "/usr/lib/aarch64-linux-gnu/faketime",
    "/usr/lib64/faketime",
    "/usr/lib/faketime",
    "/usr/local/lib/faketime",
];
/// For programs with threads.
const LIBRARY: &str = "libfaketimeMT.so.1";

/// The library, if this machine has it (Debian: `apt-get install faketime`).
pub fn clock_library() -> Option<PathBuf> {
    let named = std::env::var_os(LIBRARY_VARIABLE).map(PathBuf::from);
    let usual = USUAL_FOLDERS.iter().map(|folder| Path::new(folder).join(LIBRARY));
    named.into_iter().chain(usual).find(|path| path.is_file())
}

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
        let library = clock_library().with_context(|| {
            format!("{LIBRARY} is not installed (package faketime), nor named by {LIBRARY_VARIABLE}")
        })?;
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
