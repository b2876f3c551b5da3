//! Which shards an operation has to do with.

use tao_schema::graph_schema::GraphSchema;
use tao_schema::ids::{EdgeKey, ShardId};
use tao_schema::ops::WriteOp;

use super::demands::positions;
use crate::history::operation::{Call, Operation};

/// The shard that answers or orders an operation: each operation has one.
pub fn home(operation: &Operation, schema: &GraphSchema) -> ShardId {
    match &operation.call {
        Call::Read(request) => request.op.shard(),
        Call::Write(request) => {
            let named = || request.ops.first().map_or(ShardId(0), WriteOp::shard);
            schema.ordering_shard(request).unwrap_or_else(|_| named())
        }
    }
}

/// Every shard whose judge must know of an operation; some more than once.
pub fn shards(operation: &Operation, schema: &GraphSchema) -> Vec<ShardId> {
    let mut shards = vec![home(operation, schema)];
    shards.extend(positions(operation).iter().map(|position| position.shard));
    if let Call::Write(request) = &operation.call {
        for op in &request.ops {
            shards.push(op.shard());
            if let WriteOp::AssocAdd { edge: EdgeKey { id2, .. }, .. }
            | WriteOp::AssocDelete { edge: EdgeKey { id2, .. }, .. }
            | WriteOp::AssocChangeType { edge: EdgeKey { id2, .. }, .. } = op
            {
                shards.push(id2.shard());
            }
        }
    }
    shards
}
