//! tao-shard-store
