//! Tables: a text and the error it gets, a request and the refusal it gets.

use super::*;
use crate::Error;
use crate::fields::{EncodedFields, Fields};
use crate::ids::{EdgeKey, ListKey, ObjectId, RequestId, Seq, ShardId, Time};
use crate::ops::{ReadOp, WriteOp, WriteRequest};

#[test]
fn the_demo_schema_is_what_the_examples_say() {
    let schema = GraphSchema::demo();
    let objects: Vec<_> = schema.object_types().map(|def| (def.id.0, def.name.as_str())).collect();
    assert_eq!(objects, [(1, "user"), (2, "post"), (3, "comment"), (4, "question"), (5, "answer")]);
    let assocs: Vec<_> = schema
        .assoc_types()
        .map(|def| (def.id.0, def.name.as_str(), def.inverse.map_or(0, |id| id.0)))
        .collect();
    assert_eq!(
        assocs,
        [
            (1, "friend", 1),
            (2, "authored", 3),
            (3, "authored_by", 2),
            (4, "likes", 5),
            (5, "liked_by", 4),
            (6, "answered", 7),
            (7, "answered_by", 6),
            (8, "commented", 9),
            (9, "commented_by", 8),
            (10, "commented_answer", 11),
            (11, "answer_commented_by", 10),
            (12, "follows", 13),
            (13, "followed_by", 12),
            (14, "has_comment", 0),
        ]
    );
    let (likes, liked_by) = (named(&schema, "likes"), named(&schema, "liked_by"));
    assert!(likes.forward && !liked_by.forward && !likes.symmetric);
    assert_eq!(likes.fields, liked_by.fields, "an inverse shares its forward type's fields");
    assert_eq!(likes.query_limit, 6_000);
    assert_eq!(schema.object_type_named("comment").unwrap().max_bytes, 65_536);
    assert_eq!(GraphSchema::parse(schema.source(), "again").unwrap().source(), schema.source());
}

fn named<'a>(schema: &'a GraphSchema, name: &str) -> &'a AssocTypeDef {
    schema.assoc_type_named(name).unwrap()
}

/// What the parser says of a schema that goes on after `format = 1`.
fn refusal(rest: &str) -> String {
    GraphSchema::parse(&format!("format = 1\n{rest}"), "g.toml").unwrap_err().to_string()
}

#[test]
fn parse_errors_name_file_line_and_key() {
    let table = [
        ("[object.user]\nid = 0", "g.toml:3: object.user.id: id is 0; it must be from 1 to 32767"),
        ("[object.user]\nid = 40000", "g.toml:3: object.user.id: id is 40000; it must be from 1 to 32767"),
        ("[object.user]\nfields = {}", "g.toml:2: object.user: missing field `id`"),
        (
            "[object.user]\nid = 1\nmax_byte = 3",
            "g.toml:4: object.user.max_byte: unknown field `max_byte`, expected one of `id`, `max_bytes`, `fields`",
        ),
        (
            "[object.User]\nid = 1",
            "g.toml:2: object.User: \"User\" is no name: a lower-case letter, then letters, digits and _, at most 64",
        ),
        (
            "[object.a]\nid = 1\n[object.b]\nid = 1",
            "g.toml:5: object.b.id: object type 1 is \"a\" already; numbers are unique",
        ),
        (
            "[object.a]\nid = 1\nmax_bytes = 1048577",
            "g.toml:4: object.a.max_bytes: max_bytes is 1048577; it must be from 1 to 1048576",
        ),
        (
            "[object.a]\nid = 1\n[object.a.fields]\nx = { id = 1, kind = \"string\" }",
            "g.toml:5: object.a.fields.x: kind \"string\" is unknown; one of bool, int, float, text, blob",
        ),
        (
            "[object.a]\nid = 1\n[object.a.fields]\nx = { id = 1, kind = \"int\", default = \"7\" }",
            "g.toml:5: object.a.fields.x: the default is \"7\"; this field needs a value of kind int",
        ),
        (
            "[object.a]\nid = 1\n[object.a.fields]\nx = { id = 1, kind = \"int\" }\ny = { id = 1, kind = \"int\" }",
            "g.toml:6: object.a.fields.y: field 1 is \"x\" already; numbers are unique within a type",
        ),
        (
            "[assoc.a]\nid = 1\nquery_limit = 6001",
            "g.toml:4: assoc.a.query_limit: query_limit is 6001; it must be from 1 to 6000",
        ),
        (
            "[assoc.a]\nid = 1\ninverse = \"b\"",
            "g.toml:4: assoc.a.inverse: no association type \"b\"; add [assoc.b] with its own id",
        ),
        (
            "[assoc.a]\nid = 1\ninverse = \"a\"",
            "g.toml:4: assoc.a.inverse: a type that is its own inverse is declared by `symmetric = true`",
        ),
        (
            "[assoc.a]\nid = 1\nsymmetric = true\ninverse = \"b\"",
            "g.toml:5: assoc.a.inverse: a symmetric type is its own inverse; drop `inverse` or `symmetric`",
        ),
        (
            "[assoc.a]\nid = 1\ninverse = \"b\"\n[assoc.b]\nid = 2\ninverse = \"a\"",
            "g.toml:4: assoc.a.inverse: \"b\" is an inverse and shares everything with its forward type; drop its \
             `inverse`",
        ),
        (
            "[assoc.a]\nid = 1\ninverse = \"c\"\n[assoc.b]\nid = 2\ninverse = \"c\"\n[assoc.c]\nid = 3",
            "g.toml:7: assoc.b.inverse: \"c\" is the inverse of \"a\" already",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(refusal(text), expected, "{text}");
    }
    let format = GraphSchema::parse("# a schema\nformat = 2", "g.toml").unwrap_err().to_string();
    assert_eq!(format, "g.toml:2: format: format 2 is unknown; this program reads format 1");
    let syntax = GraphSchema::parse("format = 1\n[object.a\nid = 1", "g.toml").unwrap_err();
    assert_eq!((syntax.file.as_str(), syntax.line), ("g.toml", 2));
}

const A: ObjectId = ObjectId::new(ShardId(1), 10);
const B: ObjectId = ObjectId::new(ShardId(2), 20);
/// On the shard of `A`.
const A2: ObjectId = ObjectId::new(ShardId(1), 11);
const FRIEND: AssocType = AssocType(1);
const LIKES: AssocType = AssocType(4);
const LIKED_BY: AssocType = AssocType(5);
const HAS_COMMENT: AssocType = AssocType(14);

fn edge(id1: ObjectId, atype: AssocType, id2: ObjectId) -> EdgeKey {
    EdgeKey { id1, atype, id2 }
}

#[test]
fn the_canonical_side_is_the_forward_or_the_smaller_one() {
    let schema = GraphSchema::demo();
    let table = [
        (edge(B, LIKES, A), edge(B, LIKES, A), Some(LIKED_BY), false),
        (edge(A, LIKED_BY, B), edge(B, LIKES, A), Some(LIKED_BY), true),
        (edge(A, LIKES, A), edge(A, LIKES, A), Some(LIKED_BY), false),
        (edge(A, LIKED_BY, A), edge(A, LIKES, A), Some(LIKED_BY), true),
        (edge(A, FRIEND, B), edge(A, FRIEND, B), Some(FRIEND), false),
        (edge(B, FRIEND, A), edge(A, FRIEND, B), Some(FRIEND), true),
        (edge(A, FRIEND, A), edge(A, FRIEND, A), None, false),
        (edge(B, HAS_COMMENT, A), edge(B, HAS_COMMENT, A), None, false),
    ];
    for (asked, edge, inverse, swapped) in table {
        assert_eq!(schema.canonical(asked).unwrap(), Canonical { edge, inverse, swapped }, "{asked:?}");
    }
    assert!(schema.canonical(edge(A, AssocType(99), B)).is_err());
    let shard = |op| schema.ordering_shard(&write(vec![op])).unwrap();
    assert_eq!(shard(add(edge(A, LIKED_BY, B))), B.shard());
    assert_eq!(shard(add(edge(B, FRIEND, A))), A.shard());
    assert_eq!(shard(WriteOp::ObjectDelete { id: B, expected: None }), B.shard());
}

fn write(ops: Vec<WriteOp>) -> WriteRequest {
    WriteRequest { id: RequestId(1), age: std::time::Duration::ZERO, ops, forwarded: false }
}

fn add(edge: EdgeKey) -> WriteOp {
    add_expecting(edge, None)
}

fn add_expecting(edge: EdgeKey, expected: Option<Seq>) -> WriteOp {
    WriteOp::AssocAdd { edge, time: Time(1), fields: EncodedFields::new(), create_only: false, expected }
}

fn change(edge: EdgeKey, new_atype: u16) -> WriteOp {
    WriteOp::AssocChangeType { edge, new_atype: AssocType(new_atype), expected: None }
}

fn fields(pairs: &[(u16, Value)]) -> EncodedFields {
    pairs.iter().map(|(id, value)| (FieldId(*id), value.clone())).collect::<Fields>().encode()
}

fn new_user(id: Option<ObjectId>, fields: EncodedFields) -> WriteOp {
    WriteOp::ObjectAdd { id, shard: ShardId(1), otype: ObjectType(1), fields }
}

fn message(error: Result<(), Error>) -> String {
    let error = error.unwrap_err();
    assert_eq!(error.code, crate::ErrorCode::InvalidArgument);
    error.message
}

#[test]
fn good_writes_pass() {
    let schema = GraphSchema::demo();
    let name = fields(&[(1, Value::Text("Ada".into())), (4, Value::Int(7))]);
    let chosen = ObjectId::named(ObjectType(1), 7, 64);
    let good = [
        vec![new_user(None, name.clone())],
        vec![new_user(Some(chosen), EncodedFields::new())],
        vec![WriteOp::ObjectUpdate {
            id: A,
            otype: ObjectType(1),
            set: name,
            clear: vec![FieldId(2)],
            expected: Some(Seq(3)),
        }],
        vec![add(edge(A, LIKED_BY, B))],
        vec![add_expecting(edge(A, LIKES, B), Some(Seq(2)))],
        vec![
            add(edge(A, LIKES, B)),
            add(edge(A, FRIEND, B)),
            WriteOp::ObjectDelete { id: A2, expected: None },
        ],
        vec![change(edge(A, AssocType(2), B), 6)],
        vec![change(edge(A, AssocType(3), B), 7)],
    ];
    for ops in good {
        assert_eq!(schema.check_write(&write(ops)), Ok(()));
    }
}

#[test]
fn writes_that_do_not_fit_are_refused_with_the_reason() {
    let schema = GraphSchema::demo();
    let other = |otype| WriteOp::ObjectAdd {
        id: None,
        shard: ShardId(1),
        otype: ObjectType(otype),
        fields: fields(&[(1, Value::Blob(vec![0; 70_000].into()))]),
    };
    let damaged = EncodedFields(vec![0x0a, 9, 1].into());
    let both = WriteOp::ObjectUpdate {
        id: A,
        otype: ObjectType(1),
        set: fields(&[(2, Value::Text("x".into()))]),
        clear: vec![FieldId(2)],
        expected: None,
    };
    let refused = |ops| message(schema.check_write(&write(ops)));
    insta::assert_snapshot!(refused(vec![]), @"the write has no operation; give at least one");
    insta::assert_snapshot!(refused(vec![WriteOp::ObjectDelete { id: A, expected: None }; 257]), @"the atomic write has 257 operations; at most 256: split it, or batch single writes");
    insta::assert_snapshot!(refused(vec![other(99)]), @"object_add: object type 99 is not in the graph schema of this cluster; GetSchema shows it");
    insta::assert_snapshot!(refused(vec![other(3)]), @"object_add: fields of comment take 70010 bytes; at most 65536: store less");
    insta::assert_snapshot!(refused(vec![other(2)]), @r#"object_add: field 1 ("text") of post is of kind text, not blob"#);
    insta::assert_snapshot!(refused(vec![new_user(None, fields(&[(9, Value::Int(1))]))]), @"object_add: user has no field 9; it has: 1 name, 2 bio, 3 verified, 4 reputation");
    insta::assert_snapshot!(refused(vec![new_user(None, damaged)]), @"object_add: fields of user: the field at byte 0 is not in the stored layout");
    insta::assert_snapshot!(refused(vec![new_user(Some(A), EncodedFields::new())]), @"object_add: id 281474976710666 is of the kind that shards allocate; leave the id out, or make one with `ObjectId::named`");
    insta::assert_snapshot!(
        refused(vec![new_user(Some(ObjectId::named(ObjectType(2), 7, 64)), EncodedFields::new())]), @"object_add: id 12244170076848135 is named for object type 2, but the object is of type 1 (user)");
    insta::assert_snapshot!(refused(vec![both]), @r#"object_update: field 2 ("bio") of user is both set and cleared"#);
    insta::assert_snapshot!(refused(vec![add(edge(A, AssocType(99), B))]), @"assoc_add: association type 99 is not in the graph schema of this cluster; GetSchema shows it");
}

#[test]
fn writes_that_no_single_shard_can_order_are_refused_with_the_reason() {
    let schema = GraphSchema::demo();
    let refused = |ops| message(schema.check_write(&write(ops)));
    insta::assert_snapshot!(refused(vec![add(edge(A, LIKES, B)), add(edge(B, LIKES, A))]), @"operation 2: assoc_add: is on shard 2, but operation 1 is on shard 1; an atomic write has one shard: split it");
    insta::assert_snapshot!(refused(vec![add(edge(A, LIKES, B)), add(edge(A, LIKED_BY, B))]), @"operation 2: assoc_add: object 562949953421332 on shard 2 orders this association, so it can't be part of an atomic write on shard 1: send it as a write of its own");
    insta::assert_snapshot!(refused(vec![add(edge(B, LIKES, A)), add(edge(B, FRIEND, A))]), @"operation 2: assoc_add: object 281474976710666 on shard 1 orders this association, so it can't be part of an atomic write on shard 2: send it as a write of its own");
    insta::assert_snapshot!(refused(vec![add_expecting(edge(A, LIKED_BY, B), Some(Seq(1)))]), @"assoc_add: an expected version of list (281474976710666, liked_by) can't be checked: the other end orders this association; expect a version of list (562949953421332, likes) and write from there");
    insta::assert_snapshot!(refused(vec![change(edge(A, LIKES, B), 4)]), @"assoc_change_type: the association is of type likes already");
    insta::assert_snapshot!(refused(vec![change(edge(A, LIKES, B), 5)]), @"assoc_change_type: likes can't become liked_by: different ends order the two types; delete and add instead");
    insta::assert_snapshot!(refused(vec![change(edge(A, FRIEND, B), 2)]), @"assoc_change_type: friend can't become authored: different ends order the two types; delete and add instead");
    insta::assert_snapshot!(refused(vec![change(edge(A, LIKES, B), 2)]), @r#"assoc_change_type: likes can't become authored: its field 1 ("reaction") has no equal there; delete and add instead"#);
    // Both ends on one shard: one log orders it, whichever end is named.
    let inside = vec![add(edge(A, LIKES, B)), add(edge(A, LIKED_BY, A2))];
    assert_eq!(schema.check_write(&write(inside)), Ok(()));
}

#[test]
fn reads_beyond_the_limits_are_refused() {
    let schema = GraphSchema::demo();
    let list = ListKey { id1: A, atype: FRIEND };
    let range = |pos, limit| ReadOp::AssocRange { list, pos, limit };
    let set =
        |len: u64| ReadOp::AssocGet { list, id2s: (0..len).map(ObjectId).collect(), high: None, low: None };
    let good = [ReadOp::ObjectGet(A), range(0, 6_000), range(90_000, 1), set(0), set(1_000)];
    for op in good {
        assert_eq!(schema.check_read(&op), Ok(()));
    }
    let refused = |op| message(schema.check_read(&op));
    insta::assert_snapshot!(refused(range(0, 6_001)), @"assoc_range of friend with limit 6001; the limit must be from 1 to 6000: ask for pages");
    insta::assert_snapshot!(refused(range(0, 0)), @"assoc_range of friend with limit 0; the limit must be from 1 to 6000: ask for pages");
    insta::assert_snapshot!(refused(range(u32::MAX, 1)), @"assoc_range ends beyond position 4294967295: lower pos, which is 4294967295");
    insta::assert_snapshot!(refused(set(1_001)), @"assoc_get asks for 1001 id2s; at most 1000: split the set");
    insta::assert_snapshot!(
        refused(ReadOp::AssocTimeRange { list, high: Time(9), low: Time(1), limit: 7_000 }), @"assoc_time_range of friend with limit 7000; the limit must be from 1 to 6000: ask for pages");
    insta::assert_snapshot!(refused(ReadOp::AssocCount(ListKey { id1: A, atype: AssocType(77) })), @"association type 77 is not in the graph schema of this cluster; GetSchema shows it");
}

#[test]
fn people_read_and_write_fields_by_name() {
    let schema = GraphSchema::demo();
    let user = &schema.object_type_named("user").unwrap().fields;
    let set: Fields = [parse_field(user, "name", "Ada"), parse_field(user, "reputation", "-4")]
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        fields_by_name(user, &set.encode()).unwrap(),
        [
            ("name", Value::Text("Ada".into())),
            ("bio", Value::Text(String::new())),
            ("verified", Value::Bool(false)),
            ("reputation", Value::Int(-4)),
        ]
    );
    let post = &schema.object_type_named("post").unwrap().fields;
    assert_eq!(
        fields_by_name(post, &EncodedFields::new()).unwrap()[1],
        ("language", Value::Text("en".into()))
    );
    assert_eq!(parse_field(post, "image", "AAE=").unwrap().1, Value::Blob(vec![0, 1].into()));
    let refused = |name, text| parse_field(user, name, text).unwrap_err().message;
    insta::assert_snapshot!(refused("age", "7"), @r#"no field "age" in this type; it has: name, bio, verified, reputation"#);
    insta::assert_snapshot!(refused("verified", "yes"), @r#"field "verified" is of kind bool: it takes true or false"#);
}
