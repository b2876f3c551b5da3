//! Wall clocks that can be wrong, for single programs, by `libfaketime`: it is loaded before all other libraries and
//! stands between a program and the system's answers about time. The offset is in a file that it reads every second.

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The environment in which a program obeys the clock of a file. Monotonic clocks stay right, as when a machine's clock is
/// set.
#[must_use]
pub fn clock_environment(library: &Path, file: &Path) -> Vec<(&'static str, PathBuf)> {
    vec![
        ("LD_PRELOAD", library.to_owned()),
        ("FAKETIME_TIMESTAMP_FILE", file.to_owned()),
        // Seconds.
        ("FAKETIME_CACHE_DURATION", PathBuf::from("1")),
        // By its name in old versions and in new ones.
        ("DONT_FAKE_MONOTONIC", PathBuf::from("1")),
        ("FAKETIME_DONT_FAKE_MONOTONIC", PathBuf::from("1")),
        // A correction for an old C library, by which waits for a condition end minutes late (MySQL takes two to start).
        ("FAKETIME_FORCE_MONOTONIC_FIX", PathBuf::from("0")),
    ]
}

/// Sets the clock of a file ahead by so many seconds, or back. A reader sees the old offset or the new one.
///
/// # Errors
/// The file can't be written.
pub fn write_clock_offset(file: &Path, seconds: i64) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut draft = tempfile::NamedTempFile::new_in(folder)?;
    writeln!(draft, "{seconds:+}")?;
    draft.persist(file).map_err(|error| error.error)?;
    Ok(())
}
