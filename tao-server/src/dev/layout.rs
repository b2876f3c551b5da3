//! Names, ports and topology of a dev region.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use tao_schema::ids::HostGroupId;
use tao_schema::topology::{Dsn, FIRST_EPOCH, HostGroup, Node, Region, ReplicationMode, Tier, Topology};
use tokio::net::TcpListener;

use super::{DevOptions, Place, REGION, Storage};
use crate::config::{CacheConfig, LogConfig, NodeConfig};

/// Binds a port for every node, leaders first: a node's address must be in the topology before the node starts.
pub(super) async fn listen(options: &DevOptions) -> Result<Vec<Place>> {
    let names = (1..=options.leaders)
        .map(|n| (format!("leader-{n}"), true))
        .chain((1..=options.followers).map(|n| (format!("follower-{n}"), false)));
    let mut places = Vec::new();
    for (index, (name, leader)) in names.enumerate() {
        let wanted = if options.base_port == 0 { 0 } else { options.base_port.saturating_add(index as u16) };
        places.push(Place { name, leader, listener: bind(wanted).await?, admin: local(0) });
    }
    Ok(places)
}

/// The wanted port if it is free, else any.
async fn bind(wanted: u16) -> Result<TcpListener> {
    match TcpListener::bind(local(wanted)).await {
        Ok(listener) => Ok(listener),
        Err(_) if wanted != 0 => TcpListener::bind(local(0)).await.context("no free port"),
        Err(error) => Err(error).context("no free port"),
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

pub(super) fn config(options: &DevOptions, place: &Place) -> NodeConfig {
    NodeConfig {
        name: place.name.clone(),
        admin_listen: place.admin,
        drain_ms: 3_000,
        cache: CacheConfig { bytes: options.cache_bytes, ..CacheConfig::default() },
        log: LogConfig::default(),
        ..NodeConfig::default()
    }
}

pub(super) fn topology(options: &DevOptions, places: &[Place], storage: &Storage) -> Result<Topology> {
    let nodes = |leaders: bool| -> Result<Vec<Node>> {
        places
            .iter()
            .filter(|place| place.leader == leaders)
            .map(|place| {
                let address = place.listener.local_addr()?.to_string();
                Ok(Node { name: place.name.clone(), address, admin: None })
            })
            .collect()
    };
    let region = Region {
        name: REGION.to_owned(),
        leaders: Tier { name: "leaders".to_owned(), nodes: nodes(true)? },
        followers: vec![Tier { name: "followers".to_owned(), nodes: nodes(false)? }],
    };
    let host_groups = (0..options.host_groups())
        .map(|index| HostGroup {
            id: HostGroupId(index as u16 + 1),
            master: REGION.to_owned(),
            epoch: FIRST_EPOCH,
            mode: ReplicationMode::Async,
            servers: BTreeMap::from([(REGION.to_owned(), Dsn::new(storage.dsn(index)))]),
        })
        .collect();
    Ok(Topology {
        version: 1,
        cluster: "dev".to_owned(),
        shards: options.shards,
        regions: vec![region],
        host_groups,
        assignments: Vec::new(),
    })
}
