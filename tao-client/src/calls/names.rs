//! Types and fields by name or number, and their values.

use bytes::Bytes;
use tao_schema::fields::{EncodedFields, Fields, Value};
use tao_schema::graph_schema::{AssocTypeDef, FieldDefs, GraphSchema, ObjectTypeDef};
use tao_schema::ids::{AssocType, FieldId, ObjectType};
use tao_schema::{Error, Result};

/// A type of objects or associations: its name or its number in the graph schema.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TypeRef<'a> {
    /// By name.
    Name(&'a str),
    /// By number.
    Number(u16),
}

/// A field: its name or its number in the type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FieldRef<'a> {
    /// By name.
    Name(&'a str),
    /// By number.
    Number(FieldId),
}

/// What can be the value of a field.
pub trait FieldValue {
    /// The value.
    fn into_value(self) -> Value;
}

/// Field values that are being collected.
#[derive(Default)]
pub struct NewFields<'a>(Vec<(FieldRef<'a>, Value)>);

impl<'a> NewFields<'a> {
    pub(super) fn set(&mut self, field: FieldRef<'a>, value: Value) {
        self.0.push((field, value));
    }

    /// The stored form. Kinds and sizes are checked with the whole request.
    pub(super) fn encode(self, type_name: &str, defs: &FieldDefs) -> Result<EncodedFields> {
        if self.0.is_empty() {
            return Ok(EncodedFields::new());
        }
        let fields = self.0.into_iter().map(|(field, value)| Ok((field.resolve(type_name, defs)?, value)));
        Ok(fields.collect::<Result<Fields>>()?.encode())
    }
}

impl FieldRef<'_> {
    /// The field's number.
    pub(super) fn resolve(self, type_name: &str, defs: &FieldDefs) -> Result<FieldId> {
        let name = match self {
            Self::Number(id) => return Ok(id),
            Self::Name(name) => name,
        };
        defs.named(name).map(|def| def.id).ok_or_else(|| {
            let known: Vec<&str> = defs.iter().map(|def| def.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Error::invalid(format!("{type_name} has no field {name:?}; it has: {known}"))
        })
    }
}

impl TypeRef<'_> {
    pub(super) fn object(self, schema: &GraphSchema) -> Result<&ObjectTypeDef> {
        match self {
            Self::Name(name) => schema.object_type_named(name),
            Self::Number(number) => schema.object_type(ObjectType(number)),
        }
        .ok_or_else(|| {
            let known: Vec<&str> = schema.object_types().map(|def| def.name.as_str()).collect();
            Error::invalid(format!("no object type {self}; the graph schema has: {}", known.join(", ")))
        })
    }

    pub(super) fn assoc(self, schema: &GraphSchema) -> Result<&AssocTypeDef> {
        match self {
            Self::Name(name) => schema.assoc_type_named(name),
            Self::Number(number) => schema.assoc_type(AssocType(number)),
        }
        .ok_or_else(|| {
            let known: Vec<&str> = schema.assoc_types().map(|def| def.name.as_str()).collect();
            Error::invalid(format!("no association type {self}; the graph schema has: {}", known.join(", ")))
        })
    }
}

impl std::fmt::Display for TypeRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name:?}"),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

impl<'a> From<&'a str> for TypeRef<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(name)
    }
}

impl<'a> From<&'a String> for TypeRef<'a> {
    fn from(name: &'a String) -> Self {
        Self::Name(name)
    }
}

impl From<ObjectType> for TypeRef<'_> {
    fn from(otype: ObjectType) -> Self {
        Self::Number(otype.0)
    }
}

impl From<AssocType> for TypeRef<'_> {
    fn from(atype: AssocType) -> Self {
        Self::Number(atype.0)
    }
}

impl From<u16> for TypeRef<'_> {
    fn from(number: u16) -> Self {
        Self::Number(number)
    }
}

impl<'a> From<&'a str> for FieldRef<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(name)
    }
}

impl<'a> From<&'a String> for FieldRef<'a> {
    fn from(name: &'a String) -> Self {
        Self::Name(name)
    }
}

impl From<FieldId> for FieldRef<'_> {
    fn from(id: FieldId) -> Self {
        Self::Number(id)
    }
}

macro_rules! field_values {
    ($($type:ty => |$value:ident| $made:expr;)*) => {$(
        impl FieldValue for $type {
            fn into_value(self) -> Value {
                let $value = self;
                $made
            }
        }
    )*};
}

field_values! {
    Value => |value| value;
    bool => |value| Value::Bool(value);
    i64 => |value| Value::Int(value);
    i32 => |value| Value::Int(i64::from(value));
    u32 => |value| Value::Int(i64::from(value));
    f64 => |value| Value::Float(value);
    &str => |value| Value::Text(value.to_owned());
    String => |value| Value::Text(value);
    &String => |value| Value::Text(value.clone());
    Bytes => |value| Value::Blob(value);
    Vec<u8> => |value| Value::Blob(value.into());
    &[u8] => |value| Value::Blob(Bytes::copy_from_slice(value));
}
