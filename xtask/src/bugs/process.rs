//! One program, run to its end or to its time's.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process_group};

/// Between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(20);
/// The kernel tells processor time in hundredths of a second.
const TICKS_PER_SECOND: u64 = 100;

/// What a program did.
pub(crate) struct Ended {
    /// `None`: its time was up.
    pub(crate) status: Option<ExitStatus>,
    /// What it wrote, errors included.
    pub(crate) output: String,
    /// Processor time of it and of all it waited for.
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
}

/// Runs a program with its output in `log`, and kills it and what it started after `limit`.
pub(crate) fn run(command: &mut Command, log: &Path, limit: Duration) -> Result<Ended> {
    let output = File::create(log).with_context(|| format!("create {}", log.display()))?;
    let errors = output.try_clone().context("share the log")?;
    let (began, before) = (Instant::now(), children_cpu());
    // A group of its own, so that what it starts ends with it. Database servers have guards that see to theirs.
    let mut child = command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .with_context(|| format!("start {command:?}"))?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let status = loop {
        if let Some(status) = child.try_wait().context("wait for a test")? {
            break Some(status);
        }
        if began.elapsed() >= limit {
            break None;
        }
        sleep(LOOK);
    };
    if let Some(group) = group {
        // It is empty, as a rule.
        let _gone = kill_process_group(group, Signal::KILL);
    }
    if status.is_none() {
        child.wait().context("wait for a test that was killed")?;
    }
    let (wall, cpu) = (began.elapsed(), children_cpu().saturating_sub(before));
    let output = fs::read(log).with_context(|| format!("read {}", log.display()))?;
    Ok(Ended { status, output: String::from_utf8_lossy(&output).into_owned(), cpu, wall })
}

/// Processor time, user and system, of all children that were waited for, and theirs.
fn children_cpu() -> Duration {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may have spaces; the rest counts from the third field.
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: u64 = fields.skip(13).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_ends_with_its_status_or_with_its_time() {
        let log = std::env::temp_dir().join(format!("xtask-process-{}", std::process::id()));
        let sh = |script: &str, limit| run(Command::new("sh").args(["-c", script]), &log, limit).unwrap();
        let ended = sh("echo said; exit 3", Duration::from_secs(20));
        assert_eq!((ended.status.and_then(|s| s.code()), ended.output.as_str()), (Some(3), "said\n"));
        let ended = sh("echo first; sleep 60 & sleep 60", Duration::from_millis(300));
        assert!(ended.status.is_none() && ended.wall < Duration::from_secs(20));
        assert_eq!(ended.output, "first\n");
        fs::remove_file(&log).unwrap();
    }
}
