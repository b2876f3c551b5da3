//! What administers a cluster, for the `tao` command and for programs: regions and their database servers, moves of shards.

pub mod region;
pub mod shard;
