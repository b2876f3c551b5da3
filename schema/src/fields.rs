//! Field values of objects and associations, decoded ([`Fields`]) and as stored ([`EncodedFields`]).

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, encode_key, encode_varint, skip_field};

use crate::error::{Error, ErrorCode, Result};
use crate::ids::FieldId;
use crate::wire::proto;

/// One value. Equality of floats is by bits, so that a value read back equals the one written.
#[derive(Clone, Debug)]
pub enum Value {
    /// A truth value.
    Bool(bool),
    /// A 64-bit signed integer.
    Int(i64),
    /// A 64-bit float.
    Float(f64),
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Blob(Bytes),
}

/// What a field may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum FieldKind {
    /// [`Value::Bool`]
    Bool,
    /// [`Value::Int`]
    Int,
    /// [`Value::Float`]
    Float,
    /// [`Value::Text`]
    Text,
    /// [`Value::Blob`]
    Blob,
}

impl FieldKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Bool, Self::Int, Self::Float, Self::Text, Self::Blob];

    /// The kind's name in a graph schema.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Float => "float",
            Self::Text => "text",
            Self::Blob => "blob",
        }
    }

    /// The default of a field that declares none: false, zero or empty.
    pub const fn zero(self) -> Value {
        match self {
            Self::Bool => Value::Bool(false),
            Self::Int => Value::Int(0),
            Self::Float => Value::Float(0.0),
            Self::Text => Value::Text(String::new()),
            Self::Blob => Value::Blob(Bytes::new()),
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Blob(a), Self::Blob(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl Value {
    /// What kind of value it is.
    pub const fn kind(&self) -> FieldKind {
        match self {
            Self::Bool(_) => FieldKind::Bool,
            Self::Int(_) => FieldKind::Int,
            Self::Float(_) => FieldKind::Float,
            Self::Text(_) => FieldKind::Text,
            Self::Blob(_) => FieldKind::Blob,
        }
    }
}

/// Decoded fields, in ascending order of id, each id once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fields(Vec<(FieldId, Value)>);

impl Fields {
    /// No fields.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The value of a field, if it is set.
    pub fn get(&self, id: FieldId) -> Option<&Value> {
        self.0.binary_search_by_key(&id, |(field, _)| *field).ok().map(|at| &self.0[at].1)
    }

    /// Sets a field.
    pub fn set(&mut self, id: FieldId, value: Value) {
        match self.0.binary_search_by_key(&id, |(field, _)| *field) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (id, value)),
        }
    }

    /// Unsets a field: a reader sees the type's default again.
    pub fn clear(&mut self, id: FieldId) {
        self.0.retain(|(field, _)| *field != id);
    }

    /// Applies a subset update: every field of `set` replaces, every id of `clear` is unset.
    pub fn merge(&mut self, set: Self, clear: &[FieldId]) {
        for id in clear {
            self.clear(*id);
        }
        for (id, value) in set.0 {
            self.set(id, value);
        }
    }

    /// Fields in ascending order of id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (FieldId, &Value)> {
        self.0.iter().map(|(id, value)| (*id, value))
    }

    /// Whether no field is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The stored form: a serialised `tao.v1.Fields`, fields in ascending order, so that equal fields are equal bytes.
    pub fn encode(&self) -> EncodedFields {
        use prost::Message;
        let fields = self.0.iter().map(|(id, value)| proto_field(*id, value)).collect();
        EncodedFields(FieldSet { field: fields }.encode_to_vec().into())
    }
}

impl FromIterator<(FieldId, Value)> for Fields {
    fn from_iter<T: IntoIterator<Item = (FieldId, Value)>>(pairs: T) -> Self {
        let mut fields = Self::new();
        for (id, value) in pairs {
            fields.set(id, value);
        }
        fields
    }
}

/// `tao.v1.Fields`, structured: the generated code uses [`EncodedFields`] in its place.
#[derive(Clone, PartialEq, prost::Message)]
struct FieldSet {
    #[prost(message, repeated, tag = "1")]
    field: Vec<proto::Field>,
}

fn proto_field(id: FieldId, value: &Value) -> proto::Field {
    use proto::field::Value as Wire;
    let value = match value {
        Value::Bool(value) => Wire::Bool(*value),
        Value::Int(value) => Wire::Int(*value),
        Value::Float(value) => Wire::Float(*value),
        Value::Text(value) => Wire::Text(value.clone()),
        Value::Blob(value) => Wire::Blob(value.clone()),
    };
    proto::Field { id: u32::from(id.0), value: Some(value) }
}

/// Fields as they are stored, cached and sent: the body of a `tao.v1.Fields` message, kept as bytes.
///
/// On the wire this *is* that message: its [`prost::Message`] copies the bytes in and out, so that a read is served
/// without decoding a field, while clients in other languages see the structured message.
#[derive(Clone, PartialEq, Eq, Default, Hash)]
pub struct EncodedFields(pub Bytes);

impl EncodedFields {
    /// No fields: zero bytes.
    pub const fn new() -> Self {
        Self(Bytes::new())
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no field is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Decodes the fields.
    ///
    /// # Errors
    /// [`ErrorCode::Corrupt`] if the bytes are no fields message, or a field has no id or value.
    pub fn decode(&self) -> Result<Fields> {
        use prost::Message;
        let corrupt = |what: &str| Error::new(ErrorCode::Corrupt, format!("fields can't be decoded: {what}"));
        let set = FieldSet::decode(self.0.clone()).map_err(|error| corrupt(&error.to_string()))?;
        set.field
            .into_iter()
            .map(|field| {
                let id = u16::try_from(field.id).map_err(|_| corrupt("a field id is above 65535"))?;
                let value = match field.value.ok_or_else(|| corrupt("a field has no value"))? {
                    proto::field::Value::Bool(value) => Value::Bool(value),
                    proto::field::Value::Int(value) => Value::Int(value),
                    proto::field::Value::Float(value) => Value::Float(value),
                    proto::field::Value::Text(value) => Value::Text(value),
                    proto::field::Value::Blob(value) => Value::Blob(value),
                };
                Ok((FieldId(id), value))
            })
            .collect()
    }
}

impl fmt::Debug for EncodedFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.decode() {
            Ok(fields) => f.debug_map().entries(fields.iter()).finish(),
            Err(_) => write!(f, "damaged fields of {} bytes", self.len()),
        }
    }
}

impl prost::Message for EncodedFields {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> std::result::Result<(), DecodeError> {
        append_raw_field(&mut self.0, tag, wire_type, buf, ctx)
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0 = Bytes::new();
    }
}

/// Copies one field of a message, as it stands on the wire, behind `held`. Only the length-delimited kind occurs in
/// the messages that are kept as bytes; others are skipped, as protobuf wants it of unknown fields.
pub(crate) fn append_raw_field(
    held: &mut Bytes,
    tag: u32,
    wire_type: WireType,
    buf: &mut impl Buf,
    ctx: DecodeContext,
) -> std::result::Result<(), DecodeError> {
    if wire_type != WireType::LengthDelimited {
        return skip_field(wire_type, tag, buf, ctx);
    }
    let mut body = Bytes::new();
    prost::encoding::bytes::merge(wire_type, &mut body, buf, ctx)?;
    // Nobody else holds a message that is being decoded, so this grows in place: one copy a byte for a long list.
    let mut joined = std::mem::take(held).try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    joined.reserve(body.len() + 8);
    encode_key(tag, WireType::LengthDelimited, &mut joined);
    encode_varint(body.len() as u64, &mut joined);
    joined.extend_from_slice(&body);
    *held = joined.freeze();
    Ok(())
}
