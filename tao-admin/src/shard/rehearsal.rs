//! How long writes would wait: the same ways, gone with heartbeats in place of the fence and the commit.

use std::time::{Duration, Instant};

use tao_shard_store::log::{Beat, LogPosition, ServerLog};
use tao_shard_store::moves::ShardMover;

use super::error::{Done, Halt};
use super::ground::Server;
use super::stream::Stream;
use super::worker::Worker;

/// So many of the last ones count.
const REHEARSALS: usize = 3;
/// Between two looks at a server that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(2);

impl Worker<'_> {
    /// Measures how long a cutover would make writes wait, and notes the longest of the last few times: one alone may have met no
    /// other transaction.
    pub(super) async fn rehearse(&mut self, stream: &mut Stream) -> Done {
        loop {
            let took = self.rehearse_once(stream).await?;
            self.rehearsals.push_back(took.as_secs_f64() * 1_000.0);
            if self.rehearsals.len() >= REHEARSALS {
                break;
            }
        }
        self.rehearsals.drain(..self.rehearsals.len() - REHEARSALS);
        self.notes.predicted_ms = self.rehearsals.iter().copied().reduce(f64::max);
        Ok(())
    }

    async fn rehearse_once(&mut self, stream: &mut Stream) -> Done<Duration> {
        let options = self.options();
        let (source, target) =
            (self.primary(self.entry.at.source).await?, self.primary(self.entry.at.target).await?);
        let behind = self.ground.replicas(source.group, &options).await?;
        let after = self.ground.replicas(target.group, &options).await?;
        let meta = self.ground.meta().await?;
        let start = Instant::now();
        // The locks as they are taken then, behind whoever writes; the heartbeat for what is written with them.
        source.store.lock_moves(self.shard).await?;
        let fenced = self.beaten(&source).await?;
        let limit = self.catch_up_limit();
        let (replicated, drained) =
            tokio::join!(executed_by_all(&behind, &fenced, limit), self.pass_to(stream, &fenced, limit));
        replicated?;
        drained?;
        target.store.executed().await?;
        target.store.lock_moves(self.shard).await?;
        let committed = self.beaten(&target).await?;
        executed_by_all(&after, &committed, limit).await?;
        target.store.shard_moves(self.shard).await?;
        meta.store.stored_topology().await?;
        self.beaten(&meta).await?;
        Ok(start.elapsed())
    }

    /// Writes a heartbeat; answers what the server had executed with it.
    pub(super) async fn beaten(&self, server: &Server) -> Done<LogPosition> {
        let beat = Beat { writer: self.beat_writer(), nonce: rand::random() };
        server.store.beat(beat).await?;
        Ok(server.store.executed().await?)
    }

    async fn pass_to(&mut self, stream: &mut Stream, there: &LogPosition, limit: Duration) -> Done {
        let start = Instant::now();
        while !stream.read_to().covers(there) {
            self.step(stream, LOOK_EVERY * 10).await?;
            if start.elapsed() > limit {
                return Err(Halt::Passing(format!("the source's log did not come within {limit:?}")));
            }
        }
        Ok(())
    }
}

/// Waits until all of these servers have executed that much.
pub(super) async fn executed_by_all(servers: &[Server], there: &LogPosition, limit: Duration) -> Done {
    let start = Instant::now();
    for server in servers {
        while !server.store.executed().await?.covers(there) {
            if start.elapsed() > limit {
                return Err(Halt::Passing(format!("{}: not caught up within {limit:?}", server.place())));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}
