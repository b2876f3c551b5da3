//! Cache servers of the peers: found on the PATH, on a free port, with nothing on disk.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Redis;
use crate::machine::{Cores, Process, find_program, free_address};

const START: Duration = Duration::from_secs(10);

/// A running cache server; ended when dropped.
pub struct CacheServer {
    process: Process,
    address: String,
}

impl CacheServer {
    /// Redis with room for `bytes`, evicting the least recently used; `None`: without a bound. `Ok(None)`: it is not installed.
    ///
    /// # Errors
    /// It does not start.
    pub async fn redis(folder: &Path, bytes: Option<u64>, cores: &Cores) -> Result<Option<Self>> {
        let args = |port: &str| {
            let mut args = vec!["--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
            args.extend(["--maxmemory-policy", "allkeys-lru", "--daemonize", "no"]);
            let mut args: Vec<String> = args.into_iter().map(str::to_owned).collect();
            args.extend(["--dir".to_owned(), folder.display().to_string()]);
            if let Some(bytes) = bytes {
                args.extend(["--maxmemory".to_owned(), bytes.to_string()]);
            }
            args
        };
        Self::start("redis-server", folder, args, cores).await
    }

    /// memcached with room for `mib`, one worker thread: it has one core. `Ok(None)`: it is not installed.
    ///
    /// # Errors
    /// It does not start.
    pub async fn memcached(folder: &Path, mib: u64, cores: &Cores) -> Result<Option<Self>> {
        let args = |port: &str| {
            let mib = mib.max(1).to_string();
            // -u: it does not run as root without a name. -R: so many requests of one connection in a row, for pipelines. Memory
            // goes to classes of sizes by pages of 1 MiB, and each class gets its first page whatever -m says: with the usual 40
            // classes a small cache is larger than it may be, and one page more for a class of small items is several
            // percent of hits. So there are two classes, items above 4 KiB in several pieces, and none above 256 KiB, because
            // a small -m forbids larger ones. Small items take more room so: the size of the cache is no figure to compare.
            let args = ["-p", port, "-l", "127.0.0.1", "-U", "0", "-t", "1", "-m", &mib, "-u", "nobody"];
            args.into_iter()
                .chain(["-c", "1024", "-R", "200", "-n", "464", "-f", "4", "-I", "256k"])
                .chain(["-o", "slab_chunk_max=4096"])
                .map(str::to_owned)
                .collect()
        };
        Self::start("memcached", folder, args, cores).await
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Bytes that Redis has allocated, as it tells.
    ///
    /// # Errors
    /// It is not Redis, or does not answer.
    pub async fn used_memory(&self) -> Result<u64> {
        let told = Redis::connect(&self.address).await?.ask(&[b"INFO", b"memory"]).await?;
        let used = told.lines().find_map(|line| line.strip_prefix("used_memory:")?.trim().parse().ok());
        used.context("INFO memory tells used_memory")
    }

    async fn start(
        name: &str,
        folder: &Path,
        args: impl Fn(&str) -> Vec<String>,
        cores: &Cores,
    ) -> Result<Option<Self>> {
        let Some(program) = find_program(name) else { return Ok(None) };
        let address = free_address()?;
        let port = address.rsplit(':').next().unwrap_or_default();
        let log = folder.join(format!("{name}-{port}.log"));
        let mut process = Process::start(name, &program, &args(port), &log, cores)?;
        process.wait_ready(START, || std::net::TcpStream::connect(&address).is_ok()).await?;
        Ok(Some(Self { process, address }))
    }
}
