//! Private database servers on this machine, for tests and `tao dev`: `mariadbd` or `mysqld` processes on free
//! loopback ports, in one data folder, gone when their [`Fleet`] is.
//!
//! # What is promised
//!
//! - No server process and no temporary folder outlives the fleet, whether it is stopped, dropped, or this process is
//!   killed (see `guard`). A folder that the caller named is kept, and a fleet started on it again has its data.
//! - The servers are durable ([R1]: both flush settings are 1) and write a full ROW binlog with GTIDs.
//! - A server counts as started when it has let the fleet's own account in: no other server can pass for it.
//!
//! # Replicas
//!
//! Server `replica * groups + group` is in the host group and place that [`Server::group`] and [`Server::replica`] say, so
//! the servers of a data folder keep their indexes when replicas are added. See `replicas` for who follows whom.
//!
//! # What is in the data folder
//!
//! `fleet.json` (credentials, ports; mode 600), `fleet.lock` (held while any server of the fleet runs), and for each
//! server `server-N/` with `data/`, `tmp/`, `my.cnf`, `account.sql`, `error.log` and, if it was rebuilt, `generation`.

mod binary;
mod clock;
mod config;
mod disk;
mod error;
mod faults;
#[cfg(test)]
mod faults_tests;
mod files;
mod guard;
mod identity;
mod replicas;
#[cfg(test)]
mod replicas_tests;
mod server;
mod template;
#[cfg(test)]
mod tests;

use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tao_schema::topology::ReplicationMode;

pub use binary::{
    Flavour, MARIADB_VARIABLE, MYSQL_VARIABLE, REQUIRE_VARIABLE, SERVER_VARIABLE, ServerBinary, test_servers,
};
pub use clock::{NO_CLOCK_LIBRARY, clock_environment, clock_library, write_clock_offset};
pub use disk::can_mount;
pub use error::FleetError;
pub use files::ServerFiles;
pub use identity::Dsn;

use disk::Disk;
use error::IoContext as _;
use guard::FolderGuard;
use identity::Identity;
use server::{Plan, ReservedPort, Running, blocking};

/// More would not fit the ports and memory of one machine.
const SERVERS_MAX: usize = 64;
/// A fleet that was killed gives its folder up within moments.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_LOOK_EVERY: Duration = Duration::from_millis(20);
/// Every further start of a server takes a fresh port; losing the race this often is no accident.
const PORT_TRIES: usize = 5;
/// How long a server may take to shut down in order; then it is killed, which costs it a recovery at its next start.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// How to start a [`Fleet`].
#[derive(Debug, Clone)]
pub struct FleetOptions {
    /// The program that every server runs.
    pub binary: ServerBinary,
    /// How many host groups, at least 1.
    pub groups: usize,
    /// How many replicas each group has, beside its primary: so many further regions. With any, all servers start
    /// read-only, until [`Fleet::replicate`]. All in all there may be 64 servers.
    pub replicas: usize,
    /// What an acknowledged write is worth (R5), if there are replicas.
    pub mode: ReplicationMode,
    /// `None`: a temporary folder, removed at the end. `Some`: kept; made if it does not exist, else its data is used.
    pub data_dir: Option<PathBuf>,
    /// InnoDB buffer pool of each server, in bytes. Default: 128 MiB.
    pub buffer_pool_bytes: u64,
    /// InnoDB redo log of each server, in bytes. Default: 16 MiB.
    pub redo_log_bytes: u64,
    /// Gives each server's data a disk of this size of its own, in memory, that [`Fleet::fill_disk`] can fill. Needs root
    /// (see [`can_mount`]) and a temporary folder. Default: none.
    pub disk_bytes: Option<u64>,
    /// `libfaketime`, so that each server has a wall clock of its own, for [`Fleet::set_clock_offset`]. Default: none.
    pub clock_library: Option<PathBuf>,
    /// How long a server may take until it lets us in. Default: 60 s.
    pub start_timeout: Duration,
}

/// Running servers. Dropping it kills them (SIGKILL; they are durable) and blocks until they are gone, some tens of
/// milliseconds; [`Fleet::stop`] does it in order.
#[derive(Debug)]
pub struct Fleet {
    // Before the folder, so that they have ended when it is removed.
    processes: Vec<Option<guard::ProcessGuard>>,
    servers: Vec<Server>,
    plan: Arc<Plan>,
    // Before the folder that they are mounted in.
    disks: Vec<Arc<Disk>>,
    folder: Option<FolderGuard>,
}

/// One server of a fleet.
#[derive(Debug, Clone)]
pub struct Server {
    index: usize,
    group: usize,
    replica: usize,
    port: u16,
    dsn: Dsn,
    pid: Option<u32>,
}

// === impl FleetOptions ===

impl FleetOptions {
    /// Temporary servers with the defaults: so many host groups of one server each.
    #[must_use]
    pub fn new(binary: ServerBinary, groups: usize) -> Self {
        Self {
            binary,
            groups,
            replicas: 0,
            mode: ReplicationMode::Async,
            data_dir: None,
            buffer_pool_bytes: 128 << 20,
            redo_log_bytes: 16 << 20,
            disk_bytes: None,
            clock_library: None,
            start_timeout: Duration::from_secs(60),
        }
    }

    /// All servers of all groups.
    const fn servers(&self) -> usize {
        self.groups.saturating_mul(self.replicas.saturating_add(1))
    }
}

// === impl Server ===

impl Server {
    /// Its place in [`Fleet::servers`]; the same data folder gives the same server the same index.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Index of its host group.
    #[must_use]
    pub fn group(&self) -> usize {
        self.group
    }

    /// Its place in the host group, which is that of its region: 0 to [`FleetOptions::replicas`].
    #[must_use]
    pub fn replica(&self) -> usize {
        self.replica
    }

    /// The TCP port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Address and credentials of an account that may do everything, but write on a read-only server.
    #[must_use]
    pub fn dsn(&self) -> &Dsn {
        &self.dsn
    }

    /// The server's process; `None` after [`Fleet::kill`].
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }
}

// === impl Fleet ===

impl Fleet {
    /// Starts all servers side by side and returns when each lets us in.
    ///
    /// Cancellation-safe: a dropped call leaves nothing running.
    ///
    /// # Errors
    /// The options are impossible, the folder is in use or of the other engine, or a server failed to start: then the
    /// error holds the end of its log, and no server is left running.
    pub async fn start(options: FleetOptions) -> Result<Self, FleetError> {
        if !(1..=SERVERS_MAX).contains(&options.servers()) {
            return Err(FleetError::BadOptions(format!(
                "there must be 1 to {SERVERS_MAX} servers, not {}",
                options.servers()
            )));
        }
        if options.disk_bytes.is_some() && options.data_dir.is_some() {
            return Err(FleetError::BadOptions("data on disks in memory can't be kept".to_owned()));
        }
        let groups = options.groups;
        let (plan, disks, folder) = blocking(move || prepare(options)).await?;
        let mut fleet =
            Self { processes: Vec::new(), servers: Vec::new(), plan: Arc::new(plan), disks, folder };
        // All are taken before any is given away, so no two are the same.
        let ports = fleet.reserve_ports().at("find a free port for", &fleet.plan.root)?;
        let starts = ports.into_iter().enumerate();
        let started = try_join_all(starts.map(|(index, port)| fleet.start_anywhere(index, port))).await?;
        for (index, running) in started.into_iter().enumerate() {
            let Running { port, dsn, process } = running;
            let (group, replica) = (index % groups, index / groups);
            fleet.servers.push(Server { index, group, replica, port, dsn, pid: Some(process.pid()) });
            fleet.processes.push(Some(process));
        }
        fleet.remember_ports().await?;
        Ok(fleet)
    }

    /// The servers, by index; killed ones included.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The program that the servers run.
    #[must_use]
    pub fn binary(&self) -> &ServerBinary {
        &self.plan.options.binary
    }

    /// The folder with everybody's data.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.plan.root
    }

    /// Ends a server as a crash would (SIGKILL) and returns when it is gone. Its data stays for [`Self::restart`].
    ///
    /// # Errors
    /// There is no such server, or it has been killed already.
    pub async fn kill(&mut self, index: usize) -> Result<(), FleetError> {
        let slot =
            self.processes.get_mut(index).ok_or_else(|| no_server(index, "the fleet has no such server"))?;
        let mut process = slot.take().ok_or_else(|| no_server(index, "it has been killed already"))?;
        if let Some(server) = self.servers.get_mut(index) {
            server.pid = None;
        }
        blocking(move || {
            process.kill();
            Ok(())
        })
        .await
    }

    /// Starts a server again on its port and its data: one that was killed, or one that ended by itself. A replica goes on
    /// following; a primary with replicas comes back read-only, see [`Fleet::open`].
    ///
    /// # Errors
    /// It still runs, or it did not start (its port may have been taken meanwhile); it can be tried again.
    pub async fn restart(&mut self, index: usize) -> Result<(), FleetError> {
        let slot =
            self.processes.get_mut(index).ok_or_else(|| no_server(index, "the fleet has no such server"))?;
        if slot.as_mut().is_some_and(guard::ProcessGuard::is_running) {
            return Err(no_server(index, "it is still running"));
        }
        *slot = None;
        let server =
            self.servers.get_mut(index).ok_or_else(|| no_server(index, "the fleet has no such server"))?;
        server.pid = None;
        let port = ReservedPort::exactly(server.port).at("take the old port for", &self.plan.root)?;
        let running = server::start(Arc::clone(&self.plan), index, port).await?;
        server.pid = Some(running.process.pid());
        *slot = Some(running.process);
        self.resume(index).await
    }

    /// Ends all servers and returns when they are gone, and with them a temporary folder. Servers whose data is kept
    /// shut down in order, within 20 s, then they are killed.
    pub async fn stop(mut self) {
        let keep = self.plan.options.data_dir.is_some();
        // A blocking thread, because dropping blocks as well. A panic in there has nothing to tell the caller.
        let _ = tokio::task::spawn_blocking(move || {
            if keep {
                let mut processes: Vec<_> = self.processes.iter_mut().flatten().collect();
                processes.iter_mut().for_each(|process| process.terminate());
                let start = Instant::now();
                for process in processes {
                    process.wait_end(STOP_LIMIT.saturating_sub(start.elapsed()));
                }
            }
            drop(self);
        })
        .await;
    }

    async fn start_anywhere(&self, index: usize, first: ReservedPort) -> Result<Running, FleetError> {
        let mut port = first;
        let mut tries = 1;
        loop {
            match server::start(Arc::clone(&self.plan), index, port).await {
                Err(error) if server::port_was_taken(&error) && tries < PORT_TRIES => {
                    tries += 1;
                    port = ReservedPort::take(None).at("find a free port for", &self.plan.root)?;
                }
                result => return result,
            }
        }
    }

    fn reserve_ports(&self) -> std::io::Result<Vec<ReservedPort>> {
        let known = &self.plan.identity.ports;
        (0..self.plan.options.servers()).map(|index| ReservedPort::take(known.get(index).copied())).collect()
    }

    async fn remember_ports(&self) -> Result<(), FleetError> {
        let (plan, ports) = (Arc::clone(&self.plan), self.servers.iter().map(Server::port).collect());
        blocking(move || plan.identity.with_ports(ports).save(&plan.root)).await
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // Side by side first; dropping each then waits for it.
        self.processes.iter_mut().flatten().for_each(guard::ProcessGuard::order_kill);
        self.processes.clear();
        self.disks.clear();
        self.folder = None;
    }
}

type Prepared = (Plan, Vec<Arc<Disk>>, Option<FolderGuard>);

/// Folder, lock, credentials, template and disks: all that comes before the first server. Blocks.
fn prepare(options: FleetOptions) -> Result<Prepared, FleetError> {
    let (root, folder) = match &options.data_dir {
        Some(data_dir) => {
            let root = std::path::absolute(data_dir).at("find", data_dir)?;
            DirBuilder::new().recursive(true).mode(0o700).create(&root).at("create", &root)?;
            (root, None)
        }
        None => {
            let name = format!("tao-fleet-{}-{:016x}", std::process::id(), rand::random::<u64>());
            let root = std::env::temp_dir().join(name);
            let folder = FolderGuard::create(&root).at("create", &root)?;
            (root, Some(folder))
        }
    };
    let lock = lock(&root, LOCK_WAIT)?;
    let identity = Identity::load(&root, &options.binary)?;
    identity.save(&root)?;
    let template = template::ensure(&options.binary)?;
    let plan = Plan { options, root, template, identity, lock };
    let sizes = (0..plan.options.servers()).filter_map(|index| Some((index, plan.options.disk_bytes?)));
    let disks = sizes.map(|(index, bytes)| Disk::mount(plan.disk(index), bytes).map(Arc::new));
    let disks = disks.collect::<Result<_, _>>()?;
    Ok((plan, disks, folder))
}

/// The servers of a killed fleet hold the lock until they have ended, so that no two ever share their files.
fn lock(root: &Path, wait: Duration) -> Result<File, FleetError> {
    let path = root.join("fleet.lock");
    let file = File::options().create(true).append(true).open(&path).at("open", &path)?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(error).at("lock", &path),
            Err(TryLockError::WouldBlock) if start.elapsed() >= wait => {
                return Err(FleetError::InUse { path: root.to_owned(), waited: wait });
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_LOOK_EVERY),
        }
    }
}

fn no_server(index: usize, reason: &'static str) -> FleetError {
    FleetError::NoSuchServer { index, reason }
}
