//! Cases by chance: what is likely to be there is likelier to be asked for.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest_state_machine::Sequential;
use tao_schema::fields::{FieldKind, Value};
use tao_schema::graph_schema::{FieldDefs, GraphSchema};
use tao_schema::ids::{AssocType, FieldId, ObjectType};

use super::print::long;
use super::steps::{ALLOCATED, At, CHOSEN, Door, Edge, Expected, How, Name, Op, Sets, Step};

/// What a case may be about: of a large graph schema only the first types, so that steps meet each other.
#[derive(Clone, Debug)]
pub(super) struct Vocabulary {
    schema: Arc<GraphSchema>,
    otypes: Vec<ObjectType>,
    atypes: Vec<AssocType>,
}

/// What the steps so far have probably brought about: a guess that decides nothing but what comes next.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Sketch {
    edges: BTreeSet<Edge>,
    objects: BTreeSet<Name>,
}

pub(super) type Cases = Sequential<Sketch, Step, BoxedStrategy<Sketch>, BoxedStrategy<Step>>;

/// Association types that a case is about at most, and object types.
const ASSOC_TYPES: usize = 10;
const OBJECT_TYPES: usize = 2;
/// Times that edges have: few, so that they are equal often.
const TIMES: std::ops::Range<u32> = 0..6;

impl Vocabulary {
    pub(super) fn of(schema: &Arc<GraphSchema>) -> Self {
        let otypes = schema.object_types().map(|def| def.id).take(OBJECT_TYPES).collect();
        let atypes = schema.assoc_types().map(|def| def.id).take(ASSOC_TYPES).collect();
        Self { schema: schema.clone(), otypes, atypes }
    }

    /// The object type that a chosen id is named for.
    pub(super) fn type_of(&self, chosen: u8) -> ObjectType {
        let second = usize::from(chosen == 3) % self.otypes.len().max(1);
        self.otypes.get(second).copied().unwrap_or_default()
    }

    /// Cases of up to so many steps.
    pub(super) fn cases(&self, most_steps: usize) -> Cases {
        let vocabulary = self.clone();
        Sequential::new(
            (1..=most_steps).into(),
            || Just(Sketch::default()).boxed(),
            // Any step may follow any other: names that stand for nothing yet stand for others.
            |_, _| true,
            move |sketch| vocabulary.step(sketch),
            |sketch, step| sketch.after(step),
        )
    }

    fn step(&self, sketch: &Sketch) -> BoxedStrategy<Step> {
        let door = || select(vec![Door::A, Door::B]);
        let how =
            select(vec![How::Session, How::Session, How::Master, How::Bounded, How::Critical, How::Stranger]);
        let op = || self.op(sketch);
        let write = || self.write(sketch, names().boxed());
        let near = || self.write(sketch, neighbours().boxed());
        let racing = || prop_oneof![3 => near(), 1 => self.plain_read(sketch)];
        prop_oneof![
            10 => (door(), how, op()).prop_map(|(door, how, op)| Step::One(door, how, op)),
            3 => (door(), vec(near(), 1..5)).prop_map(|(door, ops)| Step::Atomic(door, ops)),
            1 => (door(), vec(write(), 1..4)).prop_map(|(door, ops)| Step::Atomic(door, ops)),
            3 => (door(), vec(op(), 1..5)).prop_map(|(door, ops)| Step::Batch(door, ops)),
            3 => (vec(racing(), 1..3), vec(racing(), 1..3)).prop_map(|(a, b)| Step::Race(a, b)),
            1 => door().prop_map(Step::Resume),
        ]
        .boxed()
    }

    fn op(&self, sketch: &Sketch) -> BoxedStrategy<Op> {
        prop_oneof![3 => self.write(sketch, names().boxed()), 2 => self.read(sketch)].boxed()
    }

    fn edge(&self, sketch: &Sketch, names_of: BoxedStrategy<Name>) -> BoxedStrategy<Edge> {
        let any = (names_of, select(self.atypes.clone()), names()).prop_map(|(id1, atype, id2)| Edge {
            id1,
            atype,
            id2,
        });
        let known: Vec<Edge> = sketch.edges.iter().copied().collect();
        if known.is_empty() { any.boxed() } else { prop_oneof![1 => any, 2 => select(known)].boxed() }
    }

    fn object(&self, sketch: &Sketch, names_of: BoxedStrategy<Name>) -> BoxedStrategy<Name> {
        let known: Vec<Name> = sketch.objects.iter().copied().collect();
        if known.is_empty() { names_of } else { prop_oneof![1 => names_of, 3 => select(known)].boxed() }
    }

    fn write(&self, sketch: &Sketch, names_of: BoxedStrategy<Name>) -> BoxedStrategy<Op> {
        prop_oneof![
            4 => self.object_add(names_of.clone()),
            4 => self.object_update(self.object(sketch, names_of.clone())),
            1 => (self.object(sketch, names_of.clone()), expected())
                .prop_map(|(id, expected)| Op::ObjectDelete { id, expected }),
            9 => self.assoc_add(self.edge(sketch, names_of.clone())),
            4 => (self.edge(sketch, names_of.clone()), expected())
                .prop_map(|(edge, expected)| Op::AssocDelete { edge, expected }),
            3 => (self.edge(sketch, names_of), select(self.atypes.clone()), expected())
                .prop_map(|(edge, new_atype, expected)| Op::AssocChangeType { edge, new_atype, expected }),
        ]
        .boxed()
    }

    fn object_add(&self, names_of: BoxedStrategy<Name>) -> BoxedStrategy<Op> {
        let vocabulary = self.clone();
        let otypes = self.otypes.clone();
        (names_of, any::<bool>(), 0..ALLOCATED, select(otypes), 0..20_u8)
            .prop_flat_map(move |(name, chosen, place, any_type, odd)| {
                let (at, otype) = match name {
                    // The type that the id is named for, mostly.
                    Name::Chosen(number) if chosen && odd > 0 => (At::Id(name), vocabulary.type_of(number)),
                    _ if chosen => (At::Id(name), any_type),
                    _ => (At::Near(name, place), any_type),
                };
                let def = vocabulary.schema.object_type(otype);
                let set = sets(def.map(|def| (&def.fields, def.max_bytes)));
                (Just(at), Just(otype), set)
            })
            .prop_map(|(at, otype, set)| Op::ObjectAdd { at, otype, set })
            .boxed()
    }

    fn object_update(&self, names_of: BoxedStrategy<Name>) -> BoxedStrategy<Op> {
        let vocabulary = self.clone();
        (names_of, select(self.otypes.clone()), 0..8_u8)
            .prop_flat_map(move |(id, any_type, odd)| {
                let otype = match id {
                    Name::Chosen(number) if odd > 0 => vocabulary.type_of(number),
                    _ => any_type,
                };
                let def = vocabulary.schema.object_type(otype);
                let ids: Vec<FieldId> =
                    def.iter().flat_map(|def| def.fields.iter()).map(|def| def.id).collect();
                let clear = vec(prop_oneof![20 => select(ids), 1 => Just(FieldId(99))], 0..3);
                let set = sets(def.map(|def| (&def.fields, def.max_bytes)));
                (Just((id, otype)), set, prop_oneof![2 => Just(Vec::new()), 1 => clear], expected())
            })
            .prop_map(|((id, otype), set, clear, expected)| Op::ObjectUpdate {
                id,
                otype,
                set,
                clear,
                expected,
            })
            .boxed()
    }

    fn assoc_add(&self, edges: BoxedStrategy<Edge>) -> BoxedStrategy<Op> {
        let vocabulary = self.clone();
        (edges, time(), prop::bool::weighted(0.15), expected())
            .prop_flat_map(move |(edge, time, create_only, expected)| {
                let def = vocabulary.schema.assoc_type(edge.atype);
                let set = sets(def.map(|def| (&def.fields, def.max_bytes)));
                (Just((edge, time, create_only, expected)), set)
            })
            .prop_map(|((edge, time, create_only, expected), set)| Op::AssocAdd {
                edge,
                time,
                set,
                create_only,
                expected,
            })
            .boxed()
    }

    fn read(&self, sketch: &Sketch) -> BoxedStrategy<Op> {
        let list = || self.edge(sketch, names().boxed());
        let bound = || proptest::option::of(time());
        prop_oneof![
            3 => self.object(sketch, names().boxed()).prop_map(|id| Op::ObjectGet { id }),
            2 => (list(), vec(names(), 0..4), bound(), bound()).prop_map(|(edge, mut id2s, high, low)| {
                id2s.push(edge.id2);
                Op::AssocGet { id1: edge.id1, atype: edge.atype, id2s, high, low }
            }),
            2 => list().prop_map(|Edge { id1, atype, .. }| Op::AssocCount { id1, atype }),
            3 => (list(), prop_oneof![8 => 0..5_u32, 1 => Just(u32::MAX)], self.limit())
                .prop_map(|(Edge { id1, atype, .. }, pos, limit)| Op::AssocRange { id1, atype, pos, limit }),
            2 => (list(), time(), time(), self.limit()).prop_map(|(Edge { id1, atype, .. }, high, low, limit)| {
                Op::AssocTimeRange { id1, atype, high, low, limit }
            }),
        ]
        .boxed()
    }

    /// Reads of what one transaction changes as a whole: objects, and lists whose edges have no other side.
    fn plain_read(&self, sketch: &Sketch) -> BoxedStrategy<Op> {
        let one_way =
            |atype: &&AssocType| self.schema.assoc_type(**atype).is_some_and(|def| def.inverse.is_none());
        let atypes: Vec<AssocType> = self.atypes.iter().filter(one_way).copied().collect();
        let objects = self.object(sketch, neighbours().boxed()).prop_map(|id| Op::ObjectGet { id });
        if atypes.is_empty() {
            return objects.boxed();
        }
        let counts = (neighbours(), select(atypes)).prop_map(|(id1, atype)| Op::AssocCount { id1, atype });
        prop_oneof![objects, counts].boxed()
    }

    /// Around the limits of the types.
    fn limit(&self) -> BoxedStrategy<u32> {
        let limits = self.atypes.iter().filter_map(|atype| self.schema.assoc_type(*atype));
        let edges: Vec<u32> =
            limits.flat_map(|def| [def.query_limit, def.query_limit + 1]).chain([0]).collect();
        prop_oneof![3 => 1..4_u32, 1 => select(edges)].boxed()
    }
}

fn names() -> impl Strategy<Value = Name> {
    prop_oneof![
        24 => (0..CHOSEN).prop_map(Name::Chosen),
        6 => (0..ALLOCATED).prop_map(Name::Allocated),
        1 => Just(Name::Nowhere),
    ]
}

/// Of one shard, mostly.
fn neighbours() -> impl Strategy<Value = Name> {
    prop_oneof![
        24 => (0..4_u8).prop_map(Name::Chosen),
        3 => (0..ALLOCATED).prop_map(Name::Allocated),
        1 => (0..CHOSEN).prop_map(Name::Chosen),
    ]
}

fn time() -> impl Strategy<Value = u32> {
    prop_oneof![12 => TIMES, 1 => Just(u32::MAX)]
}

fn expected() -> impl Strategy<Value = Expected> {
    prop_oneof![
        10 => Just(Expected::Nothing),
        3 => Just(Expected::Right),
        1 => Just(Expected::Old),
        1 => Just(Expected::Far),
    ]
}

/// Values for some fields of a type: small ones, some that come near its limit, seldom one of the wrong kind.
fn sets(def: Option<(&FieldDefs, usize)>) -> BoxedStrategy<Sets> {
    let Some((defs, most)) = def else { return Just(Vec::new()).boxed() };
    let fields: Vec<(FieldId, FieldKind)> = defs.iter().map(|def| (def.id, def.kind)).collect();
    if fields.is_empty() {
        return Just(Vec::new()).boxed();
    }
    // A field's head, number and length take 6 bytes, or 8 where it is longer than 127.
    let room = if most > 130 { 8 } else { 6 };
    let one = (select(fields), 0..40_u8).prop_flat_map(move |((id, kind), odd)| {
        let value = match odd {
            0 => any_value(FieldKind::ALL[usize::from(id.0) % FieldKind::ALL.len()]),
            1..=6 if most < 1_000 => (0..=most + 2).prop_map(move |bytes| long(kind, bytes)).boxed(),
            7..=9 if most < 1_000 => (0..4_usize)
                .prop_map(move |more| long(kind, (most + 1 + more).saturating_sub(room + 2)))
                .boxed(),
            _ => any_value(kind),
        };
        // A long number is none.
        let fits = value.prop_map(move |value| match (value, kind) {
            (Value::Text(_), FieldKind::Bool) if odd > 0 => Value::Bool(true),
            (Value::Text(_), FieldKind::Int) if odd > 0 => Value::Int(i64::MIN),
            (Value::Text(_), FieldKind::Float) if odd > 0 => Value::Float(-0.0),
            (value, _) => value,
        });
        (Just(id), fits)
    });
    vec(one, 0..3).boxed()
}

fn any_value(kind: FieldKind) -> BoxedStrategy<Value> {
    match kind {
        FieldKind::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        FieldKind::Int => prop_oneof![0..100_i64, any::<i64>()].prop_map(Value::Int).boxed(),
        FieldKind::Float => {
            select(vec![0.0, -0.0, 1.5, f64::NAN, f64::INFINITY]).prop_map(Value::Float).boxed()
        }
        FieldKind::Text => {
            let odd = || "[\\x00a-c\u{e9}\u{1f600}]{0,3}".prop_map(Value::Text);
            prop_oneof![4 => "[a-e]{0,2}".prop_map(Value::Text), 1 => odd()].boxed()
        }
        FieldKind::Blob => vec(any::<u8>(), 0..4).prop_map(|bytes| Value::Blob(bytes.into())).boxed(),
    }
}

impl Sketch {
    fn after(mut self, step: &Step) -> Self {
        match step {
            Step::One(_, _, op) => self.note(op),
            Step::Atomic(_, ops) | Step::Batch(_, ops) => ops.iter().for_each(|op| self.note(op)),
            Step::Race(a, b) => a.iter().chain(b).for_each(|op| self.note(op)),
            Step::Resume(_) => {}
        }
        self
    }

    fn note(&mut self, op: &Op) {
        match op {
            Op::ObjectAdd { at: At::Id(name), .. } => self.objects.extend([*name]),
            Op::ObjectAdd { at: At::Near(_, place), .. } => self.objects.extend([Name::Allocated(*place)]),
            // What was deleted stays worth a question.
            Op::AssocAdd { edge, .. } => self.edges.extend([*edge]),
            Op::AssocChangeType { edge, new_atype, .. } => {
                self.edges.extend([Edge { atype: *new_atype, ..*edge }]);
            }
            _ => {}
        }
    }
}
