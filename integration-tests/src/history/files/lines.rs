//! An operation as a line.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use prost::Message;
use serde::{Deserialize, Serialize};
use tao_schema::ErrorCode;
use tao_schema::ops::{ReadRequest, WriteRequest};
use tao_schema::wire::proto;

use crate::history::judges::line;
use crate::history::operation::{Call, Operation, Reply, SessionId};

#[derive(Serialize, Deserialize)]
struct Line {
    id: u64,
    session: u32,
    place: String,
    start_ns: u64,
    end_ns: u64,
    #[serde(flatten)]
    call: CallText,
    #[serde(flatten)]
    result: ResultText,
    /// For people; not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CallText {
    Read(String),
    Write(String),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ResultText {
    ReadReply(String),
    WriteReply(String),
    Error(String),
}

pub(super) fn write(operation: &Operation, with_text: bool) -> Result<String> {
    let call = match &operation.call {
        Call::Read(request) => CallText::Read(encoded(&proto::ReadRequest::from(request.clone()))),
        Call::Write(request) => CallText::Write(encoded(&proto::WriteRequest::from(request.clone()))),
    };
    let result = match &operation.result {
        Ok(Reply::Read(reply)) => ResultText::ReadReply(encoded(&proto::ReadReply::from(reply.clone()))),
        Ok(Reply::Write(reply)) => ResultText::WriteReply(encoded(&proto::WriteReply::from(reply.clone()))),
        Err(code) => ResultText::Error(code.name().to_owned()),
    };
    let line = Line {
        id: operation.id,
        session: operation.session.0,
        place: operation.place.clone(),
        start_ns: nanos(operation.start),
        end_ns: nanos(operation.end),
        call,
        result,
        text: with_text.then(|| line(operation)),
    };
    Ok(serde_json::to_string(&line)?)
}

pub(super) fn read(text: &str) -> Result<Operation> {
    let line: Line = serde_json::from_str(text)?;
    let call = match &line.call {
        CallText::Read(text) => Call::Read(ReadRequest::try_from(decoded::<proto::ReadRequest>(text)?)?),
        CallText::Write(text) => Call::Write(WriteRequest::try_from(decoded::<proto::WriteRequest>(text)?)?),
    };
    let result = match &line.result {
        ResultText::ReadReply(text) => Ok(Reply::Read(decoded::<proto::ReadReply>(text)?.try_into()?)),
        ResultText::WriteReply(text) => Ok(Reply::Write(decoded::<proto::WriteReply>(text)?.try_into()?)),
        ResultText::Error(name) => match ErrorCode::ALL.into_iter().find(|code| code.name() == name) {
            Some(code) => Err(code),
            None => bail!("there is no error {name:?}"),
        },
    };
    Ok(Operation {
        id: line.id,
        session: SessionId(line.session),
        place: line.place,
        start: Duration::from_nanos(line.start_ns),
        end: Duration::from_nanos(line.end_ns),
        call,
        result,
    })
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn encoded(message: &impl Message) -> String {
    BASE64.encode(message.encode_to_vec())
}

pub(super) fn decoded<M: Message + Default>(text: &str) -> Result<M> {
    let bytes = BASE64.decode(text).context("the value is not base64")?;
    Ok(M::decode(&*bytes)?)
}
