//! The folder of published distributions.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// Where files are: `tao_atc13/*.csv`, `taobench/workload_*.json`, `linkbench/Distribution.dat`, `snap/sx-*.txt.gz`. None of them
/// must be there.
#[derive(Clone, Debug)]
pub struct DataFolder(Option<PathBuf>);

impl DataFolder {
    /// A folder, or none.
    pub const fn new(path: Option<PathBuf>) -> Self {
        Self(path)
    }

    /// Stand-ins for everything.
    #[cfg(test)]
    pub const fn none() -> Self {
        Self(None)
    }

    /// A file's text, unpacked if its name ends in `.gz`; none if it is not there.
    ///
    /// # Errors
    /// It is there, but can't be read.
    pub fn text(&self, name: &str) -> Result<Option<String>> {
        let Some(path) = self.0.as_ref().map(|folder| folder.join(name)) else { return Ok(None) };
        if !path.is_file() {
            return Ok(None);
        }
        let context = || path.display().to_string();
        if name.ends_with(".gz") {
            let mut text = String::new();
            let file = std::fs::File::open(&path).with_context(context)?;
            flate2::read::GzDecoder::new(file).read_to_string(&mut text).with_context(context)?;
            return Ok(Some(text));
        }
        Ok(Some(std::fs::read_to_string(&path).with_context(context)?))
    }
}
