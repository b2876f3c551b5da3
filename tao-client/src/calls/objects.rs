//! Calls on objects.

use tao_schema::fields::EncodedFields;
use tao_schema::ids::{ObjectId, Seq, ShardId};
use tao_schema::ops::{Answer, ReadOp, WriteOp};
use tao_schema::{Error, Result};

use super::names::NewFields;
use super::sealed::Prepare;
use super::{
    Call, Context, FieldRef, HasExpected, HasFields, Operation, Reply, Request, TypeRef, WriteOperation,
    mismatch, written,
};
use crate::answers::{Object, ObjectAdded, Written};
use crate::client::Client;

/// See [`Client::object_get`].
pub struct ObjectGet(ObjectId);

/// See [`Client::object_add`].
pub struct ObjectAdd<'a> {
    otype: TypeRef<'a>,
    place: Place,
    fields: NewFields<'a>,
}

/// See [`Client::object_update`].
pub struct ObjectUpdate<'a> {
    id: ObjectId,
    otype: TypeRef<'a>,
    set: NewFields<'a>,
    clear: Vec<FieldRef<'a>>,
    expected: Option<Seq>,
}

/// See [`Client::object_delete`].
pub struct ObjectDelete {
    id: ObjectId,
    expected: Option<Seq>,
}

enum Place {
    Random,
    Shard(ShardId),
    Id(ObjectId),
}

impl Client {
    /// Reads an object; `None` if it does not exist.
    ///
    /// ```
    /// # tao_client::testing::run(async |client: tao_client::Client| {
    /// let id = client.object_add("post").set("text", "hello").send().await?.id;
    /// let post = client.object_get(id).send().await?.expect("it exists");
    /// assert_eq!(post.text("text")?, "hello");
    /// assert_eq!(post.text("language")?, "en", "what is not set has the schema's default");
    /// # Ok(())
    /// # });
    /// ```
    #[inline]
    pub fn object_get(&self, id: ObjectId) -> Call<'_, ObjectGet> {
        Call::new(self, ObjectGet(id))
    }

    /// Adds an object. Without [`on_shard`](Call::on_shard), [`near`](Call::near) or [`id`](Call::id) on a shard by
    /// chance, which stays the same over retries.
    pub fn object_add<'a>(&'a self, otype: impl Into<TypeRef<'a>>) -> Call<'a, ObjectAdd<'a>> {
        let op = ObjectAdd { otype: otype.into(), place: Place::Random, fields: NewFields::default() };
        Call::new(self, op)
    }

    /// Changes some fields of an object of this type, leaves the others.
    ///
    /// ```
    /// # tao_client::testing::run(async |client: tao_client::Client| {
    /// let added = client.object_add("user").set("name", "Ann").set("bio", "climbs").send().await?;
    /// client
    ///     .object_update(added.id, "user")
    ///     .set("reputation", 5)
    ///     .clear("bio")
    ///     .expected_version(added.version)
    ///     .send()
    ///     .await?;
    /// let ann = client.object_get(added.id).send().await?.expect("it exists");
    /// assert_eq!((ann.text("name")?, ann.text("bio")?, ann.int("reputation")?), ("Ann", "", 5));
    /// # Ok(())
    /// # });
    /// ```
    pub fn object_update<'a>(
        &'a self,
        id: ObjectId,
        otype: impl Into<TypeRef<'a>>,
    ) -> Call<'a, ObjectUpdate<'a>> {
        let (otype, set) = (otype.into(), NewFields::default());
        Call::new(self, ObjectUpdate { id, otype, set, clear: Vec::new(), expected: None })
    }

    /// Deletes an object. Its associations stay.
    pub fn object_delete(&self, id: ObjectId) -> Call<'_, ObjectDelete> {
        Call::new(self, ObjectDelete { id, expected: None })
    }
}

impl Call<'_, ObjectAdd<'_>> {
    /// Puts the object on this shard.
    pub const fn on_shard(mut self, shard: ShardId) -> Self {
        self.op.place = Place::Shard(shard);
        self
    }

    /// Puts the object on the shard of `id`, so that both can be part of one [`Client::atomic`] write.
    pub const fn near(mut self, id: ObjectId) -> Self {
        self.op.place = Place::Shard(id.shard());
        self
    }

    /// Creates exactly this id, which must be one of [`ObjectId::named`] and not exist.
    pub const fn id(mut self, id: ObjectId) -> Self {
        self.op.place = Place::Id(id);
        self
    }
}

impl<'a> Call<'a, ObjectUpdate<'a>> {
    /// Unsets a field: a reader sees its default again.
    pub fn clear(mut self, field: impl Into<FieldRef<'a>>) -> Self {
        self.op.clear.push(field.into());
        self
    }
}

impl Prepare for ObjectGet {
    type Asked = ();

    #[inline]
    fn prepare(self, _: &Context) -> Result<(Request, ())> {
        Ok((Request::Read(ReadOp::ObjectGet(self.0)), ()))
    }
}

impl Operation for ObjectGet {
    type Output = Option<Object>;

    fn output(reply: Reply, (): &(), context: &Context) -> Result<Option<Object>> {
        match reply {
            Reply::Read(reply) => match reply.answer {
                Answer::Object(object) => Ok(object.map(|(id, row)| Object::new(id, row, &context.schema))),
                _ => Err(mismatch("object_get")),
            },
            Reply::Write(..) => Err(mismatch("object_get")),
        }
    }
}

impl Prepare for ObjectAdd<'_> {
    type Asked = ();

    fn prepare(self, context: &Context) -> Result<(Request, ())> {
        let def = self.otype.object(&context.schema)?;
        let (id, shard) = match self.place {
            Place::Random => (None, context.random_shard()),
            Place::Shard(shard) => (None, shard),
            Place::Id(id) => (Some(id), id.shard()),
        };
        let fields = self.fields.encode(&def.name, &def.fields)?;
        let ops = vec![WriteOp::ObjectAdd { id, shard, otype: def.id, fields }];
        Ok((Request::Write { ops, random_shard: matches!(self.place, Place::Random) }, ()))
    }
}

impl Operation for ObjectAdd<'_> {
    type Output = ObjectAdded;

    fn output(reply: Reply, (): &(), _: &Context) -> Result<ObjectAdded> {
        let written = written(reply)?;
        let id = written.outcomes.first().and_then(|outcome| outcome.id);
        // It has been added; without its id nobody can use it.
        let id = id.ok_or_else(|| Error::internal("the node did not tell the id of the object it added"))?;
        Ok(ObjectAdded { id, version: written.version(), written })
    }
}

impl Prepare for ObjectUpdate<'_> {
    type Asked = ();

    fn prepare(self, context: &Context) -> Result<(Request, ())> {
        let def = self.otype.object(&context.schema)?;
        let set: EncodedFields = self.set.encode(&def.name, &def.fields)?;
        let clear = self.clear.into_iter().map(|field| field.resolve(&def.name, &def.fields));
        let clear = clear.collect::<Result<Vec<_>>>()?;
        let op = WriteOp::ObjectUpdate { id: self.id, otype: def.id, set, clear, expected: self.expected };
        Ok((Request::Write { ops: vec![op], random_shard: false }, ()))
    }
}

impl Prepare for ObjectDelete {
    type Asked = ();

    fn prepare(self, _: &Context) -> Result<(Request, ())> {
        let op = WriteOp::ObjectDelete { id: self.id, expected: self.expected };
        Ok((Request::Write { ops: vec![op], random_shard: false }, ()))
    }
}

impl Operation for ObjectUpdate<'_> {
    type Output = Written;

    fn output(reply: Reply, (): &(), _: &Context) -> Result<Written> {
        written(reply)
    }
}

impl Operation for ObjectDelete {
    type Output = Written;

    fn output(reply: Reply, (): &(), _: &Context) -> Result<Written> {
        written(reply)
    }
}

impl<'a> HasFields<'a> for ObjectAdd<'a> {
    fn new_fields(&mut self) -> &mut NewFields<'a> {
        &mut self.fields
    }
}

impl<'a> HasFields<'a> for ObjectUpdate<'a> {
    fn new_fields(&mut self) -> &mut NewFields<'a> {
        &mut self.set
    }
}

impl HasExpected for ObjectUpdate<'_> {
    fn expected(&mut self) -> &mut Option<Seq> {
        &mut self.expected
    }
}

impl HasExpected for ObjectDelete {
    fn expected(&mut self) -> &mut Option<Seq> {
        &mut self.expected
    }
}

impl WriteOperation for ObjectAdd<'_> {}
impl WriteOperation for ObjectUpdate<'_> {}
impl WriteOperation for ObjectDelete {}
