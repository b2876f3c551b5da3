//! What a node tells of itself: counters of its admin port, memory by `tao status`.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::machine::sibling_program;

/// Asks one follower.
#[derive(Clone, Debug)]
pub struct Gauges {
    topology_file: PathBuf,
    admin: String,
}

/// Reads that a follower has counted. Those that it refused are none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reads {
    /// Answered from memory.
    pub hits: u64,
    /// All.
    pub all: u64,
}

impl Gauges {
    pub(super) const fn new(topology_file: PathBuf, admin: String) -> Self {
        Self { topology_file, admin }
    }

    /// Reads so far, by its counters.
    ///
    /// # Errors
    /// The node does not answer.
    pub fn reads(&self) -> Result<Reads> {
        let (status, text) = tokio::task::block_in_place(|| http_get(&self.admin, "/metrics"))?;
        ensure!(status == 200, "{}: status {status}", self.admin);
        Ok(Reads::of_metrics(&text))
    }

    /// Bytes of the follower's cache, as it reckons them itself.
    ///
    /// # Errors
    /// The node does not answer.
    pub async fn cache_bytes(&self) -> Result<u64> {
        let output = Command::new(sibling_program("tao")?)
            .arg("--cluster")
            .arg(&self.topology_file)
            .args(["--output", "json", "status"])
            .output()
            .await?;
        let rows: Vec<Value> = serde_json::from_slice(&output.stdout).context("tao status prints a table")?;
        let follower = rows.iter().find(|row| row["role"] == "follower").context("a follower")?;
        follower["bytes"].as_u64().with_context(|| format!("the bytes of {follower}"))
    }
}

impl Reads {
    /// What was counted since `earlier`.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self { hits: self.hits - earlier.hits, all: self.all - earlier.all }
    }

    /// Part that was answered from memory.
    pub fn hit_rate(self) -> f64 {
        if self.all == 0 { 0.0 } else { self.hits as f64 / self.all as f64 }
    }

    fn of_metrics(text: &str) -> Self {
        let mut reads = Self::default();
        for line in text.lines().filter(|line| line.starts_with("tao_follower_reads_total{")) {
            let count = line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
            if line.contains("result=\"refused\"") {
                continue;
            }
            reads.all += count;
            if line.contains("result=\"hit\"") {
                reads.hits += count;
            }
        }
        reads
    }
}

/// Status and body of a small page.
pub(super) fn http_get(address: &str, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).with_context(|| address.to_owned())?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
    Ok((status.with_context(|| format!("{address} speaks no HTTP"))?, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_added_up_by_result() {
        let text = "# HELP x\ntao_follower_reads_total{op=\"object_get\",result=\"hit\"} 7\n\
                    tao_follower_reads_total{op=\"assoc_range\",result=\"absent\"} 3\n\
                    tao_follower_reads_total{op=\"assoc_range\",result=\"refused\"} 9\nother 5\n";
        let reads = Reads::of_metrics(text);
        assert_eq!(reads, Reads { hits: 7, all: 10 });
        assert!((reads.since(Reads { hits: 2, all: 5 }).hit_rate() - 1.0).abs() < 1e-9);
        assert!(Reads::default().hit_rate() == 0.0);
    }
}
