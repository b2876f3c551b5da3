//! Compiles the wire contract without a protoc binary.

use std::path::PathBuf;

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).open_files(["tao.proto", "peer.proto"])?;
    let descriptors = compiler.file_descriptor_set();
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("tao.v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".tao.v1.Field")
        .extern_path(".tao.v1.Fields", "crate::fields::EncodedFields")
        .extern_path(".tao.v1.AssocList", "crate::edges::PackedEdges")
        .compile_fds(descriptors)?;
    Ok(())
}
