//! Bytes that are no frames, frames that are no requests, and callers who hang up in the middle.

use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;

use super::{Ground, Outcome};
use crate::history::Invariant;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long an answer to nonsense is awaited.
const PATIENCE: Duration = Duration::from_millis(100);
/// Nonsense is given this often.
const PACE: Duration = Duration::from_millis(5);

pub(super) async fn give(ground: &Ground<'_>, hold: Duration) -> Result<Outcome> {
    let mut random = StdRng::seed_from_u64(ground.seed);
    let mut outcome = Outcome::default();
    let topology = ground.cluster.topology();
    let nodes: Vec<(bool, String)> = topology
        .tiers()
        .flat_map(|(tier, nodes)| nodes.nodes.iter().map(move |node| (tier.tier == 0, node.address.clone())))
        .collect();
    let began = Instant::now();
    let mut answered = 0;
    while began.elapsed() < hold {
        let (leader, address) = &nodes[random.random_range(0..nodes.len())];
        if random.random_bool(0.5) {
            raw(address, &mut random).await;
        } else {
            let path = if *leader { "/tao.v1.Peer/Pipeline" } else { "/tao.v1.Tao/Read" };
            match nonsense(address, path, &mut random).await {
                Some(tonic::Code::Ok) => {
                    outcome.wrong(Invariant::I4, format!("{address} took nonsense on {path} for a request"));
                }
                Some(_) => answered += 1,
                None => {}
            }
        }
        outcome.injected += 1;
        tokio::time::sleep(PACE).await;
    }
    outcome.checked.push((Invariant::I4, answered));
    Ok(outcome)
}

/// Bytes on a connection, and the end of it at any point.
async fn raw(address: &str, random: &mut StdRng) {
    let Ok(mut stream) = TcpStream::connect(address).await else { return };
    let mut bytes = if random.random_bool(0.7) { PREFACE.to_vec() } else { Vec::new() };
    let mut noise = vec![0; random.random_range(1..2_048)];
    random.fill_bytes(&mut noise);
    bytes.extend_from_slice(&noise);
    // The node may hang up at any byte.
    if stream.write_all(&bytes).await.is_ok() {
        let mut answer = [0; 64];
        let _ended = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await;
    }
}

/// A gRPC message that is no protobuf, or too long. What the node said; `None`: nothing in time.
async fn nonsense(address: &str, path: &'static str, random: &mut StdRng) -> Option<tonic::Code> {
    let endpoint = Endpoint::new(format!("http://{address}")).ok()?.connect_timeout(PATIENCE * 5);
    let mut grpc = tonic::client::Grpc::new(endpoint.connect().await.ok()?);
    grpc.ready().await.ok()?;
    let body = if random.random_bool(0.1) {
        Bytes::from(vec![0; 5 << 20])
    } else {
        // A field of more bytes than follow: no protobuf, whatever the message's type.
        let mut body = vec![0x0a, 0x7f];
        body.extend((0..random.random_range(0..0x7f)).map(|_| random.random::<u8>()));
        Bytes::from(body)
    };
    let call =
        grpc.unary::<Bytes, Bytes, Raw>(tonic::Request::new(body), PathAndQuery::from_static(path), Raw);
    match tokio::time::timeout(PATIENCE * 5, call).await.ok()? {
        Ok(_) => Some(tonic::Code::Ok),
        Err(status) => Some(status.code()),
    }
}

/// A codec that sends and takes bytes as they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl tonic::codec::Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl tonic::codec::Encoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn encode(&mut self, item: Bytes, buffer: &mut tonic::codec::EncodeBuf<'_>) -> Result<(), tonic::Status> {
        bytes::BufMut::put(buffer, item);
        Ok(())
    }
}

impl tonic::codec::Decoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn decode(&mut self, buffer: &mut tonic::codec::DecodeBuf<'_>) -> Result<Option<Bytes>, tonic::Status> {
        let length = bytes::Buf::remaining(buffer);
        Ok(Some(bytes::Buf::copy_to_bytes(buffer, length)))
    }
}
