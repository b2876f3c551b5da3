//! Disks that can get full: a file system in memory of its own for each server's data.
//!
//! It gets full by being made as small as what is on it, so no memory is needed to fill it. Files keep what they
//! have: a hole in one, which a disk that is really full might not be able to fill, is filled before, as both servers
//! take the room of their redo log and tablespaces for granted.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::error::{FleetError, IoContext as _};
use super::guard::MountGuard;

/// Between measuring and shrinking the server may write: so often.
const TRIES: usize = 50;

/// The disk of one server. Unmounted when this is dropped, or this process ends.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
    bytes: u64,
    _mount: MountGuard,
}

/// Whether this process may mount file systems: for [`FleetOptions::disk_bytes`](super::FleetOptions::disk_bytes).
///
/// # Errors
/// It may not; why, for a person.
pub fn can_mount() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("only root may mount a file system of limited size".to_owned());
    }
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mount = MountGuard::create(&folder.path().join("disk"), 1 << 20);
    mount.map(drop).map_err(|error| format!("a file system can't be mounted: {error}"))
}

impl Disk {
    /// Mounts an empty disk. Blocks.
    pub(super) fn mount(folder: PathBuf, bytes: u64) -> Result<Self, FleetError> {
        let mount = MountGuard::create(&folder, bytes).at("mount a disk on", &folder)?;
        Ok(Self { folder, bytes, _mount: mount })
    }

    /// Leaves no room on it. Blocks.
    pub(super) fn fill(&self) -> Result<(), FleetError> {
        fill_holes(&self.folder).at("fill the holes in", &self.folder)?;
        let mut tries = 0;
        loop {
            let room = statvfs(&self.folder).map_err(io::Error::from).at("measure", &self.folder)?;
            let used = room.f_blocks.saturating_sub(room.f_bfree).max(1) * room.f_frsize;
            match self.resize(used) {
                Ok(()) => return Ok(()),
                Err(error) if tries >= TRIES => return Err(error).at("shrink", &self.folder),
                Err(_) => tries += 1,
            }
        }
    }

    /// Gives it its room back. Blocks.
    pub(super) fn empty(&self) -> Result<(), FleetError> {
        self.resize(self.bytes).at("enlarge", &self.folder)
    }

    fn resize(&self, bytes: u64) -> io::Result<()> {
        let output = Command::new("mount")
            .args(["-o", &format!("remount,size={bytes}")])
            .arg(&self.folder)
            .current_dir("/")
            .output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}

fn fill_holes(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let filled = if kind.is_dir() {
            fill_holes(&entry.path())
        } else if kind.is_file() {
            fill_file(&entry.path())
        } else {
            Ok(())
        };
        match filled {
            // The server may remove its files at any time.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

fn fill_file(path: &Path) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    let length = file.metadata()?.len();
    if length > 0 {
        fallocate(&file, FallocateFlags::KEEP_SIZE, 0, length)?;
    }
    Ok(())
}
