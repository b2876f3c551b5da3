//! The statements, as text that never changes: values go in as parameters, and a list of values is repeated a fixed
//! number of times ([`Sized`]) or goes in as one JSON parameter.

/// One statement.
#[derive(Debug)]
pub(super) struct Sql {
    /// Its file, as errors name it.
    pub(super) name: &'static str,
    text: &'static str,
}

impl Sql {
    /// What is sent: the file without its leading comment.
    pub(super) fn body(&self) -> &'static str {
        let mut text = self.text;
        while text.starts_with("--") {
            text = text.split_once('\n').map_or("", |(_, rest)| rest);
        }
        text.trim_end()
    }
}

macro_rules! statements {
    ($($name:ident = $file:literal;)*) => {
        $(pub(super) static $name: Sql =
            Sql { name: $file, text: include_str!(concat!("../../sql/", $file, ".sql")) };)*
    };
}

statements! {
    CREATE_DATABASE = "bootstrap/create_database";
    USE_DATABASE = "bootstrap/use_database";
    CREATE_MIGRATION_TABLE = "bootstrap/create_migration_table";
    HAS_MIGRATION_TABLE = "bootstrap/has_migration_table";
    MIGRATIONS = "bootstrap/migrations";
    RECORD_MIGRATION = "bootstrap/record_migration";
    NAMED_LOCK = "bootstrap/lock";
    NAMED_UNLOCK = "bootstrap/unlock";
    VERSION = "bootstrap/version";
    PREFLIGHT_MARIADB = "bootstrap/preflight_mariadb";
    PREFLIGHT_MYSQL = "bootstrap/preflight_mysql";
    ISOLATION = "bootstrap/isolation";
    SESSION_WRITER = "bootstrap/session_writer";
    SESSION_READER = "bootstrap/session_reader";

    LOCK_SHARDS_SKIP = "commit/lock_shards_skip";
    LOCK_SHARD_WAIT = "commit/lock_shard_wait";
    SHARDS_AND_CLOCK = "commit/shards_and_clock";
    REQUESTS_BETWEEN = "commit/requests_between";
    READ_OBJECT = "commit/read_object";
    READ_EDGE_AND_COUNT = "commit/read_edge_and_count";
    READ_OUTBOX_ROW = "commit/read_outbox_row";
    READ_TOMBSTONE = "commit/read_tombstone";
    READ_OBJECTS = "commit/read_objects";
    READ_EDGES_AND_COUNTS = "commit/read_edges_and_counts";
    READ_OUTBOX_AND_TOMBSTONES = "commit/read_outbox_and_tombstones";
    ADVANCE_SHARDS = "commit/advance_shards";
    PUT_OBJECTS = "commit/put_objects";
    PUT_EDGES = "commit/put_edges";
    PUT_COUNTS = "commit/put_counts";
    PUT_TOMBSTONES = "commit/put_tombstones";
    PUT_OUTBOX = "commit/put_outbox";
    PUT_REQUESTS = "commit/put_requests";
    DELETE_OBJECTS = "commit/delete_objects";
    DELETE_EDGES = "commit/delete_edges";
    DELETE_TOMBSTONES = "commit/delete_tombstones";
    DELETE_OUTBOX = "commit/delete_outbox";
    ASSERT_AFFECTED = "commit/assert_affected";
    BEGIN_IN_BLOCK = "commit/begin_in_block";
    HOLD_SHARD = "commit/hold_shard";
    ADVANCE_BELIEVED = "commit/advance_believed";
    ASSERT_NO_OUTBOX_ROW = "commit/assert_no_outbox_row";
    ASSERT_NO_TOMBSTONE = "commit/assert_no_tombstone";
    READ_COUNT = "commit/read_count";
    RAISE_COUNT = "commit/raise_count";
    OWN_REQUEST = "commit/own_request";
    COMMIT = "commit/commit";
    COMMIT_BLOCK = "commit/commit_block";
    IN_TRANSACTION = "commit/in_transaction";
    ROLLBACK = "commit/rollback";

    OBJECT = "read/object";
    OBJECTS = "read/objects";
    COUNT = "read/count";
    COUNTS = "read/counts";
    EDGE = "read/edge";
    EDGES = "read/edges";
    LIST = "read/list";
    LIST_WHOLE = "read/list_whole";
    LISTS_WHOLE = "read/lists_whole";

    SCAN_OBJECTS = "scan/objects";
    SCAN_EDGES = "scan/edges";
    SCAN_COUNTS = "scan/counts";
    SCAN_OUTBOX = "scan/outbox";

    SHARD_ROWS = "admin/shard_rows";
    SHARD_ROWS_OF = "admin/shard_rows_of";
    CREATE_SHARDS = "admin/create_shards";
    CREATE_HISTORY = "admin/create_history";
    SET_STATE = "admin/set_state";
    EXPIRED_REQUESTS = "admin/expired_requests";
    DELETE_REQUESTS = "admin/delete_requests";
    TOMBSTONES_PAGE = "admin/tombstones_page";
    DELETE_EXPIRED_TOMBSTONES = "admin/delete_tombstones";

    CLOCK = "log/clock";
    BEAT = "log/beat";
    MARK = "log/mark";
    MARKS = "log/marks";
    SURVEY = "log/survey";
    EXECUTED_MARIADB = "log/executed_mariadb";
    EXECUTED_MYSQL = "log/executed_mysql";
    TOPOLOGY = "log/topology";
    STORE_TOPOLOGY = "log/store_topology";
    READ_ONLY = "log/read_only";
    TAIL_MARIADB = "log/tail_mariadb";
    TAIL_MYSQL = "log/tail_mysql";

    VARIABLES = "preflight/variables";
    GRANTS = "preflight/grants";
    LOG_MARIADB = "preflight/log_mariadb";
    LOG_MYSQL = "preflight/log_mysql";
    REPLICA_MARIADB = "preflight/replica_mariadb";
    REPLICA_MYSQL = "preflight/replica_mysql";

    MOVE_PAGE_OBJECT = "moves/page_object";
    MOVE_PAGE_ASSOC = "moves/page_assoc";
    MOVE_PAGE_ASSOC_COUNT = "moves/page_assoc_count";
    MOVE_PAGE_OUTBOX = "moves/page_outbox";
    MOVE_PAGE_TOMBSTONE = "moves/page_tombstone";
    MOVE_PAGE_REQUEST = "moves/page_request";
    MOVE_PAGE_EPOCH_HISTORY = "moves/page_epoch_history";
    MOVE_SIZES_OBJECT = "moves/sizes_object";
    MOVE_SIZES_ASSOC = "moves/sizes_assoc";
    MOVE_SIZES_OUTBOX = "moves/sizes_outbox";
    MOVE_SIZES_REQUEST = "moves/sizes_request";
    MOVE_RANGE_OBJECT = "moves/range_object";
    MOVE_RANGE_ASSOC = "moves/range_assoc";
    MOVE_RANGE_ASSOC_COUNT = "moves/range_assoc_count";
    MOVE_RANGE_OUTBOX = "moves/range_outbox";
    MOVE_RANGE_TOMBSTONE = "moves/range_tombstone";
    MOVE_RANGE_REQUEST = "moves/range_request";
    MOVE_RANGE_EPOCH_HISTORY = "moves/range_epoch_history";
    MOVE_PUT_REQUESTS = "moves/put_requests";
    MOVE_PUT_HISTORY = "moves/put_history";
    MOVE_DELETE_REQUESTS = "moves/delete_requests";
    MOVE_DELETE_HISTORY = "moves/delete_history";
    MOVE_DELETE_COUNTS = "moves/delete_counts";
    MOVE_INSERT_SHARD = "moves/insert_shard";
    MOVE_UPDATE_SHARD = "moves/update_shard";
    MOVE_INSERT_RECORD = "moves/insert_record";
    MOVE_UPDATE_RECORD = "moves/update_record";
    MOVE_RECORDS = "moves/records";
    MOVE_RECORDS_LOCKED = "moves/records_locked";
    MOVE_ANY_ROWS = "moves/any_rows";
    MOVE_COUNT_ROWS = "moves/count_rows";
    MOVE_THREADS_RUNNING = "moves/threads_running";
    MOVE_HISTORY_LENGTH = "moves/history_length";
    MOVE_FACTS = "moves/facts";
    MOVE_DISK_ROOM = "moves/disk_room";
    MOVE_COLUMNS = "moves/columns";

    BOOK_COUNTER_ROW = "book/counter_row";
    BOOK_COUNT = "book/count";
    BOOK_COUNTED = "book/counted";
    BOOK_BEGIN = "book/begin";
    BOOK_ENTRIES = "book/entries";
    BOOK_NOTE = "book/note";
    BOOK_ORDER = "book/order";
    BOOK_LEASE = "book/lease";
    BOOK_LET_GO = "book/let_go";
}

/// How often the part in braces may be repeated. Steps of half and a third keep both the number of prepared statements
/// and the padding small.
pub(super) const STEPS: [usize; 18] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512];

/// A statement with a part in braces, repeated: one text for each step.
#[derive(Debug)]
pub(super) struct Sized {
    /// As in the file, with the part in braces.
    pub(super) sql: &'static Sql,
    texts: Vec<String>,
}

impl Sized {
    /// Makes all texts of a statement that has a part in braces.
    pub(super) fn new(sql: &'static Sql) -> Self {
        let texts = STEPS.iter().map(|step| repeat(sql.body(), *step)).collect();
        Self { sql, texts }
    }

    /// The text for a number of repetitions, which is one of [`STEPS`].
    pub(super) fn text(&self, step: usize) -> &str {
        match STEPS.binary_search(&step) {
            Ok(at) => &self.texts[at],
            Err(_) => unreachable!("{step} is not a step: callers take it from STEPS"),
        }
    }
}

fn repeat(body: &str, times: usize) -> String {
    let Some((before, rest)) = body.split_once('{') else { return body.to_owned() };
    let Some((part, after)) = rest.split_once('}') else { return body.to_owned() };
    format!("{before}{}{after}", vec![part; times].join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_in_braces_is_repeated() {
        assert_eq!(Sized::new(&LOCK_SHARDS_SKIP).text(3).matches('?').count(), 3);
        assert_eq!(Sized::new(&PUT_EDGES).text(512).matches('?').count(), 512 * 7);
        assert!(!PUT_EDGES.body().contains("--") && PUT_REQUESTS.body().starts_with("INSERT"));
    }
}
