//! A child process that does not outlive its handle.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// A program under test. Killed when dropped.
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts `program`; its stderr goes to `log`.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(name: &str, program: &Path, args: &[&str], log: &Path) -> Result<Self> {
        Self::start_with(name, program, args, log, &[])
    }

    /// As [`Process::start`], with variables of the environment.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start_with(
        name: &str,
        program: &Path,
        args: &[&str],
        log: &Path,
        environment: &[(&str, &Path)],
    ) -> Result<Self> {
        let log = std::fs::File::create(log).with_context(|| log.display().to_string())?;
        let child = Command::new(program)
            .args(args)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        Ok(Self { name: name.to_owned(), child })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// kill -9: no warning, nothing is written down.
    ///
    /// # Errors
    /// It is gone already.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("kill {}", self.name))?;
        self.child.wait().with_context(|| format!("reap {}", self.name))?;
        Ok(())
    }

    /// SIGTERM, and waits for the end: its exit code.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn terminate(&mut self, within: Duration) -> Result<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .with_context(|| format!("terminate {}", self.name))?;
        let started = Instant::now();
        while started.elapsed() < within {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code().unwrap_or(-1));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        anyhow::bail!("{} did not end within {within:?} of SIGTERM", self.name)
    }

    /// Its exit code, once it has ended; -1 if a signal ended it.
    ///
    /// # Errors
    /// Its state can't be read.
    pub fn exit_code(&mut self) -> Result<Option<i32>> {
        Ok(self.child.try_wait()?.map(|status| status.code().unwrap_or(-1)))
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// Its state can't be read.
    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Whether a node says on its admin port that it is ready.
///
/// # Errors
/// It answers with something that is no HTTP.
pub(crate) fn is_ready(admin: &str) -> Result<bool> {
    let Ok(mut stream) = std::net::TcpStream::connect(admin) else { return Ok(false) };
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    if stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").is_err() {
        return Ok(false);
    }
    let mut answer = String::new();
    if stream.read_to_string(&mut answer).is_err() {
        return Ok(false);
    }
    let status = answer.split_whitespace().nth(1).with_context(|| format!("{admin} speaks no HTTP"))?;
    Ok(status == "200")
}

/// Looks every now and then until `condition` holds.
///
/// # Errors
/// It does not within `limit`.
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    loop {
        if condition()? {
            return Ok(());
        }
        anyhow::ensure!(started.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
