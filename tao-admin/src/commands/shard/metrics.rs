//! What a worker exports, in the style of the nodes' own metrics.

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;

use anyhow::{Context, Result};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tao_admin::shard::MoveStatus;
use tao_server::health::{Health, State};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::output::say;

type Number = Gauge<f64, AtomicU64>;

/// Gauges of the moves that this process works on. Their number is bounded by what it was told to move.
#[derive(Default, Clone)]
pub struct Metrics {
    state: Family<StateLabel, Gauge>,
    rows_total: Family<ShardLabel, Gauge>,
    rows_copied: Family<ShardLabel, Gauge>,
    throttled: Family<ShardLabel, Gauge>,
    throttled_seconds: Family<InputLabel, Number>,
    lag: Family<ShardLabel, Number>,
    predicted: Family<ShardLabel, Number>,
    pause: Family<ShardLabel, Number>,
    rollbacks: Family<ShardLabel, Gauge>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ShardLabel {
    shard: u16,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct StateLabel {
    shard: u16,
    state: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct InputLabel {
    shard: u16,
    input: String,
}

impl Metrics {
    /// Serves them until what it answers is dropped.
    ///
    /// # Errors
    /// The address is taken.
    pub async fn serve(&self, listen: SocketAddr) -> Result<DropGuard> {
        let health = Health::new("tao-shard", "mover");
        health.register(|registry| {
            let registry = registry.sub_registry_with_prefix("tao_move");
            registry.register("state", "1 for the state that the move is in", self.state.clone());
            registry.register("rows", "Rows of the shard", self.rows_total.clone());
            registry.register("rows_copied", "Rows copied", self.rows_copied.clone());
            registry.register("throttled", "1 while the copy waits", self.throttled.clone());
            let waited = self.throttled_seconds.clone();
            registry.register("throttled_seconds", "How long the copy waited, by limit", waited);
            registry.register("lag_seconds", "Largest lag of a replica", self.lag.clone());
            let predicted = self.predicted.clone();
            registry.register("predicted_pause_seconds", "How long writes would wait", predicted);
            registry.register("pause_seconds", "How long writes waited", self.pause.clone());
            registry.register("rollbacks", "Cutovers taken back", self.rollbacks.clone());
        });
        health.set(State::Ready);
        let stop = CancellationToken::new();
        let address = health.serve(listen, stop.clone()).await;
        let address = address.with_context(|| format!("--metrics-listen {listen}: choose another port"))?;
        say(&format!("metrics at http://{address}/metrics"));
        Ok(stop.drop_guard())
    }

    /// Takes what a worker tells.
    pub fn note(&self, status: &MoveStatus, before: &'static str) {
        let shard = status.shard.0;
        let label = ShardLabel { shard };
        if before != status.state {
            self.state.get_or_create(&StateLabel { shard, state: before }).set(0);
        }
        self.state.get_or_create(&StateLabel { shard, state: status.state }).set(1);
        let whole = |family: &Family<ShardLabel, Gauge>, value: u64| {
            family.get_or_create(&label).set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        whole(&self.rows_total, status.notes.rows_total);
        whole(&self.rows_copied, status.notes.rows_copied);
        whole(&self.throttled, u64::from(status.throttled.is_some()));
        whole(&self.rollbacks, status.notes.rollbacks.into());
        for (input, ms) in &status.notes.throttled_ms {
            let label = InputLabel { shard, input: input.clone() };
            self.throttled_seconds.get_or_create(&label).set(*ms as f64 / 1_000.0);
        }
        let seconds = |family: &Family<ShardLabel, Number>, ms: Option<f64>| {
            if let Some(ms) = ms {
                family.get_or_create(&label).set(ms / 1_000.0);
            }
        };
        seconds(&self.lag, status.lag_ms.map(|ms| ms as f64));
        seconds(&self.predicted, status.notes.predicted_ms);
        seconds(&self.pause, status.notes.pause_ms);
    }
}
