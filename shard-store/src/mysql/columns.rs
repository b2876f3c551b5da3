//! Reading rows: values in order, checked.

use mysql_async::{Row, Value};
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{AssocType, EdgeKey, Epoch, ListKey, ObjectId, ObjectType, Seq, ShardId, Time};
use tao_schema::rows::ShardState;

/// What was found in place of the expected value.
#[derive(Debug)]
pub(super) struct Unexpected(pub(super) &'static str);

type Result<T> = std::result::Result<T, Unexpected>;

/// The values of a row, from left to right.
pub(super) struct Columns(std::vec::IntoIter<Value>);

impl From<Row> for Columns {
    fn from(row: Row) -> Self {
        Self(row.unwrap().into_iter())
    }
}

impl Columns {
    fn value(&mut self) -> Result<Value> {
        self.0.next().ok_or(Unexpected("fewer columns than expected"))
    }

    /// Passes over `count` values.
    pub(super) fn skip(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            self.value()?;
        }
        Ok(())
    }

    /// A number that may be absent.
    pub(super) fn optional_u64(&mut self) -> Result<Option<u64>> {
        match self.value()? {
            Value::NULL => Ok(None),
            Value::UInt(value) => Ok(Some(value)),
            Value::Int(value) => u64::try_from(value).map(Some).map_err(|_| Unexpected("a negative number")),
            // Numbers of the text protocol, and DECIMAL, come as digits.
            Value::Bytes(digits) => std::str::from_utf8(&digits)
                .ok()
                .and_then(|digits| digits.parse().ok())
                .map(Some)
                .ok_or(Unexpected("text in place of a number")),
            _ => Err(Unexpected("not a number")),
        }
    }

    /// A number.
    pub(super) fn u64(&mut self) -> Result<u64> {
        self.optional_u64()?.ok_or(Unexpected("NULL in place of a number"))
    }

    /// A narrower number that may be absent.
    pub(super) fn optional<T: TryFrom<u64>>(&mut self) -> Result<Option<T>> {
        let narrow = |value| T::try_from(value).map_err(|_| Unexpected("a number out of range"));
        self.optional_u64()?.map(narrow).transpose()
    }

    fn narrow<T: TryFrom<u64>>(&mut self) -> Result<T> {
        self.optional()?.ok_or(Unexpected("NULL in place of a number"))
    }

    /// A number of 32 bits.
    pub(super) fn u32(&mut self) -> Result<u32> {
        self.narrow()
    }

    /// Bytes that may be absent.
    pub(super) fn optional_bytes(&mut self) -> Result<Option<Vec<u8>>> {
        match self.value()? {
            Value::NULL => Ok(None),
            Value::Bytes(bytes) => Ok(Some(bytes)),
            _ => Err(Unexpected("not bytes")),
        }
    }

    /// Bytes.
    pub(super) fn bytes(&mut self) -> Result<Vec<u8>> {
        self.optional_bytes()?.ok_or(Unexpected("NULL in place of bytes"))
    }

    /// Encoded fields.
    pub(super) fn fields(&mut self) -> Result<EncodedFields> {
        Ok(EncodedFields(self.bytes()?.into()))
    }

    pub(super) fn object_id(&mut self) -> Result<ObjectId> {
        self.u64().map(ObjectId)
    }

    pub(super) fn otype(&mut self) -> Result<ObjectType> {
        self.narrow().map(ObjectType)
    }

    pub(super) fn atype(&mut self) -> Result<AssocType> {
        self.narrow().map(AssocType)
    }

    pub(super) fn time(&mut self) -> Result<Time> {
        self.narrow().map(Time)
    }

    pub(super) fn epoch(&mut self) -> Result<Epoch> {
        self.narrow().map(Epoch)
    }

    pub(super) fn seq(&mut self) -> Result<Seq> {
        self.u64().map(Seq)
    }

    pub(super) fn shard(&mut self) -> Result<ShardId> {
        self.narrow().map(ShardId)
    }

    pub(super) fn state(&mut self) -> Result<ShardState> {
        ShardState::from_number(self.narrow()?)
            .ok_or(Unexpected("a shard state that this version does not know"))
    }

    /// `id1, atype`.
    pub(super) fn list_key(&mut self) -> Result<ListKey> {
        Ok(ListKey { id1: self.object_id()?, atype: self.atype()? })
    }

    /// `id1, atype, id2`.
    pub(super) fn edge_key(&mut self) -> Result<EdgeKey> {
        Ok(EdgeKey { id1: self.object_id()?, atype: self.atype()?, id2: self.object_id()? })
    }
}

/// Keys as the one JSON parameter of a batch statement: an array of arrays of numbers. Both engines read unsigned
/// 64-bit numbers from it exactly.
pub(super) struct JsonKeys(String);

impl JsonKeys {
    /// No keys.
    pub(super) fn new() -> Self {
        Self(String::from("["))
    }

    /// Appends one key.
    pub(super) fn push(&mut self, parts: &[u64]) {
        use std::fmt::Write;
        self.0.push_str(if self.0.len() > 1 { ",[" } else { "[" });
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                self.0.push(',');
            }
            // Writing to a String cannot fail.
            let _ = write!(self.0, "{part}");
        }
        self.0.push(']');
    }

    /// Appends an edge.
    pub(super) fn push_edge(&mut self, edge: &EdgeKey) {
        self.push(&[edge.id1.0, u64::from(edge.atype.0), edge.id2.0]);
    }

    /// The parameter.
    pub(super) fn finish(mut self) -> Value {
        self.0.push(']');
        Value::Bytes(self.0.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_exact() {
        let mut keys = JsonKeys::new();
        keys.push(&[u64::MAX, 0]);
        keys.push(&[1 << 63, 7]);
        let expected = b"[[18446744073709551615,0],[9223372036854775808,7]]".to_vec();
        assert_eq!(keys.finish(), Value::Bytes(expected));
        assert_eq!(JsonKeys::new().finish(), Value::Bytes(b"[]".to_vec()));
    }
}
