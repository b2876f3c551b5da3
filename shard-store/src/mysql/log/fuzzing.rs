//! The decoder for fuzz targets: what it makes of events that are given by hand. Not an API.

use super::decoder::{Decoder, RawEvent};
use super::table::Databases;
use super::transaction::Known;
use crate::log::{LogPosition, TailEvent};

/// Bytes of rows that a transaction may have here.
pub const TRANSACTION_BYTES: usize = 4_096;

/// What the decoder made of events, one after the other until the first that it refused.
#[derive(Clone, PartialEq, Debug)]
pub struct Read {
    /// What each event had to tell.
    pub told: Vec<Vec<TailEvent>>,
    /// Why the last one was refused, if it was.
    pub refused: Option<String>,
    /// Everything up to here was told.
    pub position: LogPosition,
}

/// Reads events, each with its type and its body, as of a server whose tables are in database `tao`.
pub fn read(events: &[(u8, &[u8])]) -> Read {
    let mut decoder: Decoder =
        Decoder::new(Databases::of("tao"), TRANSACTION_BYTES, LogPosition::none(), Known::new());
    let mut read = Read { told: Vec::new(), refused: None, position: LogPosition::none() };
    for (event_type, data) in events {
        let mut out = Vec::new();
        let event = RawEvent { event_type: *event_type, server_id: 3, data };
        let refused = decoder.event(&event, &mut out).err();
        read.told.push(out);
        if let Some(bad) = refused {
            read.refused = Some(bad.0);
            break;
        }
    }
    read.position = decoder.position().clone();
    read
}
