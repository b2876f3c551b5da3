// tidy: names SQL because an error tells an administrator what to set
//! The tables that carry news, as their TABLE_MAP events describe them; and their rows.
//!
//! Columns are read by *our* schema: the order, types and signs of an event's columns must be exactly those, by name.
//! Without full metadata an unsigned number would come as a signed one, and a column that somebody put in between would
//! shift all others; so a table without it is not understood.

use super::Bad;
use super::wire::Wire;
use tao_schema::planted::{Bug, planted};

/// A table that carries news.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::mysql) enum Kind {
    Shard,
    EpochHistory,
    Object,
    Assoc,
    Count,
    Heartbeat,
    Topology,
    /// Not news, like the next two.
    Outbox,
    Tombstone,
    Request,
}

/// Type of a column. All are NOT NULL and numbers are unsigned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    /// A number of so many bytes.
    Number(usize),
    /// Bytes or text, with its length in three bytes.
    Medium,
    /// So many bytes, fewer than 256: zeros at the end are left out.
    Binary(usize),
}

use Type::{Binary, Medium, Number};

/// Columns of a table: name and type, in order.
type Columns = &'static [(&'static str, Type)];

/// Most columns of a table.
const COLUMNS: usize = 9;

/// Optional metadata: kinds of field.
const SIGNEDNESS: u64 = 1;
const COLUMN_NAME: u64 = 4;

/// The names of our two databases.
#[derive(Clone, Debug)]
pub(super) struct Databases {
    pub(super) shards: String,
    pub(super) meta: String,
    /// Whether the tables that are not news are read, too.
    all_tables: bool,
}

/// Values of one row; numbers by their column.
#[derive(Clone, Copy, Debug)]
pub(in crate::mysql) struct Image<'a> {
    pub(super) numbers: [u64; COLUMNS],
    /// Of the one column of many bytes.
    pub(super) data: &'a [u8],
    /// Of the one column of few bytes.
    pub(super) binary: &'a [u8],
}

impl Databases {
    pub(super) fn of(database: &str) -> Self {
        Self { shards: database.to_owned(), meta: format!("{database}_meta"), all_tables: false }
    }

    /// With the tables that are not news, if `all`.
    pub(super) fn all_tables(self, all: bool) -> Self {
        Self { all_tables: all, ..self }
    }

    fn kind(&self, database: &[u8], table: &[u8]) -> Option<Kind> {
        if database == self.meta.as_bytes() {
            return (table == b"topology").then_some(Kind::Topology);
        }
        if database != self.shards.as_bytes() {
            return None;
        }
        match table {
            b"shard" => Some(Kind::Shard),
            b"epoch_history" => Some(Kind::EpochHistory),
            b"object" => Some(Kind::Object),
            b"assoc" => Some(Kind::Assoc),
            b"assoc_count" => Some(Kind::Count),
            b"heartbeat" => Some(Kind::Heartbeat),
            b"outbox" if self.all_tables => Some(Kind::Outbox),
            b"tombstone" if self.all_tables => Some(Kind::Tombstone),
            b"request" if self.all_tables => Some(Kind::Request),
            _ => None,
        }
    }

    /// Reads a TABLE_MAP event: the table's number in this log, and what it is to us.
    pub(super) fn table(&self, event: &[u8]) -> Result<(u64, Option<Kind>), Bad> {
        let mut wire = Wire(event);
        let id = wire.uint(6)?;
        wire.bytes(2)?;
        let (database, table) = (wire.name()?, wire.name()?);
        let Some(kind) = self.kind(database, table) else { return Ok((id, None)) };
        match check(kind, &mut wire) {
            Ok(()) => Ok((id, Some(kind))),
            Err(Bad(what)) => Err(Bad(format!("table `{}`: {what}", String::from_utf8_lossy(table)))),
        }
    }
}

impl Kind {
    const fn columns(self) -> Columns {
        match self {
            Self::Shard => &[
                ("shard", Number(2)),
                ("epoch", Number(4)),
                ("seq", Number(8)),
                ("state", Number(1)),
                ("next_id", Number(8)),
            ],
            Self::EpochHistory => &[("shard", Number(2)), ("epoch", Number(4)), ("first_seq", Number(8))],
            Self::Object => {
                &[("id", Number(8)), ("otype", Number(2)), ("version", Number(8)), ("data", Medium)]
            }
            Self::Assoc => &[
                ("id1", Number(8)),
                ("atype", Number(2)),
                ("id2", Number(8)),
                ("time", Number(4)),
                ("epoch", Number(4)),
                ("seq", Number(8)),
                ("data", Medium),
            ],
            Self::Count => {
                &[("id1", Number(8)), ("atype", Number(2)), ("count", Number(8)), ("version", Number(8))]
            }
            Self::Heartbeat => &[("writer", Number(8)), ("nonce", Number(8)), ("at", Number(8))],
            Self::Topology => &[("version", Number(8)), ("toml", Medium), ("at", Number(8))],
            Self::Outbox => &[
                ("id1", Number(8)),
                ("atype", Number(2)),
                ("id2", Number(8)),
                ("inverse_atype", Number(2)),
                ("present", Number(1)),
                ("time", Number(4)),
                ("epoch", Number(4)),
                ("seq", Number(8)),
                ("data", Medium),
            ],
            Self::Tombstone => &[
                ("id1", Number(8)),
                ("atype", Number(2)),
                ("id2", Number(8)),
                ("epoch", Number(4)),
                ("seq", Number(8)),
                ("at", Number(8)),
            ],
            Self::Request => &[
                ("shard", Number(2)),
                ("seq", Number(8)),
                ("epoch", Number(4)),
                ("nonce", Binary(16)),
                ("at", Number(8)),
                ("outcomes", Medium),
            ],
        }
    }

    /// Reads one row image, in which every column is present and none is NULL.
    pub(super) fn image<'a>(self, wire: &mut Wire<'a>) -> Result<Image<'a>, Bad> {
        let columns = self.columns();
        let nulls = wire.bytes(columns.len().div_ceil(8))?;
        if nulls.iter().zip(self.used()).any(|(byte, used)| byte & used != 0) {
            return Err(Bad::new("NULL in a column that has no NULL"));
        }
        let mut image = Image { numbers: [0; COLUMNS], data: &[], binary: &[] };
        for (number, (_, kind)) in image.numbers.iter_mut().zip(columns) {
            match kind {
                Number(width) => {
                    *number = wire.uint(*width)?;
                    if planted(Bug::SignLost) && *width == 4 {
                        *number &= 0x7fff_ffff;
                    }
                }
                Medium => {
                    let length = wire.length(3)?;
                    image.data = wire.bytes(length)?;
                }
                Binary(width) => {
                    let length = wire.length(1)?;
                    if length > *width {
                        return Err(Bad::new("bytes that do not fit their column"));
                    }
                    image.binary = wire.bytes(length)?;
                }
            }
        }
        Ok(image)
    }

    /// Whether a bitmap of an event's columns names all of them.
    pub(super) fn all_present(self, bitmap: &[u8]) -> bool {
        bitmap.iter().zip(self.used()).all(|(byte, used)| byte & used == used)
    }

    /// The bits of a bitmap of columns that stand for one, byte by byte: those behind the last column are not defined.
    fn used(self) -> impl Iterator<Item = u8> {
        let columns = self.columns().len();
        (0..columns.div_ceil(8)).map(move |at| u8::MAX >> (8 - (columns - 8 * at).min(8)))
    }

    pub(super) const fn width(self) -> usize {
        self.columns().len()
    }
}

/// Compares the columns that an event describes with those of our schema.
fn check(kind: Kind, wire: &mut Wire) -> Result<(), Bad> {
    let columns = kind.columns();
    if wire.packed_length()? != columns.len() {
        return Err(Bad::new("its columns are not those of the schema"));
    }
    let types = wire.bytes(columns.len())?;
    let length = wire.packed_length()?;
    let mut details = Wire(wire.bytes(length)?);
    wire.bytes(columns.len().div_ceil(8))?;
    for ((name, expected), found) in columns.iter().zip(types) {
        let fits = match expected {
            Number(1) => *found == 1,
            Number(2) => *found == 2,
            Number(4) => *found == 3,
            Number(_) => *found == 8,
            Medium => *found == 252 && details.uint(1)? == 3,
            // Its real type, and its length.
            Binary(width) => *found == 254 && details.uint(1)? == 254 && details.uint(1)? == *width as u64,
        };
        if !fits {
            return Err(Bad(format!("column `{name}` has not the type that the schema gives it")));
        }
    }
    let (mut signs, mut names) = (None, None);
    while !wire.0.is_empty() {
        let field = wire.uint(1)?;
        let length = wire.packed_length()?;
        let value = wire.bytes(length)?;
        match field {
            SIGNEDNESS => signs = Some(value),
            COLUMN_NAME => names = Some(value),
            _ => {}
        }
    }
    let (Some(signs), Some(names)) = (signs, names) else {
        return Err(Bad::new(
            "its columns come without names and signs: binlog_row_metadata must be FULL (SET GLOBAL \
             binlog_row_metadata = FULL)",
        ));
    };
    check_names(columns, Wire(names))?;
    // One bit for each number, the first the highest.
    let numbers = columns.iter().filter(|(_, kind)| matches!(kind, Number(_)));
    for (at, (name, _)) in numbers.enumerate() {
        if signs.get(at / 8).is_none_or(|byte| byte & (0x80 >> (at % 8)) == 0) {
            return Err(Bad(format!("column `{name}` is signed, in the schema it is not")));
        }
    }
    Ok(())
}

fn check_names(columns: Columns, mut names: Wire) -> Result<(), Bad> {
    for (name, _) in columns {
        let length = names.packed_length()?;
        let found = names.bytes(length)?;
        if found != name.as_bytes() {
            let found = String::from_utf8_lossy(found);
            return Err(Bad(format!("column `{found}` stands where the schema has `{name}`")));
        }
    }
    Ok(())
}
