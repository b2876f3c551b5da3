//! Memory of processes, as the kernel counts it.

use anyhow::{Context, Result};

/// Resident bytes of a process.
///
/// # Errors
/// The process is gone, or this is not Linux.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    of_status(&text).with_context(|| format!("no VmRSS in {path}"))
}

fn of_status(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resident_size_is_found() {
        assert_eq!(of_status("Name:\tx\nVmRSS:\t    1234 kB\nThreads:\t1\n"), Some(1234 * 1024));
        assert_eq!(of_status("Name:\tx\n"), None);
        assert!(resident_bytes(std::process::id()).unwrap() > 100_000);
    }
}
