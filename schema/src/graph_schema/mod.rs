//! The graph schema: which types of objects and associations exist, with their fields, inverses and limits.
//!
//! It is written in TOML ([`GraphSchema::parse`]; `schema/demo.toml` is the built-in example and explains the format)
//! and is the same on every node and client of a cluster. Everything that comes from outside passes
//! [`GraphSchema::check_read`] or [`GraphSchema::check_write`] once, at the edge of the tier; what is inside is known
//! to fit. As in TAO, a schema says nothing about which types of objects an association may join.
//!
//! ```
//! use tao_schema::graph_schema::GraphSchema;
//! use tao_schema::ids::{EdgeKey, ObjectId, ShardId};
//!
//! let schema = GraphSchema::demo();
//! let liked_by = schema.assoc_type_named("liked_by").unwrap();
//! let (post, user) = (ObjectId::new(ShardId(1), 5), ObjectId::new(ShardId(2), 9));
//!
//! // (post, liked_by, user) is the other side of (user, likes, post), whose shard orders the pair.
//! let canonical = schema.canonical(EdgeKey { id1: post, atype: liked_by.id, id2: user })?;
//! assert_eq!(canonical.edge.id1, user);
//! assert!(canonical.swapped);
//! # Ok::<(), tao_schema::Error>(())
//! ```

mod canonical;
mod check;
mod parse;
mod people;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

pub use canonical::Canonical;
pub use people::{fields_by_name, parse_field};

pub use crate::fields::FieldKind;
use crate::fields::Value;
use crate::ids::{AssocType, FieldId, ObjectType};
pub use crate::toml_text::TomlError as GraphSchemaError;

/// The declared types of a graph. Immutable; share it by `Arc`.
#[derive(Clone, Debug)]
pub struct GraphSchema {
    source: String,
    objects: BTreeMap<ObjectType, ObjectTypeDef>,
    object_names: HashMap<String, ObjectType>,
    assocs: BTreeMap<AssocType, AssocTypeDef>,
    assoc_names: HashMap<String, AssocType>,
}

/// A type of objects.
#[derive(Clone, PartialEq, Debug)]
pub struct ObjectTypeDef {
    /// Its number, in the database and on the wire; never reused.
    pub id: ObjectType,
    /// Its name, for people.
    pub name: String,
    /// Its fields.
    pub fields: FieldDefs,
    /// Largest encoded fields of one object, in bytes; at most [`crate::limits::MAX_OBJECT_BYTES`].
    pub max_bytes: usize,
}

/// A type of associations.
///
/// A type that has an inverse comes in two entries: the *forward* one, which declares `inverse` and orders the pair,
/// and the inverse one, which shares its fields and `max_bytes`. A symmetric type is its own inverse.
#[derive(Clone, PartialEq, Debug)]
pub struct AssocTypeDef {
    /// Its number, in the database and on the wire; never reused.
    pub id: AssocType,
    /// Its name, for people.
    pub name: String,
    /// The type of the edge that every edge of this type has on the other end; a symmetric type names itself.
    pub inverse: Option<AssocType>,
    /// Whether an edge holds both ways under one type.
    pub symmetric: bool,
    /// Whether edges of this type order their pair (R22). False only for the inverse of a forward type.
    pub forward: bool,
    /// How many edges one query returns at most; at most [`crate::limits::MAX_QUERY_LIMIT`].
    pub query_limit: u32,
    /// Its fields.
    pub fields: FieldDefs,
    /// Largest encoded fields of one edge, in bytes; at most [`crate::limits::MAX_ASSOC_BYTES`].
    pub max_bytes: usize,
}

/// The fields of a type, in ascending order of id.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct FieldDefs(Vec<FieldDef>);

/// A field of a type.
#[derive(Clone, PartialEq, Debug)]
pub struct FieldDef {
    /// Its number within the type; never reused.
    pub id: FieldId,
    /// Its name, for people.
    pub name: String,
    /// What it holds.
    pub kind: FieldKind,
    /// What a reader sees where it is not set; its kind is `kind`.
    pub default: Value,
}

impl GraphSchema {
    /// Parses a schema. `file` is what errors call it.
    ///
    /// # Errors
    /// Anything unknown, missing, out of range or contradictory; the error names file, line and key.
    pub fn parse(toml: &str, file: &str) -> Result<Self, GraphSchemaError> {
        parse::parse(toml, file)
    }

    /// The built-in schema of the examples: users, posts, comments, questions and answers.
    pub fn demo() -> Self {
        Self::parse(include_str!("../../demo.toml"), "demo.toml")
            .expect("the text is part of the program, and a test parses it")
    }

    /// The TOML text that this schema was parsed from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The object type of a number.
    pub fn object_type(&self, id: ObjectType) -> Option<&ObjectTypeDef> {
        self.objects.get(&id)
    }

    /// The object type of a name.
    pub fn object_type_named(&self, name: &str) -> Option<&ObjectTypeDef> {
        self.objects.get(self.object_names.get(name)?)
    }

    /// The association type of a number.
    pub fn assoc_type(&self, id: AssocType) -> Option<&AssocTypeDef> {
        self.assocs.get(&id)
    }

    /// The association type of a name.
    pub fn assoc_type_named(&self, name: &str) -> Option<&AssocTypeDef> {
        self.assocs.get(self.assoc_names.get(name)?)
    }

    /// All object types, in ascending order of number.
    pub fn object_types(&self) -> impl ExactSizeIterator<Item = &ObjectTypeDef> {
        self.objects.values()
    }

    /// All association types, in ascending order of number.
    pub fn assoc_types(&self) -> impl ExactSizeIterator<Item = &AssocTypeDef> {
        self.assocs.values()
    }
}

impl FieldDefs {
    /// The field of a number.
    pub fn get(&self, id: FieldId) -> Option<&FieldDef> {
        self.0.binary_search_by_key(&id, |field| field.id).ok().map(|at| &self.0[at])
    }

    /// The field of a name.
    pub fn named(&self, name: &str) -> Option<&FieldDef> {
        self.0.iter().find(|field| field.name == name)
    }

    /// All fields, in ascending order of number.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &FieldDef> {
        self.0.iter()
    }

    /// Whether the type has no fields.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
