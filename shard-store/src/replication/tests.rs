//! What replication promises, on every server found.
