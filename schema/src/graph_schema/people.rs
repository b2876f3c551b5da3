//! Fields as people write and read them: by name, as text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{FieldDefs, FieldKind};
use crate::error::{Error, Result};
use crate::fields::{EncodedFields, Value};
use crate::ids::FieldId;

/// Every field of the type with its value, in ascending order of field id; defaults stand in for what is not set.
/// Stored fields that the schema does not know (any more) are left out.
///
/// # Errors
/// [`crate::ErrorCode::Corrupt`] if `encoded` can't be decoded.
pub fn fields_by_name<'a>(defs: &'a FieldDefs, encoded: &EncodedFields) -> Result<Vec<(&'a str, Value)>> {
    let fields = encoded.decode()?;
    let named = defs.iter().map(|def| {
        let value = fields.get(def.id).unwrap_or(&def.default);
        (def.name.as_str(), value.clone())
    });
    Ok(named.collect())
}

/// A value from what a person typed: `true`, `-3`, `2.5`, any text, base64 for a blob.
///
/// # Errors
/// [`crate::ErrorCode::InvalidArgument`] if the type has no such field (the message lists those it has) or the text
/// is no value of its kind.
pub fn parse_field(defs: &FieldDefs, name: &str, text: &str) -> Result<(FieldId, Value)> {
    let Some(def) = defs.named(name) else {
        let known: Vec<&str> = defs.iter().map(|def| def.name.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(Error::invalid(format!("no field {name:?} in this type; it has: {known}")));
    };
    let value = match def.kind {
        FieldKind::Bool => text.parse().ok().map(Value::Bool),
        FieldKind::Int => text.parse().ok().map(Value::Int),
        FieldKind::Float => text.parse().ok().map(Value::Float),
        FieldKind::Text => Some(Value::Text(text.to_owned())),
        FieldKind::Blob => BASE64.decode(text).ok().map(|bytes| Value::Blob(bytes.into())),
    };
    let value = value.ok_or_else(|| {
        let wanted = match def.kind {
            FieldKind::Bool => "true or false",
            FieldKind::Int => "a whole number of 64 bits",
            FieldKind::Float => "a number",
            FieldKind::Text => "text",
            FieldKind::Blob => "base64",
        };
        Error::invalid(format!("field {name:?} is of kind {}: it takes {wanted}", def.kind.name()))
    })?;
    Ok((def.id, value))
}
