//! Calls on associations.

use std::time::SystemTime;

use tao_schema::Result;
use tao_schema::ids::{EdgeKey, ListKey, ObjectId, Seq, Time};
use tao_schema::ops::{Answer, ReadOp, WriteOp};

use super::names::NewFields;
use super::sealed::Prepare;
use super::{
    Call, Context, HasExpected, HasFields, Operation, Reply, Request, TypeRef, WriteOperation, mismatch,
    written,
};
use crate::answers::{AssocList, Count, Written};
use crate::client::Client;

/// See [`Client::assoc_add`].
pub struct AssocAdd<'a> {
    edge: Edge<'a>,
    time: Option<Time>,
    fields: NewFields<'a>,
    create_only: bool,
    expected: Option<Seq>,
}

/// See [`Client::assoc_delete`].
pub struct AssocDelete<'a> {
    edge: Edge<'a>,
    expected: Option<Seq>,
}

/// See [`Client::assoc_change_type`].
pub struct AssocChangeType<'a> {
    edge: Edge<'a>,
    new_atype: TypeRef<'a>,
    expected: Option<Seq>,
}

/// See [`Client::assoc_get`].
pub struct AssocGet<'a> {
    list: List<'a>,
    id2s: Vec<ObjectId>,
    high: Option<Time>,
    low: Option<Time>,
}

/// See [`Client::assoc_count`].
pub struct AssocCount<'a>(List<'a>);

/// See [`Client::assoc_range`].
pub struct AssocRange<'a> {
    list: List<'a>,
    pos: u32,
    limit: Option<u32>,
}

/// See [`Client::assoc_time_range`].
pub struct AssocTimeRange<'a> {
    list: List<'a>,
    high: Time,
    low: Time,
    limit: Option<u32>,
}

struct List<'a> {
    id1: ObjectId,
    atype: TypeRef<'a>,
}

struct Edge<'a> {
    list: List<'a>,
    id2: ObjectId,
}

impl Client {
    /// Adds an association, or overwrites its time and data; the inverse follows. The time is now, unless
    /// [`time`](Call::time) says otherwise.
    pub fn assoc_add<'a>(
        &'a self,
        id1: ObjectId,
        atype: impl Into<TypeRef<'a>>,
        id2: ObjectId,
    ) -> Call<'a, AssocAdd<'a>> {
        let (edge, fields) = (Edge::new(id1, atype.into(), id2), NewFields::default());
        Call::new(self, AssocAdd { edge, time: None, fields, create_only: false, expected: None })
    }

    /// Deletes an association and its inverse, if they exist.
    pub fn assoc_delete<'a>(
        &'a self,
        id1: ObjectId,
        atype: impl Into<TypeRef<'a>>,
        id2: ObjectId,
    ) -> Call<'a, AssocDelete<'a>> {
        Call::new(self, AssocDelete { edge: Edge::new(id1, atype.into(), id2), expected: None })
    }

    /// Gives an association, if it exists, another type; its time and data stay.
    pub fn assoc_change_type<'a>(
        &'a self,
        id1: ObjectId,
        atype: impl Into<TypeRef<'a>>,
        id2: ObjectId,
        new_atype: impl Into<TypeRef<'a>>,
    ) -> Call<'a, AssocChangeType<'a>> {
        let (edge, new_atype) = (Edge::new(id1, atype.into(), id2), new_atype.into());
        Call::new(self, AssocChangeType { edge, new_atype, expected: None })
    }

    /// Which of `id2s` the list has, newest first. [`high`](Call::high) and [`low`](Call::low) bound their times.
    ///
    /// ```
    /// # tao_client::testing::run(async |client: tao_client::Client| {
    /// # let mut ids = Vec::new();
    /// # for _ in 0..3 { ids.push(client.object_add("user").send().await?.id); }
    /// # let (ann, bob, eve) = (ids[0], ids[1], ids[2]);
    /// client.assoc_add(ann, "friend", bob).time(1_700_000_000).send().await?;
    /// let known = client.assoc_get(ann, "friend", [bob, eve]).send().await?;
    /// assert_eq!(known.ids().collect::<Vec<_>>(), [bob]);
    /// let recent = client.assoc_get(ann, "friend", [bob]).low(1_800_000_000).send().await?;
    /// assert!(recent.is_empty());
    /// # Ok(())
    /// # });
    /// ```
    pub fn assoc_get<'a>(
        &'a self,
        id1: ObjectId,
        atype: impl Into<TypeRef<'a>>,
        id2s: impl IntoIterator<Item = ObjectId>,
    ) -> Call<'a, AssocGet<'a>> {
        let (list, id2s) = (List { id1, atype: atype.into() }, id2s.into_iter().collect());
        Call::new(self, AssocGet { list, id2s, high: None, low: None })
    }

    /// How many associations a list has.
    pub fn assoc_count<'a>(
        &'a self,
        id1: ObjectId,
        atype: impl Into<TypeRef<'a>>,
    ) -> Call<'a, AssocCount<'a>> {
        Call::new(self, AssocCount(List { id1, atype: atype.into() }))
    }

    /// The newest associations of a list: [`pos`](Call::pos) skips some, [`limit`](Call::limit) bounds their number.
    pub fn assoc_range<'a>(
        &'a self,
        id1: ObjectId,
        atype: impl Into<TypeRef<'a>>,
    ) -> Call<'a, AssocRange<'a>> {
        Call::new(self, AssocRange { list: List { id1, atype: atype.into() }, pos: 0, limit: None })
    }

    /// The associations of a list with times between [`low`](Call::low) and [`high`](Call::high), newest first.
    pub fn assoc_time_range<'a>(
        &'a self,
        id1: ObjectId,
        atype: impl Into<TypeRef<'a>>,
    ) -> Call<'a, AssocTimeRange<'a>> {
        let (list, high, low) = (List { id1, atype: atype.into() }, Time(u32::MAX), Time(0));
        Call::new(self, AssocTimeRange { list, high, low, limit: None })
    }
}

impl Call<'_, AssocAdd<'_>> {
    /// The association's time, in seconds since the Unix epoch.
    pub const fn time(mut self, seconds: u32) -> Self {
        self.op.time = Some(Time(seconds));
        self
    }

    /// Refuse if the association exists.
    pub const fn create_only(mut self) -> Self {
        self.op.create_only = true;
        self
    }
}

impl Call<'_, AssocGet<'_>> {
    /// Newest time that counts.
    pub const fn high(mut self, seconds: u32) -> Self {
        self.op.high = Some(Time(seconds));
        self
    }

    /// Oldest time that counts.
    pub const fn low(mut self, seconds: u32) -> Self {
        self.op.low = Some(Time(seconds));
        self
    }
}

impl Call<'_, AssocRange<'_>> {
    /// How many of the newest to skip.
    pub const fn pos(mut self, pos: u32) -> Self {
        self.op.pos = pos;
        self
    }

    /// How many to return at most; the type's query limit if not said.
    pub const fn limit(mut self, limit: u32) -> Self {
        self.op.limit = Some(limit);
        self
    }
}

impl Call<'_, AssocTimeRange<'_>> {
    /// Newest time that counts.
    pub const fn high(mut self, seconds: u32) -> Self {
        self.op.high = Time(seconds);
        self
    }

    /// Oldest time that counts.
    pub const fn low(mut self, seconds: u32) -> Self {
        self.op.low = Time(seconds);
        self
    }

    /// How many to return at most; the type's query limit if not said.
    pub const fn limit(mut self, limit: u32) -> Self {
        self.op.limit = Some(limit);
        self
    }
}

impl<'a> Edge<'a> {
    const fn new(id1: ObjectId, atype: TypeRef<'a>, id2: ObjectId) -> Self {
        Self { list: List { id1, atype }, id2 }
    }

    fn key(&self, context: &Context) -> Result<EdgeKey> {
        let (list, _) = self.list.key(context)?;
        Ok(EdgeKey { id1: list.id1, atype: list.atype, id2: self.id2 })
    }
}

impl List<'_> {
    /// The list's key, and the query limit of its type.
    fn key(&self, context: &Context) -> Result<(ListKey, u32)> {
        let def = self.atype.assoc(&context.schema)?;
        Ok((ListKey { id1: self.id1, atype: def.id }, def.query_limit))
    }
}

fn one(op: WriteOp) -> (Request, ()) {
    (Request::Write { ops: vec![op], random_shard: false }, ())
}

impl Prepare for AssocAdd<'_> {
    type Asked = ();

    fn prepare(self, context: &Context) -> Result<(Request, ())> {
        let def = self.edge.list.atype.assoc(&context.schema)?;
        let edge = self.edge.key(context)?;
        let fields = self.fields.encode(&def.name, &def.fields)?;
        let time = self.time.unwrap_or_else(now);
        let (create_only, expected) = (self.create_only, self.expected);
        Ok(one(WriteOp::AssocAdd { edge, time, fields, create_only, expected }))
    }
}

/// The wall clock, as the time of an association that is made now. Data, not a version.
fn now() -> Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Time(u32::try_from(since.as_secs()).unwrap_or(u32::MAX))
}

impl Prepare for AssocDelete<'_> {
    type Asked = ();

    fn prepare(self, context: &Context) -> Result<(Request, ())> {
        Ok(one(WriteOp::AssocDelete { edge: self.edge.key(context)?, expected: self.expected }))
    }
}

impl Prepare for AssocChangeType<'_> {
    type Asked = ();

    fn prepare(self, context: &Context) -> Result<(Request, ())> {
        let (edge, new_atype) = (self.edge.key(context)?, self.new_atype.assoc(&context.schema)?.id);
        Ok(one(WriteOp::AssocChangeType { edge, new_atype, expected: self.expected }))
    }
}

impl Prepare for AssocGet<'_> {
    type Asked = ListKey;

    fn prepare(self, context: &Context) -> Result<(Request, ListKey)> {
        let (list, _) = self.list.key(context)?;
        let op = ReadOp::AssocGet { list, id2s: self.id2s, high: self.high, low: self.low };
        Ok((Request::Read(op), list))
    }
}

impl Prepare for AssocCount<'_> {
    type Asked = ();

    fn prepare(self, context: &Context) -> Result<(Request, ())> {
        Ok((Request::Read(ReadOp::AssocCount(self.0.key(context)?.0)), ()))
    }
}

impl Prepare for AssocRange<'_> {
    type Asked = ListKey;

    fn prepare(self, context: &Context) -> Result<(Request, ListKey)> {
        let (list, most) = self.list.key(context)?;
        let op = ReadOp::AssocRange { list, pos: self.pos, limit: self.limit.unwrap_or(most) };
        Ok((Request::Read(op), list))
    }
}

impl Prepare for AssocTimeRange<'_> {
    type Asked = ListKey;

    fn prepare(self, context: &Context) -> Result<(Request, ListKey)> {
        let (list, most) = self.list.key(context)?;
        let limit = self.limit.unwrap_or(most);
        let op = ReadOp::AssocTimeRange { list, high: self.high, low: self.low, limit };
        Ok((Request::Read(op), list))
    }
}

macro_rules! outputs {
    (lists: $($list:ident)*; writes: $($write:ident)*) => {
        $(impl Operation for $list<'_> {
            type Output = AssocList;

            fn output(reply: Reply, list: &ListKey, context: &Context) -> Result<AssocList> {
                match reply {
                    Reply::Read(tao_schema::ops::ReadReply {
                        answer: Answer::Edges { edges, version }, ..
                    }) => Ok(AssocList::new(*list, edges, version, &context.schema)),
                    _ => Err(mismatch("an association query")),
                }
            }
        })*
        $(impl Operation for $write<'_> {
            type Output = Written;

            fn output(reply: Reply, (): &(), _: &Context) -> Result<Written> {
                written(reply)
            }
        }

        impl WriteOperation for $write<'_> {}

        impl HasExpected for $write<'_> {
            fn expected(&mut self) -> &mut Option<Seq> {
                &mut self.expected
            }
        })*
    };
}

outputs! {
    lists: AssocGet AssocRange AssocTimeRange;
    writes: AssocAdd AssocDelete AssocChangeType
}

impl Operation for AssocCount<'_> {
    type Output = Count;

    fn output(reply: Reply, (): &(), _: &Context) -> Result<Count> {
        match reply {
            Reply::Read(tao_schema::ops::ReadReply { answer: Answer::Count { count, version }, .. }) => {
                Ok(Count { count, version })
            }
            _ => Err(mismatch("assoc_count")),
        }
    }
}

impl<'a> HasFields<'a> for AssocAdd<'a> {
    fn new_fields(&mut self) -> &mut NewFields<'a> {
        &mut self.fields
    }
}
