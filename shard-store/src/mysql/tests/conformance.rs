//! The suite that every engine passes.

use async_trait::async_trait;
use futures_util::future::join_all;
use tao_schema::ids::ShardId;

use super::super::MySqlStore;
use super::support::{fleets, open, options};
use crate::conformance::{Factory, Handles, assert_all};
use crate::fleet::Server;
use crate::store::StoreError;

/// Two stores on one database for each case.
struct OneDatabase(Server);

impl OneDatabase {
    async fn handle(&self) -> Result<MySqlStore, StoreError> {
        open(&self.0, options("conformance")).await
    }
}

#[async_trait]
impl Factory for OneDatabase {
    async fn open(&self, _shards: &[ShardId]) -> Result<Handles, StoreError> {
        Ok(Handles {
            one: std::sync::Arc::new(self.handle().await?),
            other: std::sync::Arc::new(self.handle().await?),
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_engine_conforms_on_every_server() {
    let fleets = fleets().await;
    join_all(fleets.iter().map(|fleet| async {
        assert_all(&OneDatabase(fleet.servers()[0].clone())).await;
    }))
    .await;
}
