//! The gRPC door of a node as programs in other languages find it: health, reflection, and what they may do wrong.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use integration_tests::DevRegion;
use tao_client::ErrorCode;
use tao_schema::fields::{EncodedFields, Value};
use tao_schema::ids::{AssocType, FieldId, ListKey, ObjectId, ObjectType, ShardId};
use tao_schema::limits::{MAX_ASSOC_BYTES, MAX_OBJECT_BYTES, MAX_QUERY_LIMIT};
use tao_schema::wire::proto::inspect_client::InspectClient;
use tao_schema::wire::proto::peer_client::PeerClient;
use tao_schema::wire::proto::read_request::Op as Read;
use tao_schema::wire::proto::tao_client::TaoClient;
use tao_schema::wire::proto::write_op::Op as Write;
use tao_schema::wire::proto::{self, reply, request};
use tonic::transport::{Channel, Endpoint};

/// The demo schema's numbers.
const USER: u32 = 1;
const FRIEND: u32 = 1;

async fn channel(address: &str) -> Channel {
    Endpoint::new(format!("http://{address}")).unwrap().connect().await.unwrap()
}

fn region() -> (DevRegion, String, String) {
    let region = DevRegion::start(&["--storage", "memory"]).unwrap();
    let nodes = &region.ready.regions[0];
    let (follower, leader) = (nodes.followers[0].address.clone(), nodes.leaders[0].address.clone());
    (region, follower, leader)
}

fn write(op: Write) -> proto::WriteRequest {
    let request_id = rand::random::<u128>().to_be_bytes().to_vec();
    proto::WriteRequest { request_id, op: vec![proto::WriteOp { op: Some(op) }], ..Default::default() }
}

fn read(op: Read) -> proto::ReadRequest {
    proto::ReadRequest { op: Some(op), ..Default::default() }
}

fn blob(field: u16, bytes: usize) -> Option<EncodedFields> {
    let text = Value::Text("x".repeat(bytes));
    Some([(FieldId(field), text)].into_iter().collect::<tao_schema::fields::Fields>().encode())
}

/// A text field whose encoding has exactly `bytes` bytes.
fn exactly(field: u16, bytes: usize) -> Option<EncodedFields> {
    let overhead = blob(field, bytes).unwrap().len() - bytes;
    let fields =
        (0..=overhead).find_map(|less| blob(field, bytes - less).filter(|found| found.len() == bytes));
    Some(fields.expect("the length prefix does not jump over this size"))
}

fn add(id: u64, otype: u32, fields: Option<EncodedFields>) -> Write {
    Write::ObjectAdd(proto::ObjectAdd { id, shard: 0, otype, fields })
}

fn befriend(id1: u64, atype: u32, fields: Option<EncodedFields>) -> Write {
    let edge = proto::AssocAdd { id1, atype, id2: 9, time: 1, fields, ..Default::default() };
    Write::AssocAdd(edge)
}

fn code(number: u32) -> ErrorCode {
    ErrorCode::ALL[number as usize - 1]
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_answer() {
    let (_region, follower, leader) = region();
    for (address, service) in [(&follower, "tao.v1.Tao"), (&leader, "tao.v1.Peer")] {
        let mut health = tonic_health::pb::health_client::HealthClient::new(channel(address).await);
        for name in ["", service] {
            let request = tonic_health::pb::HealthCheckRequest { service: name.to_owned() };
            let status = health.check(request).await.unwrap().into_inner().status();
            assert_eq!(status, tonic_health::pb::health_check_response::ServingStatus::Serving, "{name}");
        }
        use tonic_reflection::pb::v1 as reflection;
        let mut client =
            reflection::server_reflection_client::ServerReflectionClient::new(channel(address).await);
        let ask = reflection::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(reflection::server_reflection_request::MessageRequest::ListServices(
                String::new(),
            )),
        };
        let mut answers =
            client.server_reflection_info(futures_util::stream::iter([ask])).await.unwrap().into_inner();
        let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
        let reflection::server_reflection_response::MessageResponse::ListServicesResponse(list) = answer
        else {
            panic!("{answer:?}")
        };
        assert!(list.service.iter().any(|found| found.name == service), "{list:?}");
    }
}

/// What a follower refuses, each with its code, and nothing is written.
#[tokio::test(flavor = "multi_thread")]
async fn bad_writes_are_refused_whole() {
    use ErrorCode::{InvalidArgument, NoSuchShard};
    let (region, follower, _) = region();
    let mut tao = TaoClient::new(channel(&follower).await);
    let user = |n: u32| ObjectId::named(ObjectType(1), n, 64).0;
    // The same number on shard 64, which a cluster of 64 does not have.
    let nowhere = (64 << 48) | (user(1) & 0xffff_ffff_ffff);
    let number =
        Some([(FieldId(1), Value::Int(7))].into_iter().collect::<tao_schema::fields::Fields>().encode());
    let broken = Some(EncodedFields(Bytes::from_static(b"\x0a\x00")));
    for (op, wanted, word) in [
        (add(user(1), 999, None), InvalidArgument, "999"),
        (add(user(1), USER, blob(77, 1)), InvalidArgument, "77"),
        (add(user(1), USER, number), InvalidArgument, "name"),
        (add(user(1), USER, broken), InvalidArgument, "field"),
        (add(user(1), USER, exactly(1, MAX_OBJECT_BYTES + 1)), InvalidArgument, "1048576"),
        (befriend(user(1), FRIEND, exactly(1, MAX_ASSOC_BYTES + 1)), InvalidArgument, "65536"),
        (befriend(user(1), 999, None), InvalidArgument, "999"),
        (add(nowhere, USER, None), NoSuchShard, "64"),
        (befriend(nowhere, FRIEND, None), NoSuchShard, "64"),
        (
            Write::ObjectAdd(proto::ObjectAdd { shard: 64, otype: USER, ..Default::default() }),
            NoSuchShard,
            "64",
        ),
        (
            Write::ObjectAdd(proto::ObjectAdd { shard: 70_000, otype: USER, ..Default::default() }),
            InvalidArgument,
            "70000",
        ),
    ] {
        let status = tao.write(write(op.clone())).await.unwrap_err();
        let error = tao_client::Error::from(status);
        assert_eq!(error.code, wanted, "{op:?}: {error}");
        assert!(!error.retryable() && error.code.outcome_certain(), "{error}");
        assert!(error.message.contains(word), "{error}");
    }
    let client = region.client().await.unwrap();
    assert!(client.object_get(ObjectId(user(1))).send().await.unwrap().is_none());
    assert_eq!(client.assoc_count(ObjectId(user(1)), "friend").send().await.unwrap().count, 0);
    // The limits themselves are still allowed.
    tao.write(write(add(user(1), USER, exactly(1, MAX_OBJECT_BYTES)))).await.unwrap();
    tao.write(write(befriend(user(1), FRIEND, exactly(1, MAX_ASSOC_BYTES)))).await.unwrap();
    let found = client.object_get(ObjectId(user(1))).send().await.unwrap().unwrap();
    assert_eq!(found.fields().encoded().len(), MAX_OBJECT_BYTES);
    let id2 = [ObjectId(9)];
    assert_eq!(client.assoc_get(ObjectId(user(1)), "friend", id2).send().await.unwrap().len(), 1);
}

/// Reads that can't be answered, at a follower and straight at a leader.
#[tokio::test(flavor = "multi_thread")]
async fn bad_reads_are_refused_by_every_node() {
    use ErrorCode::{InvalidArgument, NoSuchShard};
    let (_region, follower, leader) = region();
    let mut tao = TaoClient::new(channel(&follower).await);
    let mut peer = PeerClient::new(channel(&leader).await);
    let id1 = ObjectId::new(ShardId(3), 1).0;
    let nowhere = ObjectId::new(ShardId(64), 1).0;
    let range = |id1, atype, limit| Read::AssocRange(proto::AssocRange { id1, atype, pos: 0, limit });
    for (op, wanted) in [
        (Read::ObjectGet(proto::ObjectGet { id: nowhere }), NoSuchShard),
        (range(nowhere, FRIEND, 1), NoSuchShard),
        (range(id1, 999, 1), InvalidArgument),
        (range(id1, FRIEND, MAX_QUERY_LIMIT + 1), InvalidArgument),
        (
            Read::AssocGet(proto::AssocGet { id1, atype: FRIEND, id2: vec![9; 1_001], ..Default::default() }),
            InvalidArgument,
        ),
    ] {
        let error = tao_client::Error::from(tao.read(read(op.clone())).await.unwrap_err());
        assert_eq!(error.code, wanted, "a follower, {op:?}: {error}");
        let frame = proto::Frame {
            request: vec![proto::Request {
                id: 5,
                deadline_ms: 1_000,
                op: Some(request::Op::Read(read(op.clone()))),
            }],
        };
        let mut replies = peer.pipeline(futures_util::stream::iter([frame])).await.unwrap().into_inner();
        let reply = replies.message().await.unwrap().unwrap().reply.remove(0);
        let Some(reply::Result::Error(error)) = reply.result else { panic!("{reply:?}") };
        assert_eq!((reply.id, code(error.code)), (5, wanted), "a leader, {op:?}: {error:?}");
    }
    let mut inspect = InspectClient::new(channel(&leader).await);
    let scan =
        proto::ScanStoreRequest { shard: 64, table: proto::ScanTable::Edges.into(), after: None, limit: 1 };
    let error = tao_client::Error::from(inspect.scan_store(scan).await.unwrap_err());
    assert_eq!(error.code, NoSuchShard, "{error}");
    let list = ListKey { id1: ObjectId(nowhere), atype: AssocType(1) };
    let key =
        proto::FillRequest { key: Some(proto::fill_request::Key::List(list.into())), ..Default::default() };
    let error =
        inspect.read_store(proto::ReadStoreRequest { key: vec![key], edge: vec![] }).await.unwrap_err();
    assert_eq!(tao_client::Error::from(error).code, NoSuchShard);
}

/// A gRPC message that is none, bytes that are no HTTP/2, and a caller that hangs up in the middle: the node goes on.
#[tokio::test(flavor = "multi_thread")]
async fn garbage_does_not_hurt() {
    let (region, follower, leader) = region();
    for address in [&follower, &leader] {
        for garbage in
            [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\xff\xff"]
        {
            let mut socket = TcpStream::connect(address.as_str()).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            // The node may hang up at any byte.
            let _hung_up = socket.write_all(garbage).and_then(|()| socket.read(&mut [0; 64]).map(|_| ()));
        }
    }
    // Truncated protobuf and an oversized frame, as gRPC messages.
    let mut grpc = tonic::client::Grpc::new(channel(&follower).await);
    for (body, wanted) in [
        (Bytes::from_static(b"\x0a\x7f\x01"), tonic::Code::Internal),
        (Bytes::from(vec![0; 5 << 20]), tonic::Code::OutOfRange),
    ] {
        grpc.ready().await.unwrap();
        let path = tonic::codegen::http::uri::PathAndQuery::from_static("/tao.v1.Tao/Read");
        let answer: Result<tonic::Response<Bytes>, _> =
            grpc.unary(tonic::Request::new(body), path, Raw).await;
        assert_eq!(answer.unwrap_err().code(), wanted);
    }
    let client = region.client().await.unwrap();
    let ann = client.object_add("user").set("name", "Ann").send().await.unwrap().id;
    assert!(client.object_get(ann).send().await.unwrap().is_some());
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
