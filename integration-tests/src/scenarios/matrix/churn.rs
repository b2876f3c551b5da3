//! A thousand connections a second, for as long as the fault is held.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// Connections a second, all targets together.
pub const RATE: u32 = 1_000;
/// Connections that are begun at once, each this often.
const STEP: Duration = Duration::from_millis(10);
/// Connections that may be under way at once: a target that takes its time makes the rate fall.
const AT_ONCE: usize = 256;
/// What a connection says before it goes: nothing, the beginning of HTTP/2, or something else.
const OPENINGS: [&[u8]; 3] = [b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00"];

/// Running churn; ends with the handle.
pub struct Churn {
    task: JoinHandle<()>,
    opened: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
}

impl Churn {
    /// Connects to the targets in turn.
    pub fn start(targets: Vec<SocketAddr>) -> Self {
        let (opened, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let task = tokio::spawn(run(targets, Arc::clone(&opened), Arc::clone(&refused)));
        Self { task, opened, refused }
    }

    /// Connections that were opened so far, and that were not.
    pub fn counts(&self) -> (u64, u64) {
        (self.opened.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(targets: Vec<SocketAddr>, opened: Arc<AtomicU64>, refused: Arc<AtomicU64>) {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let each = RATE as usize * STEP.as_millis() as usize / 1_000;
    let mut clock = tokio::time::interval(STEP);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0;
    loop {
        clock.tick().await;
        for _ in 0..each {
            number += 1;
            let Some(target) = targets.get(number % targets.len().max(1)).copied() else { return };
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let (opened, refused) = (Arc::clone(&opened), Arc::clone(&refused));
            let opening = OPENINGS[number % OPENINGS.len()];
            tokio::spawn(async move {
                match TcpStream::connect(target).await {
                    Ok(mut stream) => {
                        opened.fetch_add(1, Ordering::Relaxed);
                        // The target may hang up first.
                        let _hung_up = stream.write_all(opening).await;
                    }
                    Err(_) => {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
                drop(slot);
            });
        }
    }
}
