//! The wire contract (`proto/*.proto`): generated messages and services, and their translation to domain types.

/// Generated from `proto/`. `Fields` and `AssocList` are [`crate::fields::EncodedFields`] and
/// [`crate::edges::PackedEdges`]: messages kept as bytes.
#[allow(missing_docs, clippy::all, unused_qualifications)]
pub mod proto {
    tonic::include_proto!("tao.v1");

    /// Descriptors of all files, for gRPC reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tao.v1.bin"));
}
