//! The servers' settings. Durable (R1) and ready for the binlog tail and for replication (R8) from the first start.

use std::fmt::Write as _;
use std::path::Path;

use super::binary::Flavour;

/// What differs from server to server.
pub(super) struct ServerSettings<'a> {
    pub(super) flavour: Flavour,
    /// The server's own folder, for temporary files and logs.
    pub(super) folder: &'a Path,
    /// The folder of its data and socket.
    pub(super) data: &'a Path,
    pub(super) port: u16,
    pub(super) server_id: u32,
    pub(super) buffer_pool_bytes: u64,
    pub(super) redo_log_bytes: u64,
    /// Whether it starts shut. A server of a group with replicas does: only somebody who knows which one is the primary
    /// opens it.
    pub(super) read_only: bool,
}

/// For both flavours.
const COMMON: &str = "\
bind_address=127.0.0.1
skip_name_resolve=ON
local_infile=OFF
performance_schema=OFF
max_connections=500
max_allowed_packet=64M
character_set_server=utf8mb4
transaction_isolation=READ-COMMITTED
innodb_flush_log_at_trx_commit=1
innodb_buffer_pool_dump_at_shutdown=OFF
innodb_buffer_pool_load_at_startup=OFF
sync_binlog=1
log_bin=binlog
binlog_format=ROW
binlog_row_image=FULL
binlog_row_metadata=FULL
binlog_expire_logs_seconds=604800
relay_log=relay
relay_log_recovery=OFF
";

const MARIADB: &str = "\
gtid_strict_mode=ON
log_slave_updates=ON
slave_net_timeout=5
slave_parallel_threads=4
slave_parallel_mode=conservative
master_retry_count=0
";

// secure_file_priv: the default of distributions is a folder that exists only where their package made it.
const MYSQL: &str = "\
gtid_mode=ON
enforce_gtid_consistency=ON
log_replica_updates=ON
replica_net_timeout=5
replica_preserve_commit_order=ON
mysqlx=OFF
event_scheduler=OFF
secure_file_priv=NULL
";

/// The smallest redo log that MySQL takes; keeps a template small.
const TEMPLATE_REDO_LOG_BYTES: u64 = 8 << 20;

// === impl ServerSettings ===

impl ServerSettings<'_> {
    /// The text of the server's `my.cnf`.
    pub(super) fn render(&self) -> String {
        let mut text = String::from("[mysqld]\n");
        set_path(&mut text, "datadir", self.data);
        set_path(&mut text, "tmpdir", &self.folder.join("tmp"));
        set_path(&mut text, "init_file", &self.folder.join("account.sql"));
        // Relative to datadir, in which the server runs: an absolute path might be longer than a socket address (107).
        set(&mut text, "socket", "server.sock");
        set(&mut text, "pid_file", "server.pid");
        if self.read_only {
            text.push_str(&shut_settings(self.flavour));
        }
        set_user(&mut text);
        set(&mut text, "innodb_buffer_pool_size", self.buffer_pool_bytes);
        set(&mut text, redo_log_setting(self.flavour), self.redo_log_bytes);
        text.push_str(&placeless_settings(self.flavour, self.port, self.server_id));
        text
    }
}

/// What every server of the tier needs, wherever its files are.
pub(super) fn placeless_settings(flavour: Flavour, port: u16, server_id: u32) -> String {
    let mut text = String::new();
    set(&mut text, "port", port);
    set(&mut text, "server_id", server_id);
    text.push_str(COMMON);
    text.push_str(match flavour {
        Flavour::MariaDb => MARIADB,
        Flavour::MySql => MYSQL,
    });
    text
}

/// A server that starts shut.
pub(super) fn shut_settings(flavour: Flavour) -> String {
    let mut text = String::new();
    set(&mut text, read_only_setting(flavour), "ON");
    // Not before the mode is set: what a replica fetches without it is never acknowledged.
    set(&mut text, skip_start_setting(flavour), "ON");
    text
}

/// The `my.cnf` with which a template is made in `data`.
pub(super) fn template_settings(flavour: Flavour, data: &Path) -> String {
    let mut text = String::from("[mysqld]\n");
    set_path(&mut text, "datadir", data);
    set(&mut text, redo_log_setting(flavour), TEMPLATE_REDO_LOG_BYTES);
    set_user(&mut text);
    text.push_str("performance_schema=OFF\ncharacter_set_server=utf8mb4\n");
    text.push_str(match flavour {
        Flavour::MariaDb => "enforce_storage_engine=\nmax_allowed_packet=8M\nnet_buffer_length=16K\n",
        Flavour::MySql => "skip_log_bin\nmysqlx=OFF\nsecure_file_priv=NULL\n",
    });
    text
}

fn redo_log_setting(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::MariaDb => "innodb_log_file_size",
        Flavour::MySql => "innodb_redo_log_capacity",
    }
}

/// MySQL can shut out privileged accounts, too.
fn read_only_setting(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::MariaDb => "read_only",
        Flavour::MySql => "super_read_only",
    }
}

fn skip_start_setting(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::MariaDb => "skip_slave_start",
        Flavour::MySql => "skip_replica_start",
    }
}

fn set(text: &mut String, name: &str, value: impl std::fmt::Display) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{name}={value}");
}

/// In quotes, with `\` doubled: so a path may contain spaces and `#`.
fn set_path(text: &mut String, name: &str, path: &Path) {
    let path = path.display().to_string().replace('\\', "\\\\");
    let _ = writeln!(text, "{name}=\"{path}\"");
}

/// Both servers refuse to run as root unless told.
fn set_user(text: &mut String) {
    if rustix::process::geteuid().is_root() {
        text.push_str("user=root\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(flavour: Flavour) -> String {
        let folder = Path::new("/a folder/with # in it");
        let settings = ServerSettings {
            flavour,
            folder,
            data: &folder.join("data"),
            port: 4711,
            server_id: 3,
            buffer_pool_bytes: 1,
            redo_log_bytes: 2,
            read_only: true,
        };
        settings.render()
    }

    #[test]
    fn each_flavour_gets_its_own_words() {
        let (mariadb, mysql) = (settings(Flavour::MariaDb), settings(Flavour::MySql));
        assert!(mariadb.contains("\ngtid_strict_mode=ON\n") && !mariadb.contains("gtid_mode"));
        assert!(mariadb.contains("\ninnodb_log_file_size=2\n") && mariadb.contains("\nread_only=ON\n"));
        assert!(mysql.contains("\ngtid_mode=ON\n") && !mysql.contains("gtid_strict_mode"));
        assert!(mysql.contains("\ninnodb_redo_log_capacity=2\n") && mysql.contains("\nsuper_read_only=ON\n"));
        for text in [&mariadb, &mysql] {
            assert!(text.contains("\nport=4711\n") && text.contains("\nserver_id=3\n"));
            assert!(text.contains("\ndatadir=\"/a folder/with # in it/data\"\n"), "{text}");
        }
    }

    #[test]
    fn no_setting_is_given_twice() {
        for flavour in [Flavour::MariaDb, Flavour::MySql] {
            let text = settings(flavour);
            let mut names: Vec<&str> =
                text.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{text}");
        }
    }
}
