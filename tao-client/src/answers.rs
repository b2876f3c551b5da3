//! What calls return.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tao_schema::edges::PackedEdges;
use tao_schema::fields::{EncodedFields, FieldKind, Fields, Value};
use tao_schema::graph_schema::{FieldDef, FieldDefs, GraphSchema};
use tao_schema::ids::{AssocType, ListKey, ObjectId, ObjectType, Position, Seq, Time};
use tao_schema::ops::{Effect, Explain, Outcome};
use tao_schema::{Error, Result};

/// A value with where it is right, and the path that the call took.
#[derive(Clone, Debug)]
pub struct Answered<T> {
    /// What [`crate::Call::send`] would have returned.
    pub value: T,
    /// A position of the shard asked; the value is right there or later. Of a write: where it stands.
    pub position: Option<Position>,
    /// The path; absent if the node did not tell.
    pub explain: Option<Explain>,
}

/// An object.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its id.
    pub id: ObjectId,
    /// Its type.
    pub otype: ObjectType,
    /// The position in its shard's log that last changed it; see [`crate::Call::expected_version`].
    pub version: Seq,
    fields: NamedFields,
}

/// The fields of an object or an association, by name; what is not set has the schema's default. Decoded at first use.
#[derive(Clone, Debug)]
pub struct NamedFields {
    schema: Arc<GraphSchema>,
    of: TypeOf,
    encoded: EncodedFields,
    /// Apart, because most objects are moved before they are looked at, if they are.
    decoded: OnceLock<Box<Result<Fields>>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum TypeOf {
    Object(ObjectType),
    Assoc(AssocType),
}

/// Associations, newest first.
#[derive(Clone, Debug)]
pub struct AssocList {
    /// The list that was asked.
    pub list: ListKey,
    /// The list's version; zero if it was never written. See [`crate::Call::expected_version`].
    pub version: Seq,
    /// The associations in packed form.
    pub edges: PackedEdges,
    schema: Arc<GraphSchema>,
}

/// One association of a list.
#[derive(Clone, Copy, Debug)]
pub struct Assoc<'a> {
    /// Where it ends.
    pub id2: ObjectId,
    /// The application's time.
    pub time: Time,
    list: &'a AssocList,
    encoded: &'a [u8],
}

/// How many associations a list has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Count {
    /// Their number.
    pub count: u64,
    /// The list's version; zero if it was never written.
    pub version: Seq,
}

/// A write that happened.
#[derive(Clone, PartialEq, Debug)]
pub struct Written {
    /// Where it stands in the log of each shard that it changed; the shard that ordered it first.
    pub positions: Vec<Position>,
    /// One for each operation, in order.
    pub outcomes: Vec<Outcome>,
    /// The other side of an association pair is durable but not applied yet: it follows by itself.
    pub inverse_pending: bool,
    /// An earlier attempt had done it.
    pub replayed: bool,
    /// The path, if the node told.
    pub explain: Option<Explain>,
}

/// An object that was added.
#[derive(Clone, PartialEq, Debug)]
pub struct ObjectAdded {
    /// Its id.
    pub id: ObjectId,
    /// Its version.
    pub version: Seq,
    /// The write.
    pub written: Written,
}

impl Written {
    /// The effect of the first, usually the only, operation.
    pub fn effect(&self) -> Effect {
        self.outcomes.first().map_or(Effect::Nothing, |outcome| outcome.effect)
    }

    /// The new version of what it changed: the position in the log of the shard that ordered it.
    ///
    /// Writes that were committed together share it. If another caller changed the same object or list in the same
    /// transaction, this is the version of both: whoever means to build on exactly what is there, with
    /// [`crate::Call::expected_version`], takes the version from a read.
    pub fn version(&self) -> Seq {
        self.positions.first().map_or(Seq::ZERO, |position| position.seq)
    }
}

impl Object {
    pub(crate) fn new(id: ObjectId, row: tao_schema::rows::ObjectRow, schema: &Arc<GraphSchema>) -> Self {
        let fields = NamedFields::new(schema, TypeOf::Object(row.otype), row.fields);
        Self { id, otype: row.otype, version: row.version, fields }
    }

    /// The name of its type; `None` if this client's schema does not have it.
    pub fn type_name(&self) -> Option<&str> {
        self.fields.schema.object_type(self.otype).map(|def| def.name.as_str())
    }

    /// Its fields.
    pub const fn fields(&self) -> &NamedFields {
        &self.fields
    }

    /// See [`NamedFields::get`].
    ///
    /// # Errors
    /// As there.
    pub fn get(&self, name: &str) -> Result<&Value> {
        self.fields.get(name)
    }

    /// See [`NamedFields::text`].
    ///
    /// # Errors
    /// As there.
    pub fn text(&self, name: &str) -> Result<&str> {
        self.fields.text(name)
    }

    /// See [`NamedFields::int`].
    ///
    /// # Errors
    /// As there.
    pub fn int(&self, name: &str) -> Result<i64> {
        self.fields.int(name)
    }

    /// See [`NamedFields::bool`].
    ///
    /// # Errors
    /// As there.
    pub fn bool(&self, name: &str) -> Result<bool> {
        self.fields.bool(name)
    }

    /// See [`NamedFields::float`].
    ///
    /// # Errors
    /// As there.
    pub fn float(&self, name: &str) -> Result<f64> {
        self.fields.float(name)
    }

    /// See [`NamedFields::blob`].
    ///
    /// # Errors
    /// As there.
    pub fn blob(&self, name: &str) -> Result<&Bytes> {
        self.fields.blob(name)
    }
}

impl NamedFields {
    fn new(schema: &Arc<GraphSchema>, of: TypeOf, encoded: EncodedFields) -> Self {
        Self { schema: schema.clone(), of, encoded, decoded: OnceLock::new() }
    }

    /// The stored form.
    pub const fn encoded(&self) -> &EncodedFields {
        &self.encoded
    }

    /// The value of a field: what is stored, else its default.
    ///
    /// # Errors
    /// `InvalidArgument` if the type has no such field, `Corrupt` if the stored form can't be decoded.
    pub fn get(&self, name: &str) -> Result<&Value> {
        let def = self.def(name)?;
        Ok(self.decoded()?.get(def.id).unwrap_or(&def.default))
    }

    /// Whether the field is stored: not left at its default.
    ///
    /// # Errors
    /// As [`NamedFields::get`].
    pub fn is_set(&self, name: &str) -> Result<bool> {
        let def = self.def(name)?;
        Ok(self.decoded()?.get(def.id).is_some())
    }

    /// Every field of the type with its value, in ascending order of field number.
    ///
    /// # Errors
    /// `Corrupt` if the stored form can't be decoded.
    pub fn iter(&self) -> Result<impl Iterator<Item = (&str, &Value)>> {
        let fields = self.decoded()?;
        let defs = self.defs().into_iter().flat_map(FieldDefs::iter);
        Ok(defs.map(move |def| (def.name.as_str(), fields.get(def.id).unwrap_or(&def.default))))
    }

    /// The value of a text field.
    ///
    /// # Errors
    /// As [`NamedFields::get`], and `InvalidArgument` if the field is of another kind.
    pub fn text(&self, name: &str) -> Result<&str> {
        match self.get(name)? {
            Value::Text(value) => Ok(value),
            other => Err(other_kind(name, other, FieldKind::Text)),
        }
    }

    /// The value of an integer field.
    ///
    /// # Errors
    /// As [`NamedFields::text`].
    pub fn int(&self, name: &str) -> Result<i64> {
        match self.get(name)? {
            Value::Int(value) => Ok(*value),
            other => Err(other_kind(name, other, FieldKind::Int)),
        }
    }

    /// The value of a truth field.
    ///
    /// # Errors
    /// As [`NamedFields::text`].
    pub fn bool(&self, name: &str) -> Result<bool> {
        match self.get(name)? {
            Value::Bool(value) => Ok(*value),
            other => Err(other_kind(name, other, FieldKind::Bool)),
        }
    }

    /// The value of a float field.
    ///
    /// # Errors
    /// As [`NamedFields::text`].
    pub fn float(&self, name: &str) -> Result<f64> {
        match self.get(name)? {
            Value::Float(value) => Ok(*value),
            other => Err(other_kind(name, other, FieldKind::Float)),
        }
    }

    /// The value of a bytes field.
    ///
    /// # Errors
    /// As [`NamedFields::text`].
    pub fn blob(&self, name: &str) -> Result<&Bytes> {
        match self.get(name)? {
            Value::Blob(value) => Ok(value),
            other => Err(other_kind(name, other, FieldKind::Blob)),
        }
    }

    fn decoded(&self) -> Result<&Fields> {
        let decoded = self.decoded.get_or_init(|| Box::new(self.encoded.decode()));
        (**decoded).as_ref().map_err(Error::clone)
    }

    fn defs(&self) -> Option<&FieldDefs> {
        match self.of {
            TypeOf::Object(otype) => self.schema.object_type(otype).map(|def| &def.fields),
            TypeOf::Assoc(atype) => self.schema.assoc_type(atype).map(|def| &def.fields),
        }
    }

    fn def(&self, name: &str) -> Result<&FieldDef> {
        self.defs().and_then(|defs| defs.named(name)).ok_or_else(|| {
            Error::invalid(format!("no field {name:?} in {:?}; the graph schema lists its fields", self.of))
        })
    }
}

fn other_kind(name: &str, value: &Value, wanted: FieldKind) -> Error {
    let message = format!("field {name:?} is of kind {}, not {}", value.kind().name(), wanted.name());
    Error::invalid(message)
}

impl AssocList {
    pub(crate) fn new(list: ListKey, edges: PackedEdges, version: Seq, schema: &Arc<GraphSchema>) -> Self {
        Self { list, version, edges, schema: schema.clone() }
    }

    /// The associations, newest first.
    pub fn iter(&self) -> impl Iterator<Item = Assoc<'_>> {
        self.edges.iter().map(|edge| Assoc {
            id2: edge.id2,
            time: edge.time,
            list: self,
            encoded: edge.fields,
        })
    }

    /// Where they end, newest first.
    pub fn ids(&self) -> impl Iterator<Item = ObjectId> + '_ {
        self.edges.iter().map(|edge| edge.id2)
    }

    /// Number of associations in this answer; [`crate::Client::assoc_count`] tells that of the list.
    pub fn len(&self) -> usize {
        self.edges.count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.edges.is_empty()
    }
}

impl Assoc<'_> {
    /// Its data.
    pub fn fields(&self) -> NamedFields {
        let encoded = EncodedFields(self.list.edges.as_bytes().slice_ref(self.encoded));
        NamedFields::new(&self.list.schema, TypeOf::Assoc(self.list.list.atype), encoded)
    }
}
