//! Servers that are there already, by their DSNs.

use anyhow::{Context as _, Result, bail, ensure};
use tao_shard_store::replication::ServerAdmin;

use super::ServersOptions;

/// Servers that somebody else runs.
pub(super) struct Given {
    /// By index.
    dsns: Vec<String>,
}

impl Given {
    /// Asks each who it is, so that a wrong address or account shows before anything is started.
    pub(super) async fn check(groups: &[Vec<String>], options: ServersOptions) -> Result<Self> {
        let enough =
            groups.len() >= options.groups && groups.iter().all(|group| group.len() >= options.places);
        ensure!(
            enough,
            "{} host groups in {} regions are needed; the servers given are {}",
            options.groups,
            options.places,
            groups.iter().map(|group| group.len().to_string()).collect::<Vec<_>>().join(" + ")
        );
        let mut dsns = Vec::new();
        for place in 0..options.places {
            for group in &groups[..options.groups] {
                let admin = ServerAdmin::connect(&group[place]).await.context("a server that was given")?;
                if options.places > 1 {
                    // As a fleet's: shut until somebody says who the primary is.
                    admin.set_read_only(true).await.with_context(|| format!("shut {}", admin.address()))?;
                }
                dsns.push(group[place].clone());
            }
        }
        Ok(Self { dsns })
    }

    pub(super) fn dsn(&self, index: usize) -> Option<String> {
        self.dsns.get(index).cloned()
    }

    /// For what only their owner may do.
    pub(super) fn refuse(&self, what: &str, index: usize) -> Result<()> {
        bail!("server {index} was given by its address: it is not ours to {what}")
    }
}
