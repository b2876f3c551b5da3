//! The lease of a worker, and what is read with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tao_schema::ids::ShardId;
use tao_shard_store::moves::MoveEntry;
use tao_shard_store::mysql::MoveBook;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::error::{Done, Halt, MoveError};
use super::ground::{Ground, Settings};
use super::terms::{Notes, Orders};

/// A lease that is renewed until it is dropped, and the orders as they are read with it.
pub(super) struct Lease {
    /// Orders; the book's clock, and when it was read.
    orders: watch::Receiver<(Orders, u64, Instant)>,
    /// Those that the worker has looked at.
    seen: Orders,
    lost: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Lease {
    /// Renews the lease of an entry that was just taken.
    pub(super) fn keep(ground: Arc<Ground>, settings: &Settings, entry: &MoveEntry) -> Done<Self> {
        let first = orders_of(entry)?;
        let (tell, orders) = watch::channel((first.clone(), entry.now, Instant::now()));
        let lost = Arc::new(AtomicBool::new(false));
        let (id, shard, worker, time) = (entry.id, entry.shard, settings.worker.clone(), settings.lease);
        let flag = Arc::clone(&lost);
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep((time / 4).min(Duration::from_millis(500))).await;
                let renewed = async {
                    let book = ground.book().await?;
                    if !book.lease(id, &worker, time, false).await? {
                        let open = book.of_shard(shard).await?.is_some_and(|now| now.id == id && now.open);
                        return Ok(Err(open));
                    }
                    Ok::<_, Halt>(Ok(book.of_shard(shard).await?.filter(|now| now.id == id)))
                };
                match renewed.await {
                    Ok(Ok(Some(entry))) => {
                        if let Ok(orders) = orders_of(&entry) {
                            let known = (orders, entry.now, Instant::now());
                            tell.send_if_modified(|now| {
                                let changed = now.0 != known.0;
                                *now = known;
                                changed
                            });
                        }
                    }
                    // One that is over needs no lease.
                    Ok(Ok(None) | Err(false)) => {}
                    Ok(Err(true)) => flag.store(true, Ordering::Relaxed),
                    // A book that does not answer takes nobody's lease away. What decides are the servers' rows.
                    Err(halt) => tracing::debug!(%shard, ?halt, "the lease was not renewed"),
                }
            }
        });
        Ok(Self { orders, seen: first, lost, task })
    }

    /// What operators want now.
    pub(super) fn orders(&self) -> Orders {
        self.orders.borrow().0.clone()
    }

    /// About now, by the clock of the book.
    pub(super) fn now(&self) -> u64 {
        let known = self.orders.borrow();
        known.1 + known.2.elapsed().as_millis() as u64
    }

    /// Whether another worker has it.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Whether something else was ordered since this was asked last; limits alone don't count.
    pub(super) fn reordered(&mut self) -> bool {
        if !self.orders.has_changed().unwrap_or(false) {
            return false;
        }
        let new = self.orders.borrow_and_update().0.clone();
        let same = Orders { options: self.seen.options.clone(), ..new.clone() } == self.seen;
        self.seen = new;
        !same
    }
}

/// The move of a shard that is not over.
pub(super) async fn open_entry(book: &MoveBook, shard: ShardId) -> Done<MoveEntry> {
    let entry = book.of_shard(shard).await?.filter(|entry| entry.open);
    entry.ok_or_else(|| {
        let message =
            format!("shard {shard} is not being moved; `tao shard move {shard} --to GROUP` begins a move");
        MoveError::refused(message).into()
    })
}

/// The orders of an entry.
pub(super) fn orders_of(entry: &MoveEntry) -> Result<Orders, MoveError> {
    serde_json::from_str(&entry.orders).map_err(|error| {
        MoveError::stopped(format!(
            "move {}: its orders can't be read ({error}): was it made by another version?",
            entry.id
        ))
    })
}

/// The notes of an entry; what can't be read is forgotten, because nothing depends on it.
pub(super) fn notes_of(entry: &MoveEntry) -> Notes {
    serde_json::from_str(&entry.at.notes).unwrap_or_default()
}
