//! One server of the fleet: its folder, its process, and the proof that it answers.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts};

use super::config::ServerSettings;
use super::error::{FleetError, IoContext as _};
use super::guard::ProcessGuard;
use super::identity::Dsn;
use super::{FleetOptions, Identity, SERVERS_MAX, clock, template};

/// Between two attempts to log in to a starting server, and two looks at whether it still runs.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// One attempt: a server that takes longer is not ready.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(5);

/// What starting any server of the fleet needs.
pub(super) struct Plan {
    pub(super) options: FleetOptions,
    pub(super) root: PathBuf,
    pub(super) template: PathBuf,
    pub(super) identity: Identity,
    /// Locks the data folder for as long as a server of it runs.
    pub(super) lock: File,
}

/// A running process, known by its index.
pub(super) struct Running {
    pub(super) port: u16,
    pub(super) dsn: Dsn,
    pub(super) process: ProcessGuard,
}

/// A free port, kept from others until it is given to a server.
pub(super) struct ReservedPort(TcpListener);

impl ReservedPort {
    /// `wanted` if it is free, else any.
    pub(super) fn take(wanted: Option<u16>) -> std::io::Result<Self> {
        let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        wanted.and_then(|port| bind(port).ok()).map_or_else(|| bind(0), Ok).map(Self)
    }

    /// This port or none.
    pub(super) fn exactly(port: u16) -> std::io::Result<Self> {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(Self)
    }

    /// As if somebody else had been faster: the port is in use, and stays so with the first value.
    #[cfg(test)]
    pub(super) fn stolen(self) -> std::io::Result<(TcpListener, Self)> {
        Ok((self.0.try_clone()?, self))
    }

    pub(super) fn number(&self) -> std::io::Result<u16> {
        Ok(self.0.local_addr()?.port())
    }
}

/// Starts server `index` on the port and waits until it lets us in.
pub(super) async fn start(plan: Arc<Plan>, index: usize, port: ReservedPort) -> Result<Running, FleetError> {
    let number = port.number().at("look at a port of", &plan.root)?;
    let (planned, log) = (Arc::clone(&plan), log_path(&plan.root, index));
    let (process, log_start, server_id) = blocking(move || {
        let server_id = planned.server_id(index)?;
        launch(&planned, index, server_id, port).map(|(process, log_start)| (process, log_start, server_id))
    })
    .await?;
    let mut running = Running { port: number, dsn: plan.identity.dsn(number), process };
    let limit = plan.options.start_timeout;
    let mut last = String::from("not asked yet");
    let ready = async {
        loop {
            match login(&running.dsn, server_id).await {
                Ok(()) => return,
                Err(reason) => last = reason,
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let ended = async {
        while running.process.is_running() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let outcome = tokio::select! {
        () = ready => return Ok(running),
        () = ended => None,
        () = tokio::time::sleep(limit) => Some(limit),
    };
    let log = template::tail(&log, log_start);
    Err(match outcome {
        None => FleetError::Ended { index, port: number, log },
        Some(limit) => FleetError::Timeout { index, port: number, limit, last, log },
    })
}

/// Whether a server ended because somebody else took its port between reservation and start.
pub(super) fn port_was_taken(error: &FleetError) -> bool {
    matches!(error, FleetError::Ended { log, .. } if log.contains("Bind on TCP/IP port"))
}

/// Runs blocking work on the runtime's threads for it; its own panic goes on here.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FleetError> + Send + 'static,
) -> Result<T, FleetError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(FleetError::Io { what: "run".into(), source: std::io::Error::other(error) }),
        },
    }
}

/// Logs in with the fleet's own random password and asks for the server id: only our server can answer right, not one
/// that happens to listen on the same port.
async fn login(dsn: &Dsn, server_id: u32) -> Result<(), String> {
    let attempt = async {
        let opts = Opts::from_url(&dsn.expose()).map_err(mysql_async::Error::from)?;
        let mut conn = Conn::new(opts).await?;
        let id: Option<u32> = conn.query_first(include_str!("sql/server_id.sql")).await?;
        conn.disconnect().await?;
        Ok::<_, mysql_async::Error>(id)
    };
    match tokio::time::timeout(ATTEMPT_LIMIT, attempt).await {
        Ok(Ok(id)) if id == Some(server_id) => Ok(()),
        Ok(Ok(_)) => Err("another server of this fleet answers".into()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer in {ATTEMPT_LIMIT:?}")),
    }
}

/// Makes the server's folder if needed, writes its settings, starts it. Also returns where its part of the log begins.
fn launch(
    plan: &Plan,
    index: usize,
    server_id: u32,
    port: ReservedPort,
) -> Result<(ProcessGuard, u64), FleetError> {
    let binary = &plan.options.binary;
    let folder = plan.folder(index);
    let (data, tmp) = (plan.data(index), folder.join("tmp"));
    if !data.is_dir() {
        fs::create_dir_all(&folder).at("create", &folder)?;
        template::copy(&plan.template, &data, plan.options.data_dir.is_some())?;
    }
    // A killed server leaves its temporary tables, and a socket lock that names a process id, by now perhaps another's.
    for left_over in ["server.sock", "server.sock.lock"] {
        template::remove_if_there(&data.join(left_over))?;
    }
    if tmp.exists() {
        fs::remove_dir_all(&tmp).at("empty", &tmp)?;
    }
    fs::create_dir(&tmp).at("create", &tmp)?;
    let settings = ServerSettings {
        flavour: binary.flavour(),
        folder: &folder,
        data: &data,
        port: port.number().at("look at a port of", &folder)?,
        server_id,
        buffer_pool_bytes: plan.options.buffer_pool_bytes,
        redo_log_bytes: plan.options.redo_log_bytes,
        read_only: plan.options.replicas > 0,
    };
    let settings_path = folder.join("my.cnf");
    write_private(&settings_path, &settings.render())?;
    write_private(&folder.join("account.sql"), &plan.identity.account_sql(binary))?;
    let log = log_path(&plan.root, index);
    let log_start = fs::metadata(&log).map_or(0, |meta| meta.len());
    let defaults = PathBuf::from(format!("--defaults-file={}", settings_path.display()));
    let held = plan.lock.try_clone().at("hold the lock of", &plan.root)?;
    // Free from here on; whoever is faster than our server makes it end, see `port_was_taken`.
    drop(port);
    let mut command = plan.clock_command(index)?;
    command.extend([binary.path().to_owned(), defaults]);
    let command: Vec<&Path> = command.iter().map(PathBuf::as_path).collect();
    let process =
        ProcessGuard::spawn(&command, Path::new("/dev/null"), &log, held).at("run", binary.path())?;
    Ok((process, log_start))
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan")
            .field("options", &self.options)
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl Plan {
    /// The folder of a server.
    fn folder(&self, index: usize) -> PathBuf {
        self.root.join(format!("server-{index}"))
    }

    /// The folder on which its own disk is mounted, if it has one.
    pub(super) fn disk(&self, index: usize) -> PathBuf {
        self.folder(index).join("disk")
    }

    fn data(&self, index: usize) -> PathBuf {
        let folder = self.options.disk_bytes.map_or_else(|| self.folder(index), |_| self.disk(index));
        folder.join("data")
    }

    /// The file with the offset of a server's clock.
    pub(super) fn clock(&self, index: usize) -> PathBuf {
        self.folder(index).join("clock")
    }

    /// What a server is started with so that it has a clock of its own: nothing if it has none. The clock is right at first.
    fn clock_command(&self, index: usize) -> Result<Vec<PathBuf>, FleetError> {
        let Some(library) = &self.options.clock_library else { return Ok(Vec::new()) };
        let file = self.clock(index);
        clock::write_clock_offset(&file, 0).at("write", &file)?;
        let mut command = vec![PathBuf::from("env")];
        for (name, value) in clock::clock_environment(library, &file) {
            let mut setting = std::ffi::OsString::from(format!("{name}="));
            setting.push(value);
            command.push(setting.into());
        }
        Ok(command)
    }

    /// Differs from that of every server of the fleet, and from those that this one had before its data was thrown away:
    /// a server skips what it is sent under its own id, as coming from itself.
    fn server_id(&self, index: usize) -> Result<u32, FleetError> {
        let generation = self.generation(index)?.wrapping_mul(SERVERS_MAX as u32);
        // Both are bounded far below what is left above the largest first id.
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        Ok(self.identity.first_server_id.saturating_add(index).saturating_add(generation))
    }

    /// How often the data of a server was thrown away.
    fn generation(&self, index: usize) -> Result<u32, FleetError> {
        let path = self.folder(index).join("generation");
        match fs::read_to_string(&path) {
            Ok(text) => text
                .trim()
                .parse()
                .map_err(|_| FleetError::BadData { path, reason: format!("{text:?} is no number") }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error).at("read", &path),
        }
    }

    /// Throws away the data of a server that does not run: its next start begins with an empty one under a new id. Blocks.
    pub(super) fn wipe(&self, index: usize) -> Result<(), FleetError> {
        let (data, generation) = (self.data(index), self.generation(index)? + 1);
        // First: a crash in between must not leave the old id on new data.
        let path = self.folder(index).join("generation");
        write_private(&path, &generation.to_string())?;
        match fs::remove_dir_all(&data) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).at("remove", &data),
            _ => Ok(()),
        }
    }
}

fn log_path(root: &Path, index: usize) -> PathBuf {
    root.join(format!("server-{index}")).join("error.log")
}

fn write_private(path: &Path, text: &str) -> Result<(), FleetError> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).and_then(|mut file| file.write_all(text.as_bytes())).at("write", path)
}
