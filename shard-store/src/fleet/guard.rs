//! Processes and folders that do not outlive this process, however it ends.
//!
//! Each is held by a small shell script in a process group of its own, out of reach of a terminal's Ctrl-C. The script
//! reads a pipe whose only writing end is here (close-on-exec, so no other child holds it): when this process ends,
//! by return, panic or SIGKILL, the kernel closes the pipe and the script kills its process or removes its folder.
//! The script is the process's parent, so no moment is unguarded. Signals go to the script's process group only: the
//! group's id is the script's own, which stays taken until this process has waited for the script, so they can't hit
//! a stranger that got a reused id.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process_group};

/// How long a guard may take to do its duty before this process steps in itself.
const GUARD_LIMIT: Duration = Duration::from_secs(5);
/// Between two looks at a pipe that is about to end.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// The scripts print a number or a word; nobody else writes to the pipe.
const REPLY_LIMIT: usize = 64;

/// A process that is killed (SIGKILL) when this value is dropped, or this process ends.
#[derive(Debug)]
pub(super) struct ProcessGuard {
    guard: Child,
    /// `None` once the order to kill has been given.
    order: Option<ChildStdin>,
    /// Ends when the process has ended. Non-blocking.
    alive: ChildStdout,
    ended: bool,
    pid: u32,
    /// What the process itself wrote to descriptor 9.
    said: Vec<u8>,
}

/// A folder that is removed with all that is in it when this value is dropped, or this process ends.
#[derive(Debug)]
pub(super) struct FolderGuard {
    guard: Child,
    order: Option<ChildStdin>,
}

// === impl ProcessGuard ===

impl ProcessGuard {
    /// Starts `command` with its output appended to `log` and its input read from `input`.
    /// It keeps `held` open until it ends, and with it a lock on that file.
    pub(super) fn spawn(command: &[&Path], input: &Path, log: &Path, held: File) -> io::Result<Self> {
        let mut guard = script(include_str!("guard/process.sh"))
            .arg(log)
            .arg(input)
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::from(held))
            .spawn()?;
        let (order, mut alive) = pipes(&mut guard)?;
        let reply = read_line(&mut alive);
        fcntl_setfl(&alive, OFlags::NONBLOCK)?;
        let mut this = Self { guard, order: Some(order), alive, ended: false, pid: 0, said: Vec::new() };
        // From here on `Drop` cleans up, whatever the reply was.
        this.pid = reply?.parse().map_err(|_| io::Error::other("the guard script gave no process id"))?;
        Ok(this)
    }

    /// The id of the process started; good for as long as the process runs.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether the process still runs.
    pub(super) fn is_running(&mut self) -> bool {
        let mut chunk = [0; REPLY_LIMIT];
        while !self.ended {
            match self.alive.read(&mut chunk) {
                Ok(0) => self.ended = true,
                Ok(n) => self.said.extend(chunk.iter().take(n)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(_) => self.ended = true,
            }
        }
        false
    }

    /// What the process wrote to descriptor 9 so far.
    pub(super) fn said(&self) -> &[u8] {
        &self.said
    }

    /// Asks the process to end by itself (SIGTERM). The guard ignores the signal.
    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Blocks until the process has ended by itself, or `limit` has passed; says whether it ended.
    pub(super) fn wait_end(&mut self, limit: Duration) -> bool {
        let start = Instant::now();
        while self.is_running() {
            if start.elapsed() > limit {
                return false;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        true
    }

    /// Gives the order to kill without waiting for the end; several can so be killed side by side.
    pub(super) fn order_kill(&mut self) {
        self.order = None;
    }

    /// Kills the process and blocks until it and its guard have ended.
    pub(super) fn kill(&mut self) {
        self.order_kill();
        if !self.wait_end(GUARD_LIMIT) {
            // Somebody killed the guard itself. The pipe is still open, so the process lives and the group is its.
            self.signal(Signal::KILL);
            self.wait_end(GUARD_LIMIT);
        }
        reap(&mut self.guard);
    }

    /// Signals the group of guard and process. The group's id is the guard's, which has not been reaped (it is, at
    /// the end of [`Self::kill`] only), so it is not a stranger's.
    fn signal(&self, signal: Signal) {
        if let Some(group) = i32::try_from(self.guard.id()).ok().and_then(Pid::from_raw) {
            // The only error possible is that nobody is left in the group, which is what is wanted.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for ProcessGuard {
    fn drop(&mut self) {
        self.kill();
    }
}

// === impl FolderGuard ===

impl FolderGuard {
    /// Makes `folder`, which must not exist, readable for this user only.
    pub(super) fn create(folder: &Path) -> io::Result<Self> {
        let mut guard = script(include_str!("guard/folder.sh"))
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let (order, mut reply) = pipes(&mut guard)?;
        let this = Self { guard, order: Some(order) };
        match read_line(&mut reply)?.as_str() {
            "ready" => Ok(this),
            _ => Err(io::Error::other("the folder could not be made")),
        }
    }
}

impl Drop for FolderGuard {
    fn drop(&mut self) {
        self.order = None;
        // Bounded by the script; everything that wrote into the folder has ended before in the orderly case.
        reap(&mut self.guard);
    }
}

/// A file system in memory that is unmounted when this value is dropped, or this process ends.
#[derive(Debug)]
pub(super) struct MountGuard {
    guard: Child,
    order: Option<ChildStdin>,
}

// === impl MountGuard ===

impl MountGuard {
    /// Mounts an empty file system of this size on `folder`, which is made if it is not there.
    pub(super) fn create(folder: &Path, bytes: u64) -> io::Result<Self> {
        let mut guard = script(include_str!("guard/disk.sh"))
            .arg(folder)
            .arg(bytes.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let (order, mut reply) = pipes(&mut guard)?;
        let this = Self { guard, order: Some(order) };
        match read_line(&mut reply)?.as_str() {
            "ready" => Ok(this),
            reason => Err(io::Error::other(reason.to_owned())),
        }
    }
}

impl Drop for MountGuard {
    fn drop(&mut self) {
        self.order = None;
        reap(&mut self.guard);
    }
}

fn script(text: &str) -> Command {
    let mut command = Command::new("sh");
    // From the root folder, so that no mount is kept busy.
    command.arg("-c").arg(text).arg("guard").process_group(0).current_dir("/");
    command
}

fn pipes(guard: &mut Child) -> io::Result<(ChildStdin, ChildStdout)> {
    guard.stdin.take().zip(guard.stdout.take()).ok_or_else(|| io::Error::other("the guard has no pipes"))
}

fn read_line(pipe: &mut ChildStdout) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < REPLY_LIMIT && pipe.read(&mut byte)? == 1 && byte != *b"\n" {
        line.extend(byte);
    }
    String::from_utf8(line).map_err(io::Error::other)
}

/// Waits for a guard that is ending.
fn reap(guard: &mut Child) {
    // An error means that it has been reaped already.
    let _ = guard.wait();
}
