//! The wire contract (`proto/*.proto`): generated messages and services, and their translation to domain types.
//!
//! [`proto`] is what is generated. The translation is total in both directions: `From<domain> for proto` can't fail,
//! `TryFrom<proto> for domain` refuses what has no meaning and names the field. Messages that carry several requests
//! or several kinds of them are [`envelope`]s; errors and gRPC statuses are in [`status`].

mod convert;
pub mod envelope;
pub mod frames;
pub mod status;

pub use convert::{write_reply_from_proto, write_reply_to_proto};

/// Generated from `proto/`. `Fields` and `AssocList` are [`crate::fields::EncodedFields`] and
/// [`crate::edges::PackedEdges`]: messages kept as bytes.
#[allow(missing_docs, clippy::all, unused_qualifications)]
pub mod proto {
    tonic::include_proto!("tao.v1");

    /// Descriptors of all files, for gRPC reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tao.v1.bin"));
}
