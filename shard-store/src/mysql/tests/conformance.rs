//! The suite that every engine passes; and the log tells what the suite wrote.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tao_schema::ids::ShardId;

use super::super::{OneTrip, Options};
use super::recorded::{Changes, Recorded, assert_same, up_to_now};
use super::support::{fleets, open, options};
use crate::conformance::{Factory, Handles, assert_all};
use crate::fleet::Server;
use crate::log::{ServerLog, TailStart};
use crate::store::{SharedStore, StoreError};

/// Two stores on one database for each case.
struct OneDatabase {
    server: Server,
    changes: Arc<Mutex<Changes>>,
}

impl OneDatabase {
    async fn handle(&self, one_trip: OneTrip) -> Result<SharedStore, StoreError> {
        let store = open(&self.server, Options { one_trip, ..options("conformance") }).await?;
        Ok(Arc::new(Recorded { store, changes: self.changes.clone() }))
    }
}

#[async_trait]
impl Factory for OneDatabase {
    async fn open(&self, _shards: &[ShardId]) -> Result<Handles, StoreError> {
        let log = Arc::new(open(&self.server, options("conformance")).await?);
        Ok(Handles {
            one: self.handle(OneTrip::Always).await?,
            other: self.handle(OneTrip::Never).await?,
            log,
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_engine_conforms_on_every_server_and_its_log_tells_what_was_written() {
    let fleets = fleets().await;
    join_all(fleets.iter().map(|fleet| async {
        let server = fleet.servers()[0].clone();
        let store = open(&server, options("conformance")).await.unwrap();
        // Nobody reads it until the suite is done: the server waits.
        let mut tail = store.open_tail(TailStart::Back(Duration::ZERO)).await.unwrap();
        let factory = OneDatabase { server, changes: Arc::default() };
        assert_all(&factory).await;
        let told = up_to_now(&store, tail.as_mut()).await;
        assert_same(&told, &factory.changes.lock());
    }))
    .await;
}
