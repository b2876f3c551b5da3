//! Child processes that do not outlive their handle.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::Cores;

/// How long a process may take to end by itself before it is killed.
const END: Duration = Duration::from_secs(5);

/// A program that was started; ended when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` on the servers' core; what it says goes to `log`.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(name: &str, program: &Path, args: &[String], log: &Path, cores: &Cores) -> Result<Self> {
        let file = std::fs::File::create(log).with_context(|| log.display().to_string())?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        // A child inherits the cores of the thread that starts it, and a runtime counts its cores when it starts: so the
        // thread moves first, and ends afterwards.
        let child = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                cores.enter_server()?;
                command.spawn()
            });
            thread.join().map_err(|_| std::io::Error::other("the thread that starts processes panicked"))?
        });
        let child = child.with_context(|| format!("start {name} ({})", program.display()))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `ready` says so.
    ///
    /// # Errors
    /// The process ends, or is not ready within `limit`: with the end of its log.
    pub async fn wait_ready(&mut self, limit: Duration, ready: impl Fn() -> bool) -> Result<()> {
        let began = Instant::now();
        loop {
            ensure!(self.child.try_wait()?.is_none(), "{} ended: {}", self.name, self.log_end());
            if tokio::task::block_in_place(&ready) {
                return Ok(());
            }
            ensure!(
                began.elapsed() < limit,
                "{} is not ready after {limit:?}: {}",
                self.name,
                self.log_end()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn log_end(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // What fails here fails because the process has ended.
        let _ended = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let began = Instant::now();
        while began.elapsed() < END {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A program on the PATH.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// A program that was built with this one and stands beside it.
///
/// # Errors
/// It is not built.
pub fn sibling_program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.parent().context("a program runs from a folder")?;
    let path = folder.join(name);
    ensure!(
        path.is_file(),
        "{} is not built: run `cargo build --release --workspace --bins` first",
        path.display()
    );
    Ok(path)
}

/// An address on loopback that nobody listens on now.
///
/// # Errors
/// No port is free.
pub fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
