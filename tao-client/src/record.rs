//! A look at every call as the wire has it, for histories that are judged.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tao_schema::ErrorCode;
use tao_schema::ops::{ReadReply, ReadRequest, WriteReply, WriteRequest};

/// Is shown every call when it has ended: what was asked with what it demanded, and what came back.
pub trait Recorder: fmt::Debug + Send + Sync {
    /// The time by the recorder's clock.
    fn now(&self) -> Duration;

    /// A call of a session, which has the number of [`crate::SessionOptions::recorded_as`] or none (0), began at `start` and
    /// has ended now. One that was given up by its caller, too: of a write nothing is known then.
    fn ended(&self, session: u32, start: Duration, call: Recorded, outcome: Result<RecordedReply, ErrorCode>);
}

/// What was asked.
#[derive(Clone, Debug)]
pub enum Recorded {
    /// A read.
    Read(ReadRequest),
    /// A write.
    Write(WriteRequest),
}

/// What came back.
#[derive(Clone, Debug)]
pub enum RecordedReply {
    /// To a read.
    Read(ReadReply),
    /// To a write.
    Write(WriteReply),
}

/// A call under way that a recorder waits for.
pub(crate) struct Recording {
    recorder: Arc<dyn Recorder>,
    session: u32,
    start: Duration,
    /// Taken when it has ended.
    call: Option<Recorded>,
}

impl Recording {
    pub(crate) fn begin(recorder: &Arc<dyn Recorder>, session: u32, call: Recorded) -> Self {
        let start = recorder.now();
        Self { recorder: Arc::clone(recorder), session, start, call: Some(call) }
    }

    pub(crate) fn end(&mut self, outcome: Result<RecordedReply, ErrorCode>) {
        if let Some(call) = self.call.take() {
            self.recorder.ended(self.session, self.start, call, outcome);
        }
    }
}

impl Drop for Recording {
    /// The caller did not wait: a write may have happened, or may happen yet.
    fn drop(&mut self) {
        let code = match &self.call {
            Some(Recorded::Write(_)) => ErrorCode::OutcomeUnknown,
            _ => ErrorCode::DeadlineExceeded,
        };
        self.end(Err(code));
    }
}
