//! The template: an empty database, made once per server version and user, that every new server is a copy of.
//! Making one takes seconds, copying it a fraction of one.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::binary::{Flavour, ServerBinary};
use super::config;
use super::error::{FleetError, IoContext as _};
use super::guard::{FolderGuard, ProcessGuard};

/// Part of the template's name: raise it when what is put into a template changes.
const TEMPLATE_FORMAT: u32 = 1;
/// MySQL needs about 4 s, MariaDB about 1 s; a machine that needs this long is not going to be of use.
const MAKE_LIMIT: Duration = Duration::from_secs(180);
/// Copied or left out as one; the size of an InnoDB page.
const COPY_BLOCK: usize = 16 << 10;
/// What a command that ended well leaves on its guard's pipe.
const DONE: &[u8] = b"done\n";
/// Runs a command and reports its good end on the pipe (descriptor 9) that the guard gave it.
const REPORT: &str = r#""$@" && printf 'done\n' >&9"#;

/// The folder of the template for `binary`, made now if there is none. Blocks. Many processes may call this at the
/// same time: one makes it, the others wait for that.
pub(super) fn ensure(binary: &ServerBinary) -> Result<PathBuf, FleetError> {
    let cache = cache_folder()?;
    let name = format!("{}-{}-{TEMPLATE_FORMAT}", binary.flavour(), binary.version()).to_lowercase();
    let template = cache.join(&name);
    if template.is_dir() {
        return Ok(template);
    }
    let lock_path = cache.join(format!("{name}.lock"));
    let lock = File::create(&lock_path).at("open", &lock_path)?;
    // Freed by the kernel with the last of its holders, so a killed maker leaves no stale lock.
    lock.lock().at("lock", &lock_path)?;
    if template.is_dir() {
        return Ok(template);
    }
    // Beside the template, so that the rename is atomic: a template either is whole or is not there.
    let draft = cache.join(format!("{name}.draft-{:016x}", rand::random::<u64>()));
    let guard = FolderGuard::create(&draft).at("create", &draft)?;
    let data = draft.join("data");
    make(binary, &draft, &data, &lock)?;
    fs::rename(&data, &template).at("rename to", &template)?;
    drop(guard);
    Ok(template)
}

/// Copies a template to `target`, which must not exist: first beside it, then renamed, so that a folder of that name
/// is always whole. `durable` also brings it to the disk. Blocks.
pub(super) fn copy(template: &Path, target: &Path, durable: bool) -> Result<(), FleetError> {
    let draft = target.with_extension("draft");
    if draft.exists() {
        fs::remove_dir_all(&draft).at("remove", &draft)?;
    }
    copy_folder(template, &draft)?;
    if durable {
        sync_folder(&draft)?;
    }
    fs::rename(&draft, target).at("rename to", target)
}

fn make(binary: &ServerBinary, draft: &Path, data: &Path, lock: &File) -> Result<(), FleetError> {
    let log = draft.join("log");
    let input = draft.join("bootstrap.sql");
    fs::create_dir(data).at("create", data)?;
    let mut script = File::create(&input).at("create", &input)?;
    if binary.flavour() == Flavour::MariaDb {
        write_bootstrap(binary, &mut script)?;
    }
    let settings = draft.join("my.cnf");
    fs::write(&settings, config::template_settings(binary.flavour(), data)).at("write", &settings)?;
    let defaults = PathBuf::from(format!("--defaults-file={}", settings.display()));
    let mode = match binary.flavour() {
        // What mariadb-install-db runs in the end; the script itself needs programs of the client package.
        Flavour::MariaDb => "--bootstrap",
        Flavour::MySql => "--initialize-insecure",
    };
    let command: [&Path; 7] = [
        "sh".as_ref(),
        "-c".as_ref(),
        REPORT.as_ref(),
        "sh".as_ref(),
        binary.path(),
        &defaults,
        mode.as_ref(),
    ];
    let held = lock.try_clone().at("hold the lock in", draft)?;
    let mut process = ProcessGuard::spawn(&command, &input, &log, held).at("run", binary.path())?;
    let ended = process.wait_end(MAKE_LIMIT);
    if !ended || process.said() != DONE {
        return Err(FleetError::Template { path: data.to_owned(), log: tail(&log, 0) });
    }
    for left_over in ["auto.cnf", "ib_buffer_pool"] {
        remove_if_there(&data.join(left_over))?;
    }
    // Before the rename: after a power failure the name must not stand for half-written files.
    sync_folder(data)
}

/// The statements that MariaDB's distribution brings for a new database, one file after the other.
fn write_bootstrap(binary: &ServerBinary, script: &mut File) -> Result<(), FleetError> {
    let bad = |reason: String| FleetError::BadBinary { path: binary.path().to_owned(), reason };
    let prefix = binary.path().parent().and_then(Path::parent).unwrap_or(Path::new("/usr"));
    let shares = ["share/mysql", "share/mariadb", "share"].map(|share| prefix.join(share));
    let usual = ["/usr/share/mysql", "/usr/share/mariadb"].map(PathBuf::from);
    let share = shares.iter().chain(&usual).find_map(|share| {
        // Since 11 the files carry the new name.
        ["mysql", "mariadb"]
            .iter()
            .map(|name| (share, *name))
            .find(|(share, name)| share.join(format!("{name}_system_tables.sql")).is_file())
    });
    let Some((share, name)) = share else {
        return Err(bad(
            "its mysql_system_tables.sql was not found in share/ beside it nor in /usr/share".into()
        ));
    };
    let mut text = include_str!("sql/bootstrap_mariadb.sql").to_owned();
    for part in ["system_tables", "system_tables_data"] {
        let file = share.join(format!("{name}_{part}.sql"));
        let statements = fs::read_to_string(&file).at("read", &file)?;
        // The same on every host: no account for the host's own name (what --cross-bootstrap leaves out, too).
        text.extend(
            statements
                .lines()
                .filter(|line| !line.contains("@current_hostname"))
                .flat_map(|line| [line, "\n"]),
        );
    }
    script.write_all(text.as_bytes()).at("write the bootstrap script for", binary.path())
}

/// `$XDG_CACHE_HOME/tao/templates`, else `~/.cache/tao/templates`, else (no home, or not writable) a folder of this
/// user's among the temporary files.
fn cache_folder() -> Result<PathBuf, FleetError> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    if let Some(folder) = cache.map(|cache| cache.join("tao/templates"))
        && fs::create_dir_all(&folder).is_ok()
        && tempfile::tempfile_in(&folder).is_ok()
    {
        return Ok(folder);
    }
    let user = rustix::process::geteuid().as_raw();
    let folder = std::env::temp_dir().join(format!("tao-templates-{user}"));
    match fs::create_dir(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error).at("create", &folder),
        // Somebody else's folder could hold a database with an account that they know.
        _ if fs::symlink_metadata(&folder).is_ok_and(|meta| meta.is_dir() && meta.uid() == user) => {
            Ok(folder)
        }
        _ => Err(io::Error::other("it belongs to another user")).at("use", &folder),
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), FleetError> {
    fs::create_dir(to).at("create", to)?;
    for entry in fs::read_dir(from).at("list", from)? {
        let entry = entry.at("list", from)?;
        let target = to.join(entry.file_name());
        if entry.file_type().at("look at", &entry.path())?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            copy_file(&entry.path(), &target).at("copy to", &target)?;
        }
    }
    Ok(())
}

/// Leaves holes where the original has zeros, two thirds of a MySQL template: what is not written does not compete with
/// the first commits for the disk.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let (mut source, target) = (File::open(from)?, File::create_new(to)?);
    let meta = source.metadata()?;
    let mut block = [0; COPY_BLOCK];
    let mut position = 0;
    loop {
        let length = source.read(&mut block)?;
        let data = block.get(..length).unwrap_or_default();
        if data.is_empty() {
            break;
        }
        if data.iter().any(|byte| *byte != 0) {
            target.write_all_at(data, position)?;
        }
        position += length as u64;
    }
    target.set_len(position)?;
    target.set_permissions(meta.permissions())
}

fn sync_folder(folder: &Path) -> Result<(), FleetError> {
    for entry in fs::read_dir(folder).at("list", folder)? {
        let path = entry.at("list", folder)?.path();
        if path.is_dir() {
            sync_folder(&path)?;
        } else {
            File::open(&path).and_then(|file| file.sync_all()).at("sync", &path)?;
        }
    }
    File::open(folder).and_then(|folder| folder.sync_all()).at("sync", folder)
}

pub(super) fn remove_if_there(path: &Path) -> Result<(), FleetError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove", path),
        _ => Ok(()),
    }
}

/// The last lines of a log, of what was written after the first `skip` bytes.
pub(super) fn tail(log: &Path, skip: u64) -> String {
    const LINES: usize = 20;
    let bytes = fs::read(log).unwrap_or_default();
    let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
    let text = String::from_utf8_lossy(bytes.get(skip..).unwrap_or_default());
    let lines: Vec<&str> = text.lines().collect();
    match lines.len() {
        0 => format!("(nothing in {})", log.display()),
        count => lines.get(count.saturating_sub(LINES)..).unwrap_or_default().join("\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_the_same_to_the_byte_and_whole_or_absent() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("inner")).unwrap();
        let mut holes = vec![0; 5 * COPY_BLOCK + 3];
        holes[COPY_BLOCK] = 1;
        let contents: [(&str, &[u8]); 4] =
            [("empty", b""), ("short", b"x"), ("inner/zeros", &[0; COPY_BLOCK + 1]), ("holes", &holes)];
        for (name, content) in contents {
            fs::write(from.join(name), content).unwrap();
        }
        // What a killed copy left.
        fs::create_dir(to.with_extension("draft")).unwrap();
        copy(&from, &to, true).unwrap();
        for (name, content) in contents {
            assert_eq!(fs::read(to.join(name)).unwrap(), content, "{name}");
        }
        assert!(!to.with_extension("draft").exists());
    }
}
