// tidy: names SQL because its events made by hand hold statements as a log does
//! Events made by hand: what the decoder makes of whole ones, of damaged ones and of strangers.

use tao_schema::fields::EncodedFields;
use tao_schema::ids::{Epoch, ObjectId, ObjectType, Seq, ShardId};
use tao_schema::rows::{ChangeItem, ObjectRow, ShardChange, ShardState};

use super::decoder::{Decoder, RawEvent};
use super::table::Databases;
use super::transaction::Known;
use crate::log::{LogPosition, TailEvent};

/// Type and body.
type Made = (u8, Vec<u8>);

fn decoder() -> Decoder {
    Decoder::new(Databases::of("tao"), 1 << 20, LogPosition::none(), Known::new())
}

fn feed(decoder: &mut Decoder, (event_type, data): &Made) -> Result<Vec<TailEvent>, String> {
    let mut out = Vec::new();
    let event = RawEvent { event_type: *event_type, server_id: 3, data };
    decoder.event(&event, &mut out).map(|()| out).map_err(|bad| bad.0)
}

/// Columns: name, type of the log, and whether it is a number.
fn table_map(id: u8, table: &str, columns: &[(&str, u8)]) -> Made {
    let mut body = vec![id, 0, 0, 0, 0, 0, 1, 0, 3];
    body.extend(b"tao\0");
    body.push(table.len() as u8);
    body.extend(table.as_bytes());
    body.extend([0, columns.len() as u8]);
    body.extend(columns.iter().map(|(_, kind)| kind));
    let details = columns.iter().filter(|(_, kind)| *kind == 252).map(|_| 3);
    let details: Vec<u8> = details.collect();
    body.push(details.len() as u8);
    body.extend(details);
    body.push(0);
    // Signs, one bit for each number; names.
    body.extend([1, 1, 0xff]);
    let names: Vec<u8> =
        columns.iter().flat_map(|(name, _)| [&[name.len() as u8], name.as_bytes()].concat()).collect();
    body.extend([4, names.len() as u8]);
    body.extend(names);
    (19, body)
}

/// Rows of a table with so many columns, as one image after the other.
fn rows(event_type: u8, id: u8, columns: u8, images: &[Vec<u8>]) -> Made {
    let mut body = vec![id, 0, 0, 0, 0, 0, 1, 0, columns];
    let bitmaps = if event_type == 24 { 2 } else { 1 };
    body.extend(vec![0xff; bitmaps]);
    for image in images {
        body.push(0xe0);
        body.extend(image);
    }
    (event_type, body)
}

fn shard_row(seq: u64) -> Vec<u8> {
    [&7u16.to_le_bytes()[..], &1u32.to_le_bytes(), &seq.to_le_bytes(), &[1], &9u64.to_le_bytes()].concat()
}

/// One transaction of MariaDB: shard 7 advances to 6, with an object.
fn transaction() -> Vec<Made> {
    let gtid = [&41u64.to_le_bytes()[..], &0u32.to_le_bytes(), &[0]].concat();
    let id = ObjectId::new(ShardId(7), 5);
    let object =
        [&id.0.to_le_bytes()[..], &2u16.to_le_bytes(), &6u64.to_le_bytes(), &[2, 0, 0, 8, 9]].concat();
    let of_shard = [("shard", 2), ("epoch", 3), ("seq", 8), ("state", 1), ("next_id", 8)];
    let of_object = [("id", 8), ("otype", 2), ("version", 8), ("data", 252)];
    vec![
        (162, gtid),
        table_map(1, "object", &of_object),
        rows(23, 1, 4, &[object]),
        table_map(2, "shard", &of_shard),
        rows(24, 2, 5, &[shard_row(5), shard_row(6)]),
        (16, vec![0; 8]),
    ]
}

#[test]
fn a_transaction_is_told_when_it_is_whole() {
    let mut decoder = decoder();
    let events = transaction();
    let (end, begin) = events.split_last().unwrap();
    for event in begin {
        assert_eq!(feed(&mut decoder, event).unwrap(), vec![]);
        assert!(decoder.position().is_empty());
    }
    let id = ObjectId::new(ShardId(7), 5);
    let row = ObjectRow { otype: ObjectType(2), version: Seq(6), fields: EncodedFields(vec![8, 9].into()) };
    let items = vec![ChangeItem::Object { id, row: Some(row) }];
    let change = ShardChange { shard: ShardId(7), epoch: Epoch(1), seq: Seq(6), items };
    let expected = TailEvent::Change { change: change.into(), state: ShardState::Serving };
    assert_eq!(feed(&mut decoder, end).unwrap(), vec![expected]);
    assert_eq!(decoder.position().to_string(), "0-3-41");
    // The same once more: not what follows.
    let again: Result<Vec<_>, _> = events.iter().map(|event| feed(&mut decoder, event)).collect();
    assert!(again.unwrap_err().contains("gap"));
}

/// No event, however short or changed, may stop more than the tail that reads it.
#[test]
fn damaged_events_end_in_an_error_or_in_nothing() {
    let events = transaction();
    let mut refused = 0;
    let mut damaged = |at: usize, event: Made| {
        let mut decoder = decoder();
        for (n, whole) in events.iter().enumerate() {
            if feed(&mut decoder, if n == at { &event } else { whole }).is_err() {
                refused += 1;
                return;
            }
        }
    };
    for (at, (event_type, body)) in events.iter().enumerate() {
        for length in 0..body.len() {
            damaged(at, (*event_type, body[..length].to_vec()));
        }
        for byte in 0..body.len() {
            for bits in [0x01, 0x80, 0xff] {
                let mut body = body.clone();
                body[byte] ^= bits;
                damaged(at, (*event_type, body));
            }
        }
    }
    assert!(refused > 500, "{refused} were refused");
}

#[test]
fn strangers_are_refused_by_name() {
    for (event_type, said) in [
        (40, "binlog_transaction_compression"),
        (165, "log_bin_compress"),
        (166, "log_bin_compress"),
        (167, "log_bin_compress"),
        (168, "log_bin_compress"),
        (164, "encrypt_binlog"),
        (26, "lost events"),
        (34, "gtid_mode"),
        (42, "a GTID with a tag"),
        (18, "LOAD DATA"),
        (20, "does not know"),
        (43, "does not know"),
        (172, "does not know"),
        (255, "does not know"),
    ] {
        let error = feed(&mut decoder(), &(event_type, vec![0; 20])).unwrap_err();
        assert!(error.contains(said) && error.contains(&event_type.to_string()), "{error}");
    }
    // What has nothing to say, before the first transaction; the name of the first ROTATE ends in four bytes of junk.
    for event_type in [3, 4, 5, 13, 14, 27, 28, 29, 35, 36, 37, 41, 160, 161, 163] {
        assert_eq!(
            feed(&mut decoder(), &(event_type, b"binlog.000001\x8a\x0b\xfe\x91".to_vec())),
            Ok(vec![])
        );
    }
    // Partial rows of our table.
    let mut decoder = decoder();
    let events = transaction();
    events[..2].iter().for_each(|event| assert_eq!(feed(&mut decoder, event), Ok(vec![])));
    let partial = (39, events[2].1.clone());
    assert!(feed(&mut decoder, &partial).unwrap_err().contains("binlog_row_value_options"));
}

#[test]
fn a_transaction_of_mysql_has_a_uuid_and_begins_with_a_statement() {
    let mut decoder = decoder();
    let uuid: Vec<u8> = (0..16).map(|n| n * 0x11).collect();
    let gtid = [&[1][..], &uuid, &9u64.to_le_bytes()].concat();
    let begin = [&[0; 8][..], &[0, 0, 0, 0, 0, 0], b"BEGIN"].concat();
    for event in [(33, gtid), (2, begin)] {
        assert_eq!(feed(&mut decoder, &event), Ok(vec![]));
    }
    assert!(decoder.position().is_empty());
    assert_eq!(decoder.position_behind().to_string(), "00112233-4455-6677-8899-aabbccddeeff:9");
    assert_eq!(feed(&mut decoder, &(16, vec![0; 8])), Ok(vec![]));
    assert_eq!(decoder.position(), &decoder.position_behind());
}
