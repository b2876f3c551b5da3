//! Room on the disks of a move's target: what is needed, and what there is, where that can be known.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use tao_shard_store::mysql::ServerFacts;

use super::ground::{Ground, Server};
use super::preflight::PlanFinding;
use super::terms::MoveOptions;

/// What is copied takes room twice: as rows, and in the server's own log.
const TIMES: u64 = 2;
/// A file system that does not answer is one whose room is not known.
const PATIENCE: Duration = Duration::from_secs(3);

/// What room a server of the target has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PlanRoom {
    /// Which server.
    pub server: String,
    /// Bytes that are free; `None`: it can't be known from here.
    pub free_bytes: Option<u64>,
    /// Who says so.
    pub known_by: Option<String>,
}

/// Bytes that a move needs on each server of its target, for rows of so many bytes.
pub(super) const fn needed(bytes: u64) -> u64 {
    bytes.saturating_mul(TIMES)
}

impl Ground {
    /// Looks at the disk of every server of the target: replicas write the same. One that is away is refused for that elsewhere.
    pub(super) async fn rooms(&self, to: &Server, options: &MoveOptions) -> Vec<PlanRoom> {
        let mut servers = vec![to.clone()];
        servers.extend(self.replicas(to.group, options).await.unwrap_or_default());
        let mut rooms = Vec::new();
        for server in servers {
            let found = match options.target_room {
                0 => known(&server).await,
                stated => Some((stated, "--target-room".to_owned())),
            };
            let (free_bytes, known_by) = found.unzip();
            rooms.push(PlanRoom { server: server.place(), free_bytes, known_by });
        }
        rooms
    }
}

/// What is to be said of a server's room, if so much is needed.
pub(super) fn judged(room: &PlanRoom, needed: u64) -> Option<PlanFinding> {
    let PlanRoom { server, free_bytes, known_by } = room;
    let by = known_by.as_deref().unwrap_or_default();
    let (fatal, message) = match free_bytes {
        Some(free) if *free >= needed => return None,
        Some(free) => (
            true,
            format!("{server}: {free} bytes are free ({by}), and a move needs about {needed}: make room"),
        ),
        None => {
            let message = format!(
                "{server}: what room its disk has is unknown, and a move needs about {needed} bytes: see that they are there; \
                 --target-room states what there is"
            );
            (false, message)
        }
    };
    Some(PlanFinding { fatal, subject: "disk".to_owned(), message })
}

/// Free bytes, and who says so.
async fn known(server: &Server) -> Option<(u64, String)> {
    let facts = server.store.server_facts().await.ok()?;
    if is_here(&facts, &server.address)
        && let Some(free) = measured(PathBuf::from(&facts.data_dir)).await
    {
        return Some((free, format!("measured at {}", facts.data_dir)));
    }
    // Most servers can't be asked that, and many accounts may not.
    let (free, mount) = server.store.disk_room().await.ok().flatten()?;
    Some((free, format!("information_schema.DISKS, {mount}")))
}

/// Whether a server is on this machine: at an address that does not leave it, and with its name, so that no tunnel passes for it.
fn is_here(facts: &ServerFacts, address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let loopback = host == "localhost"
        || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    loopback && this_machine().is_some_and(|name| name == facts.host_name)
}

fn this_machine() -> Option<String> {
    // Where there is no such file, nothing is known.
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim_end().to_owned())
}

async fn measured(folder: PathBuf) -> Option<u64> {
    let measure = tokio::task::spawn_blocking(move || rustix::fs::statvfs(&folder).ok());
    let found = tokio::time::timeout(PATIENCE, measure).await.ok()?.ok()??;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_room_is_a_note_and_too_little_is_a_refusal() {
        let room = |free_bytes: Option<u64>| PlanRoom {
            server: "a".to_owned(),
            free_bytes,
            known_by: free_bytes.map(|_| "--target-room".to_owned()),
        };
        assert_eq!(needed(100), 200);
        assert_eq!(judged(&room(Some(200)), 200), None);
        let little = judged(&room(Some(199)), 200).unwrap();
        assert!(little.fatal && little.message.contains("199 bytes are free (--target-room)"), "{little:?}");
        let unknown = judged(&room(None), 200).unwrap();
        assert!(!unknown.fatal && unknown.message.contains("unknown"), "{unknown:?}");
    }

    #[test]
    fn a_server_is_here_by_its_address_and_its_name() {
        let name = this_machine().unwrap();
        let facts = |host_name: &str| ServerFacts {
            log_kept: None,
            bytes_per_row: 0,
            columns: Vec::new(),
            data_dir: String::new(),
            host_name: host_name.to_owned(),
        };
        assert!(is_here(&facts(&name), "127.0.0.1:3306") && is_here(&facts(&name), "[::1]:3306"));
        assert!(!is_here(&facts(&name), "10.0.0.7:3306"));
        assert!(!is_here(&facts("another"), "localhost:3306"), "a tunnel");
    }
}
