//! Tails of replicas: the same news, and a place that holds on every server of the group.

use std::time::Duration;

use futures_util::future::join_all;

use super::recorded::up_to_now;
use super::support::{commit, fresh, open, options, put};
use crate::fleet::{Fleet, FleetOptions, test_servers};
use crate::log::{Beat, BeatWriter, LogPosition, LogTail, ServerLog, TailEvent, TailStart};
use crate::store::StoreErrorKind;

const LIMIT: Duration = Duration::from_secs(60);

async fn level(fleet: &Fleet, index: usize, with: usize) {
    let all = fleet.admin(with).unwrap().executed().await.unwrap();
    fleet.admin(index).unwrap().wait_executed(&all, LIMIT).await.unwrap();
}

/// All that a tail has up to a place.
async fn up_to(tail: &mut dyn LogTail, place: &LogPosition) -> Vec<TailEvent> {
    let mut told = Vec::new();
    while !tail.position().covers(place) {
        told.extend(tail.next().await.unwrap());
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_tells_the_same_and_a_tail_moves_to_it() {
    join_all(test_servers().unwrap().into_iter().map(|binary| async {
        let options_of_fleet = FleetOptions { replicas: 1, ..FleetOptions::new(binary, 1) };
        let fleet = Fleet::start(options_of_fleet).await.unwrap();
        fleet.replicate(&[0], &|_, _| None).await.unwrap();
        let (primary, replica) = (&fleet.servers()[0], &fleet.servers()[1]);
        let store = fresh(primary, options("tao"), 2).await;
        level(&fleet, 1, 0).await;
        let copy = open(replica, options("tao")).await.unwrap();
        assert_eq!(copy.preflight().await.unwrap(), vec![]);

        let start = store.executed().await.unwrap();
        let mut here = store.open_tail(TailStart::After(start.clone())).await.unwrap();
        store.beat(Beat { writer: BeatWriter(1), nonce: 5 }).await.unwrap();
        for id2 in 1..=20 {
            commit(&store, vec![put(0, 1, id2), put(1, 2, id2)]).await.unwrap();
        }
        let place = store.executed().await.unwrap();
        level(&fleet, 1, 0).await;
        let mut there = copy.open_tail(TailStart::After(start)).await.unwrap();
        assert_eq!(up_to(there.as_mut(), &place).await, up_to(here.as_mut(), &place).await);
        let survey = copy.survey(BeatWriter(1)).await.unwrap();
        assert_eq!(survey.beat.map(|(nonce, _)| nonce), Some(5));
        // A mark of the primary is one of the replica (R17).
        let mut back = copy.open_tail(TailStart::Back(Duration::from_secs(60))).await.unwrap();
        assert!(up_to(back.as_mut(), &place).await.len() >= 40);

        // The primary's place, on the replica: only what follows.
        commit(&store, vec![put(0, 1, 21)]).await.unwrap();
        level(&fleet, 1, 0).await;
        let mut moved = copy.open_tail(TailStart::After(place)).await.unwrap();
        let last = store.executed().await.unwrap();
        assert_eq!(up_to(moved.as_mut(), &last).await.len(), 1);

        // A heartbeat on a replica would be a transaction of its own.
        let error = copy.beat(Beat { writer: BeatWriter(2), nonce: 1 }).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");
        assert!(store.executed().await.unwrap().covers(&copy.executed().await.unwrap()));

        // After a promotion the new primary's transactions have another source.
        fleet.admin(1).unwrap().stop_replication(true, LIMIT).await.unwrap();
        fleet.admin(1).unwrap().forget_source().await.unwrap();
        fleet.admin(0).unwrap().set_read_only(true).await.unwrap();
        fleet.open(1).await.unwrap();
        let promoted = open(replica, options("tao")).await.unwrap();
        commit(&promoted, vec![put(0, 1, 22)]).await.unwrap();
        assert_eq!(up_to_now(&promoted, moved.as_mut()).await.len(), 1);
        let place = moved.position();
        commit(&promoted, vec![put(0, 1, 23)]).await.unwrap();
        let mut again = promoted.open_tail(TailStart::After(place)).await.unwrap();
        assert_eq!(up_to_now(&promoted, again.as_mut()).await.len(), 1);
    }))
    .await;
}
