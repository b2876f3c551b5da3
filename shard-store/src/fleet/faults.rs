//! What can be done to the servers of a fleet beside killing them: disks without room, wrong clocks.

use std::sync::Arc;

use super::Fleet;
use super::clock::write_clock_offset;
use super::disk::Disk;
use super::error::{FleetError, IoContext as _};
use super::guard::ProcessGuard;
use super::server::blocking;

impl Fleet {
    /// Whether a server's process runs: it was not killed, and has not ended by itself.
    pub fn is_running(&mut self, index: usize) -> bool {
        self.processes.get_mut(index).and_then(Option::as_mut).is_some_and(ProcessGuard::is_running)
    }

    /// Leaves no room on the disk of a server's data. Both servers wait for room when they can't write their binlog, for up
    /// to a minute after there is some again; MySQL may end instead.
    ///
    /// # Errors
    /// `NotPrepared`: it has no disk of its own. Or it can't be shrunk.
    pub async fn fill_disk(&self, index: usize) -> Result<(), FleetError> {
        self.on_disk(index, Disk::fill).await
    }

    /// Gives a disk its room back.
    ///
    /// # Errors
    /// As [`Fleet::fill_disk`].
    pub async fn empty_disk(&self, index: usize) -> Result<(), FleetError> {
        self.on_disk(index, Disk::empty).await
    }

    async fn on_disk(
        &self,
        index: usize,
        work: fn(&Disk) -> Result<(), FleetError>,
    ) -> Result<(), FleetError> {
        let disk = self.disks.get(index).map(Arc::clone);
        let disk = disk.ok_or(FleetError::NotPrepared { index, what: "disks of their own" })?;
        blocking(move || work(&disk)).await
    }

    /// Sets a server's wall clock ahead by so many seconds, or back, from a second later on at the latest. A restart sets it
    /// right.
    ///
    /// # Errors
    /// `NotPrepared`: it has no clock of its own. Or its file can't be written.
    pub fn set_clock_offset(&self, index: usize, seconds: i64) -> Result<(), FleetError> {
        if self.plan.options.clock_library.is_none() || index >= self.servers.len() {
            return Err(FleetError::NotPrepared { index, what: "clocks of their own" });
        }
        let file = self.plan.clock(index);
        write_clock_offset(&file, seconds).at("write", &file)
    }
}
