//! Objects.

use tao_schema::error::{Error, ErrorCode, Result};
use tao_schema::fields::EncodedFields;
use tao_schema::ids::{FieldId, ObjectId, ObjectType, Seq, ShardId};
use tao_schema::limits::MAX_OBJECT_BYTES;
use tao_schema::ops::{Effect, Outcome};
use tao_schema::planted::{Bug, planted};
use tao_schema::rows::ObjectRow;

use super::read_set::past_chosen;
use super::workspace::{Workspace, precondition};

impl Workspace<'_> {
    pub(super) fn object_add(
        &mut self,
        shard: ShardId,
        id: Option<ObjectId>,
        otype: ObjectType,
        fields: &EncodedFields,
    ) -> Result<Outcome> {
        let id = match id {
            Some(id) if id.shard() != shard => {
                return Err(Error::internal(format!(
                    "object {id} was sent to shard {shard}, not to its own"
                )));
            }
            Some(id) if self.objects.get(&id)?.is_some() => {
                return Err(precondition(format!("object {id} exists already")));
            }
            Some(id) => {
                // The allocator never gives out an id that the application chose before it.
                self.unit.next_id = Some((shard, past_chosen(id, self.next_id(shard)?)));
                id
            }
            None => self.allocate(shard)?,
        };
        check_size(id, fields, MAX_OBJECT_BYTES)?;
        self.put_object(id, ObjectRow { otype, version: Seq::ZERO, fields: fields.clone() })?;
        Ok(Outcome { effect: Effect::Created, id: Some(id) })
    }

    /// The next free id of the shard. Its number is used up only if the unit stands, and then for ever: `next_id` is
    /// in the shard row, which every change of the shard advances (H6).
    fn allocate(&mut self, shard: ShardId) -> Result<ObjectId> {
        let start = self.allocators.get(&shard).copied().unwrap_or(1);
        let mut local = start.max(self.next_id(shard)?);
        loop {
            let id = ObjectId::new(shard, local);
            if id.is_named() || id.local() != local {
                return Err(Error::invalid(format!("shard {shard} has no ids left to allocate")));
            }
            // A candidate beyond those read: more ids of the application's choice stand in a row here than were
            // provided for.
            if !self.objects.knows(&id) {
                let message =
                    format!("shard {shard} finds no free id near {id}: choose one, or another shard");
                return Err(Error::new(ErrorCode::PreconditionFailed, message));
            }
            local += 1;
            if self.objects.get(&id)?.is_none() {
                self.unit.next_id = (!planted(Bug::IdsReissued)).then_some((shard, local));
                return Ok(id);
            }
        }
    }

    pub(super) fn object_update(
        &mut self,
        id: ObjectId,
        otype: ObjectType,
        (set, clear, max_bytes): (&EncodedFields, &[FieldId], usize),
        expected: Option<Seq>,
    ) -> Result<Outcome> {
        let Some(row) = self.objects.get(&id)? else { return Err(absent(id)) };
        if row.otype != otype {
            let message = format!("object {id} is of type {}, not of type {otype}", row.otype);
            return Err(Error::invalid(message));
        }
        check_version(id, row, expected)?;
        let mut fields = row.fields.decode()?;
        fields.merge(set.decode()?, clear);
        let fields = fields.encode();
        check_size(id, &fields, max_bytes)?;
        self.put_object(id, ObjectRow { otype, version: Seq::ZERO, fields })?;
        Ok(Outcome { effect: Effect::Updated, id: Some(id) })
    }

    pub(super) fn object_delete(&mut self, id: ObjectId, expected: Option<Seq>) -> Result<Outcome> {
        let Some(row) = self.objects.get(&id)? else {
            return match expected {
                Some(_) => Err(absent(id)),
                None => Ok(Outcome { effect: Effect::Nothing, id: Some(id) }),
            };
        };
        check_version(id, row, expected)?;
        self.objects.set(id, None)?;
        self.touch(id.shard());
        Ok(Outcome { effect: Effect::Deleted, id: Some(id) })
    }

    /// Writes an object in this batch's version.
    fn put_object(&mut self, id: ObjectId, row: ObjectRow) -> Result<()> {
        let mut version = self.next_position(id.shard())?.seq;
        if planted(Bug::VersionNotBumped) {
            version = self.objects.get(&id)?.map_or(version, |old| old.version);
        }
        self.objects.set(id, Some(ObjectRow { version, ..row }))?;
        self.touch(id.shard());
        Ok(())
    }
}

fn absent(id: ObjectId) -> Error {
    Error::new(ErrorCode::NotFound, format!("object {id} does not exist"))
}

fn check_version(id: ObjectId, row: &ObjectRow, expected: Option<Seq>) -> Result<()> {
    match expected {
        Some(version) if version != row.version => {
            Err(precondition(format!("object {id} has version {}, not {version}", row.version)))
        }
        _ => Ok(()),
    }
}

fn check_size(id: ObjectId, fields: &EncodedFields, max_bytes: usize) -> Result<()> {
    let limit = max_bytes.min(MAX_OBJECT_BYTES);
    if fields.len() <= limit {
        return Ok(());
    }
    let message = format!("object {id} would have {} bytes; the limit is {limit}", fields.len());
    Err(Error::invalid(message))
}
