//! Limits of a move on the command line.

use std::time::Duration;

use clap::Args;
use tao_admin::shard::{MoveOptions, Without};
use tao_schema::ids::HostGroupId;

use crate::commands::values::duration;

/// Limits of a move. All can be changed while it runs (`tao shard set`).
#[derive(Args, Clone)]
pub struct Tuning {
    /// Writes wait at most for so long; a cutover that would take longer is not begun, one that does is taken back [default: 2s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    max_pause: Option<Duration>,
    /// The copy waits while a replica of either host group, in any region, is further behind [default: 2s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    max_lag: Option<Duration>,
    /// The copy waits while either primary executes more threads [default: 64]
    #[arg(long, value_name = "NUMBER")]
    max_threads: Option<u64>,
    /// The copy waits while the history list of either primary is longer [default: 1000000]
    #[arg(long, value_name = "NUMBER")]
    max_history: Option<u64>,
    /// The copy waits while a leader's p99 of transactions, lane waits or database reads is longer; 0s: not looked at [default:
    /// 500ms]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    max_leader_p99: Option<Duration>,
    /// Admin address of a leader that the topology does not name with one; may be repeated
    #[arg(long, value_name = "HOST:PORT")]
    leader_admin: Vec<String>,
    /// Bytes that are free on each server of the target, such as 20GiB: for servers of which that can't be found out
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    target_room: Option<u64>,
    /// Time that one import should take; chunks are made to fit [default: 100ms]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    chunk_time: Option<Duration>,
    /// Rows of a chunk at most [default: 5000]
    #[arg(long, value_name = "ROWS")]
    max_chunk_rows: Option<u64>,
    /// Rows copied in a second at most; 0: no limit [default: 0]
    #[arg(long, value_name = "ROWS")]
    max_rows_per_second: Option<u64>,
    /// Cutovers that are tried in a row [default: 5]
    #[arg(long, value_name = "NUMBER")]
    cutovers: Option<u32>,
    /// A comparison that is older is done again before a cutover [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    verified_within: Option<Duration>,
    /// Time between the retirement of the old side and the deletion of its rows [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    grace: Option<Duration>,
    /// Rows that one transaction deletes [default: 1000]
    #[arg(long, value_name = "ROWS")]
    delete_rows: Option<u64>,
    /// Does not wait for this server; it must not be promoted before it is built anew. May be repeated
    #[arg(long, value_name = "GROUP:REGION", value_parser = without)]
    without: Vec<Without>,
}

impl Tuning {
    /// The defaults, with what was given.
    pub fn options(&self) -> MoveOptions {
        let mut options = MoveOptions::default();
        self.apply(&mut options);
        options
    }

    /// Changes what was given.
    pub fn apply(&self, options: &mut MoveOptions) {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let set = |value: &mut u64, given: Option<u64>| *value = given.unwrap_or(*value);
        set(&mut options.max_pause_ms, self.max_pause.map(ms));
        set(&mut options.max_lag_ms, self.max_lag.map(ms));
        set(&mut options.max_threads, self.max_threads);
        set(&mut options.max_history, self.max_history);
        set(&mut options.max_leader_p99_ms, self.max_leader_p99.map(ms));
        set(&mut options.target_room, self.target_room);
        set(&mut options.chunk_ms, self.chunk_time.map(ms));
        set(&mut options.max_chunk_rows, self.max_chunk_rows);
        set(&mut options.max_rows_per_second, self.max_rows_per_second);
        set(&mut options.verified_within_s, self.verified_within.map(|time| time.as_secs()));
        set(&mut options.grace_s, self.grace.map(|time| time.as_secs()));
        set(&mut options.delete_rows, self.delete_rows);
        options.cutovers = self.cutovers.unwrap_or(options.cutovers);
        if !self.leader_admin.is_empty() {
            options.leader_admin.clone_from(&self.leader_admin);
        }
        if !self.without.is_empty() {
            options.without.clone_from(&self.without);
        }
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1_u64 << 40,
        _ => return Err("expected bytes, or KiB, MiB, GiB, TiB of them, such as 20GiB".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "expected a whole number of bytes".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "more bytes than can be counted".to_owned())
}

fn without(text: &str) -> Result<Without, String> {
    let parts = text.split_once(':').and_then(|(group, region)| Some((group.parse().ok()?, region)));
    let (group, region) = parts.ok_or_else(|| "expected GROUP:REGION".to_owned())?;
    Ok(Without { host_group: HostGroupId(group), region: region.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        assert_eq!(bytes("512"), Ok(512));
        assert_eq!(bytes("20GiB"), Ok(20 << 30));
        for wrong in ["", "GiB", "20GB", "1.5GiB", "99999999TiB"] {
            bytes(wrong).unwrap_err();
        }
    }
}
