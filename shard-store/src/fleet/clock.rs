//! Wall clocks that can be wrong, for single programs, by `libfaketime`: it is loaded before all other libraries and
//! stands between a program and the system's answers about time. The offset is in a file that it reads every second.

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Why there is none.
pub const NO_CLOCK_LIBRARY: &str =
    "libfaketimeMT.so.1 is not installed (package faketime), nor named by TAO_LIBFAKETIME";
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
#[must_use]
pub fn clock_library() -> Option<PathBuf> {
    let named = std::env::var_os(LIBRARY_VARIABLE).map(PathBuf::from);
    let usual = USUAL_FOLDERS.iter().map(|folder| Path::new(folder).join(LIBRARY));
    named.into_iter().chain(usual).find(|path| path.is_file())
}

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
