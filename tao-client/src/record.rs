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
    /// Set when it is sent, taken when it has ended.
    call: Option<Recorded>,
}

impl Recording {
    pub(crate) fn begin(recorder: &Arc<dyn Recorder>, session: u32) -> Self {
        let start = recorder.now();
        Self { recorder: Arc::clone(recorder), session, start, call: None }
    }

    /// What is not even sent, as it contradicts the schema, is not recorded.
    pub(crate) fn asked(&mut self, call: Recorded) {
        self.call = Some(call);
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

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use tao_schema::ids::{ObjectId, ObjectType};
    use tao_schema::ops::Freshness;

    use super::*;
    use crate::testing::{FakeCluster, Graph, Reaction};
    use crate::{Client, Consistency, Options, SessionOptions};

    type Ended = (u32, Recorded, Result<RecordedReply, ErrorCode>);

    #[derive(Debug, Default)]
    struct Seen(Mutex<Vec<Ended>>);

    impl Recorder for Seen {
        fn now(&self) -> Duration {
            Duration::ZERO
        }

        fn ended(
            &self,
            session: u32,
            _: Duration,
            call: Recorded,
            outcome: Result<RecordedReply, ErrorCode>,
        ) {
            self.0.lock().push((session, call, outcome));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_call_is_shown_as_it_was_sent_and_one_that_is_given_up_is_unknown() {
        let graph = Graph::demo();
        let cluster = FakeCluster::new(1, move |_, request| match &request.op {
            Some(tao_schema::wire::proto::request::Op::Write(write)) if write.op.len() > 1 => Reaction::Hold,
            _ => graph.answer(request),
        });
        let seen = Arc::new(Seen::default());
        let recorder: Arc<dyn Recorder> = Arc::clone(&seen) as _;
        let options = Options { recorder: Some(recorder), ..cluster.options() };
        let client = Client::connect(options).await.unwrap();
        let session =
            client.session_with(SessionOptions { recorded_as: 7, ..SessionOptions::default() }).unwrap();
        let id = ObjectId::named(ObjectType(1), 5, 64);
        session.object_add("user").id(id).send().await.unwrap();
        session.object_get(id).consistency(Consistency::Master).send().await.unwrap();
        client.object_delete(id).send().await.unwrap();
        let mut atomic = client.atomic();
        atomic.add(client.object_add("user").id(id));
        atomic.add(client.object_update(id, "user").set("bio", "x"));
        let given_up = tokio::time::timeout(Duration::from_millis(100), atomic.send()).await;
        assert!(given_up.is_err(), "nobody answers it");
        let seen = std::mem::take(&mut *seen.0.lock());
        let [added, read, deleted, unknown] = seen.as_slice() else { panic!("{seen:?}") };
        let (7, Recorded::Write(_), Ok(RecordedReply::Write(written))) = added else { panic!("{added:?}") };
        let (7, Recorded::Read(asked), Ok(RecordedReply::Read(_))) = read else { panic!("{read:?}") };
        assert_eq!(asked.demand.freshness, Freshness::Master);
        assert_eq!(asked.demand.at_least, written.positions.first().copied(), "what the session had seen");
        assert!(matches!(deleted, (0, Recorded::Write(_), Ok(RecordedReply::Write(_)))), "{deleted:?}");
        assert!(
            matches!(unknown, (0, Recorded::Write(write), Err(ErrorCode::OutcomeUnknown)) if write.ops.len() == 2),
            "{unknown:?}"
        );
    }
}
