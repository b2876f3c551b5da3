//! The suite on the memory engine, and what only this engine can show: faults on demand.

use std::sync::Arc;

use async_trait::async_trait;
use tao_schema::ids::ShardId;

use super::{MemoryDatabase, MemoryOptions, MemoryStore};
use crate::conformance::{Factory, Handles, assert_all};
use crate::store::StoreError;

struct Memory;

#[async_trait]
impl Factory for Memory {
    async fn open(&self, _shards: &[ShardId]) -> Result<Handles, StoreError> {
        let database = MemoryDatabase::new(MemoryOptions::default());
        let open = || Arc::new(MemoryStore::open(&database));
        Ok(Handles { one: open(), other: open() })
    }
}

#[tokio::test]
async fn the_memory_engine_conforms() {
    assert_all(&Memory).await;
}
