//! What can happen here.

use std::collections::BTreeMap;

use tao_shard_store::fleet::{NO_CLOCK_LIBRARY, can_mount, clock_library};

use super::Regions;
use crate::faults::{Fault, FaultKind, Impossible, Place};

impl Regions {
    /// Whether a kind of fault can happen here.
    ///
    /// # Errors
    /// It can't; why.
    pub fn can(&self, kind: FaultKind) -> Result<(), Impossible> {
        let why = match kind {
            FaultKind::Clock if clock_library().is_none() => NO_CLOCK_LIBRARY.to_owned(),
            FaultKind::Clock if self.clocks.is_none() => {
                "the cluster was started without RegionsOptions::clocks".to_owned()
            }
            FaultKind::FillDisk if !self.has_disks => {
                self.servers.fleet()?;
                let unprepared = || "the cluster was started without RegionsOptions::disk_bytes".to_owned();
                can_mount().err().unwrap_or_else(unprepared)
            }
            FaultKind::StopReplication | FaultKind::DelayReplication if self.topology.regions.len() < 2 => {
                "there are no replicas".to_owned()
            }
            FaultKind::Kill | FaultKind::Pause | FaultKind::Slow => return Ok(()),
            FaultKind::Clock
            | FaultKind::FillDisk
            | FaultKind::StopReplication
            | FaultKind::DelayReplication => return Ok(()),
            _ if self.network.links().next().is_none() => {
                "the cluster was started without links (RegionsOptions::links)".to_owned()
            }
            _ => return Ok(()),
        };
        Err(Impossible(why))
    }

    /// What can't happen here, and why: kinds of faults, and those that can't happen to database servers alone. Random
    /// schedules leave it out.
    pub fn impossible(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let of_servers =
            [("kill", self.servers.can_kill()), ("pause, slow and clock", self.servers.fleet().map(|_| ()))];
        for (what, can) in of_servers {
            if let Err(Impossible(why)) = can {
                found.insert(format!("{what} of database servers"), why);
            }
        }
        for kind in FaultKind::ALL {
            if let Err(Impossible(why)) = self.can(kind) {
                found.insert(kind.to_string(), why);
            }
        }
        found
    }

    /// Whether a fault can happen here: as [`Regions::can`] says of its kind, and to that node or server.
    ///
    /// # Errors
    /// It can't; why.
    pub fn possible(&self, fault: &Fault) -> Result<(), Impossible> {
        self.can(fault.kind())?;
        match (fault, fault.place()) {
            (Fault::Kill(_), Some(Place::Server { .. })) => self.servers.can_kill(),
            (
                Fault::Pause(_) | Fault::Slow { .. } | Fault::FillDisk(_) | Fault::Clock { .. },
                Some(Place::Server { .. }),
            ) => self.servers.fleet().map(|_| ()),
            _ => Ok(()),
        }
    }
}
