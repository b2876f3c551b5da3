//! The stored form of fields.

use std::collections::BTreeMap;

use tao_schema::fields::{EncodedFields, Fields, Value};
use tao_schema::ids::FieldId;

use super::Target;

/// See [`fields`].
pub const FIELDS: Target = Target { name: "fields", body: fields, corpus, words: &[] };

/// What the walk accepts decodes to what encodes to the same bytes; what decodes comes back from its encoding; a merge does
/// what maps do.
pub fn fields(bytes: &[u8]) {
    let encoded = EncodedFields(bytes.to_vec().into());
    let walked: Option<Vec<_>> = encoded.walk().map(Result::ok).collect();
    let decoded = encoded.decode().ok();
    if let Some(seen) = walked {
        let decoded = decoded.as_ref().expect("what the walk accepts can be decoded");
        assert_eq!(decoded.encode(), encoded, "the stored layout is the only one");
        let kinds: Vec<_> = decoded.iter().map(|(id, value)| (id, value.kind())).collect();
        assert!(seen.iter().map(|seen| (seen.id, seen.kind)).eq(kinds));
        assert_eq!(encoded.entries_at_most(bytes.len()), Some(seen.len()));
    }
    let Some(decoded) = decoded else { return };
    let again = decoded.encode();
    assert_eq!(again.decode().as_ref(), Ok(&decoded));
    let written: Vec<_> = again.walk().collect();
    // An id of 0 is in no type: it can be read, and is refused.
    let has_zero = decoded.get(FieldId(0)).is_some();
    assert_eq!(written.iter().all(Result::is_ok), !has_zero);
    if let Some(entries) = encoded.entries_at_most(bytes.len()) {
        assert!(decoded.iter().len() <= entries);
        assert!(entries == 0 || encoded.entries_at_most(entries - 1).is_none());
    }
    merges(&decoded, bytes);
}

fn merges(fields: &Fields, bytes: &[u8]) {
    let half = decoded_half(fields, bytes);
    let clear: Vec<FieldId> = bytes.iter().take(3).map(|byte| FieldId(u16::from(*byte))).collect();
    let mut naive: BTreeMap<FieldId, Value> = fields.iter().map(|(id, value)| (id, value.clone())).collect();
    clear.iter().for_each(|id| drop(naive.remove(id)));
    naive.extend(half.iter().map(|(id, value)| (id, value.clone())));
    let mut merged = fields.clone();
    merged.merge(half, &clear);
    assert!(merged.iter().eq(naive.iter().map(|(id, value)| (*id, value))));
}

/// Some of the fields, each with another field's value.
fn decoded_half(fields: &Fields, bytes: &[u8]) -> Fields {
    let values: Vec<&Value> = fields.iter().map(|(_, value)| value).collect();
    let other = |at: usize| values[(at + 1) % values.len()].clone();
    let some = fields.iter().enumerate().filter(|(at, _)| bytes.get(*at).is_none_or(|byte| byte % 2 == 0));
    some.map(|(at, (id, _))| (id, other(at))).collect()
}

pub(super) fn corpus() -> Vec<Vec<u8>> {
    let values = [
        Value::Bool(true),
        Value::Bool(false),
        Value::Int(-1),
        Value::Int(300),
        Value::Float(f64::NAN),
        Value::Text("text\u{e9}".to_owned()),
        Value::Blob(vec![0xff; 200].into()),
        Value::Text(String::new()),
    ];
    let numbered = |values: &[Value]| -> Vec<u8> {
        let fields = (1..).zip(values).map(|(id, value)| (FieldId(id * id * 9), value.clone()));
        fields.collect::<Fields>().encode().0.to_vec()
    };
    let mut all: Vec<Vec<u8>> = values.iter().map(|value| numbered(std::slice::from_ref(value))).collect();
    all.push(numbered(&values));
    all.push(Vec::new());
    all
}
