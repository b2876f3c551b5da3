use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::*;
use crate::ids::Seq;

fn at(shard: u16, epoch: u32, seq: u64) -> Position {
    Position { shard: ShardId(shard), epoch: Epoch(epoch), seq: Seq(seq) }
}

fn time(group: u16, seconds: u64) -> Option<GroupTime> {
    Some(GroupTime { group: HostGroupId(group), time: PrimaryTime(seconds * 1_000) })
}

const fn place(group: u16, epoch: u32) -> Option<Place> {
    Some(Place { group: HostGroupId(group), epoch: Epoch(epoch) })
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A clock of the observers; the primaries' are different on purpose.
const NOW: u64 = 1_800_000_000;

#[test]
fn epochs_stay_side_by_side_until_an_answer_proves_them() {
    let mut session = Session::new();
    assert_eq!(session.demand(ShardId(3), place(1, 1)), Demand::local());
    session.extend([at(3, 3, 120), at(3, 3, 90), at(3, 4, 150), at(9, 1, 1)]);
    // H19: the maximum alone, (4, 150), would be satisfied by a history that lost (3, 120).
    let demand = session.demand(ShardId(3), None);
    assert_eq!((demand.at_least, &demand.lineage[..]), (Some(at(3, 4, 150)), &[at(3, 3, 120)][..]));

    // An answer that was not asked to prove anything proves nothing.
    session.proved(&Demand::local(), at(3, 4, 160));
    assert_eq!(session.len(), 3);
    // What was observed in the old epoch after the request went out is not proved by its answer.
    session.observe(at(3, 3, 121));
    session.proved(&demand, at(3, 4, 160));
    assert_eq!(session.positions().next(), Some(at(3, 3, 121)));
    let demand = session.demand(ShardId(3), None);
    session.proved(&demand, at(3, 5, 170));
    assert_eq!(session.positions().collect::<Vec<_>>(), [at(9, 1, 1)], "the caller notes the answer itself");
    session.forget(ShardId(9));
    assert!(session.is_empty());
}

#[test]
fn old_positions_become_a_floor_of_their_host_group() {
    let mut session = Session::new();
    // Group 1's clock is an hour ahead of group 2's.
    for shard in 0..100 {
        let group = 1 + shard % 2;
        session.observe_at(
            at(shard, 1, 1_000),
            time(group, 10_000 + u64::from(group % 2) * 3_600),
            secs(NOW),
        );
    }
    let folding = Folding::default();
    let later = secs(NOW + 100);
    let young = session.clone().shrink(300, &folding, later).unwrap_err();
    assert_eq!(young.positions, 100, "the primaries have not yet said that time has passed: {young}");
    session.observe_at(at(200, 1, 5), time(1, 13_700), later);
    session.observe_at(at(201, 1, 5), time(2, 10_100), later);
    let wrong_clock = session.clone().shrink(300, &folding, secs(NOW)).unwrap_err();
    assert_eq!(wrong_clock.positions, 102, "by the observers' clock they are young");

    let mut shrunk = session.clone();
    shrunk.shrink(300, &folding, later).unwrap();
    assert!(shrunk.to_bytes().len() <= 300 && shrunk.len() > 10, "as many as fit stay: {}", shrunk.len());
    assert_eq!(shrunk.floor(HostGroupId(1)), Some(PrimaryTime(13_630_000)), "with the slack");
    assert_eq!(shrunk.floor(HostGroupId(2)), Some(PrimaryTime(10_030_000)), "of its own clock");
    assert_eq!(shrunk.at_least(ShardId(200)), Some(at(200, 1, 5)), "young ones stay");

    // A shard that is only in the floor: its group's time, in the epoch that the topology names.
    let gone = (0..100).map(ShardId).find(|shard| shard.0 % 2 == 1 && shrunk.at_least(*shard).is_none());
    let gone = gone.unwrap();
    let demand = shrunk.demand(gone, place(2, 1));
    assert_eq!(demand.not_before, Some(PrimaryTime(10_030_000)));
    assert_eq!(demand.at_least, Some(Position { shard: gone, epoch: Epoch(1), seq: Seq::ZERO }));
    // It has moved to a group without a floor: a node must know of the move, and then has its history.
    let demand = shrunk.demand(gone, place(3, 2));
    assert_eq!((demand.not_before, demand.at_least.unwrap().epoch), (None, Epoch(2)));
    assert_eq!(shrunk.demand(gone, None).not_before, Some(PrimaryTime(13_630_000)));
    // A kept position beside it stays demanded.
    let demand = shrunk.demand(ShardId(200), place(1, 2));
    assert_eq!((demand.at_least, demand.lineage), (Some(at(200, 2, 0)), vec![at(200, 1, 5)]));
}

#[test]
fn positions_without_a_time_are_never_folded() {
    let mut session = Session::new();
    session.extend((0..100).map(|shard| at(shard, 1, 1_000)));
    session.observe_at(at(200, 1, 1), time(1, 50_000), secs(NOW));
    let left = session.shrink(100, &Folding { loss_window: Duration::ZERO, ..Folding::default() }, secs(NOW));
    assert_eq!(left.unwrap_err().positions, 100);
    // The same position with a time: now it is known.
    for shard in 0..100 {
        session.observe_at(at(shard, 1, 1_000), time(1, 40_000), secs(NOW));
    }
    session.shrink(100, &Folding { loss_window: Duration::ZERO, ..Folding::default() }, secs(NOW)).unwrap();
    assert_eq!(session.floor(HostGroupId(1)), Some(PrimaryTime(50_030_000)));
}

#[test]
fn first_sight_bounds_best() {
    let mut session = Session::new();
    session.observe_at(at(1, 1, 5), time(1, 100), secs(NOW));
    session.observe_at(at(1, 1, 5), time(1, 900), secs(NOW + 800));
    session.observe_at(at(2, 1, 1), time(1, 900), secs(NOW + 800));
    let bytes = session.to_bytes().len();
    session.shrink(bytes - 1, &Folding::default(), secs(NOW + 800)).unwrap();
    assert_eq!(session.positions().collect::<Vec<_>>(), [at(2, 1, 1)]);
    assert_eq!(session.floor(HostGroupId(1)), Some(PrimaryTime(130_000)));
    // A merge brings floors and entries of both.
    let mut other = Session::new();
    other.observe(at(1, 2, 1));
    other.merge(&session);
    assert_eq!((other.floor(HostGroupId(1)), other.len()), (Some(PrimaryTime(130_000)), 2));
}

#[test]
fn the_text_forms_are_fixed() {
    let mut session = Session::new();
    assert_eq!(session.to_string().parse::<Session>().unwrap(), session);
    session.extend([at(3, 1, 300), at(65_535, u32::MAX, u64::MAX)]);
    let first_format = "AQIDAawC_P8D_____w____________8BMvH8Ng";
    assert_eq!(first_format.parse::<Session>().unwrap(), session, "sessions of the version before go on");
    session.observe_at(at(3, 2, 301), time(7, 1_800_000_123), secs(NOW));
    insta::assert_snapshot!(session.to_string(), @"AgH7pKfaBgcAAICkp9oGAwMBrAIAAAKtAgEAAPz_A_____8P____________AQBMVF5q");
}

#[test]
fn other_texts_are_refused() {
    let refused = |text: &str| text.parse::<Session>().unwrap_err().message;
    insta::assert_snapshot!(refused("!"), @"the session can't be read: it is not base64; start a new one");
    insta::assert_snapshot!(refused("AQ"), @"the session can't be read: it is too short; start a new one");
    insta::assert_snapshot!(refused(&"A".repeat((4 << 20) + 1)), @"the session can't be read: it is too long; start a new one");
    let sealed = |body: &[u8]| BASE64.encode([body, &(xxh3_64(body) as u32).to_le_bytes()].concat());
    insta::assert_snapshot!(refused(&sealed(&[3, 0])), @"the session can't be read: its format is unknown to this program; start a new one");
    let damaged = refused(&sealed(&[1, 1]));
    insta::assert_snapshot!(damaged, @"the session can't be read: its entries are damaged; start a new one");
    let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    let bodies: [&[u8]; 9] = [
        &[1, 0, 0],                                  // bytes behind the last entry
        &[1, 2, 1, 1, 1, 0xff, 0xff, 3, 1, 1],       // a shard above 65535
        &[&[1][..], &most].concat(),                 // more entries than there are bytes
        &[2, 0, 0, 0],                               // no number of entries
        &[2, 1, 5, 7, 6, 0, 0, 0],                   // a latest time before 0
        &[2, 2, 5, 7, 0, 0, 0, 0, 0, 0, 0],          // a group twice
        &[2, 0, 0, 0, 1, 3, 1, 9, 1, 0, 0],          // an entry of a group that is not there
        &[2, 1, 5, 7, 0, 0, 4, 1, 3, 1, 9, 1, 0, 5], // observed before 0
        &[&[2, 0][..], &most, &[0, 0]].concat(),     // a time that no clock shows
    ];
    for body in bodies {
        assert_eq!(refused(&sealed(body)), damaged, "{body:?}");
    }
    let epochs = (0..18).flat_map(|epoch| [0, epoch, 1, 0]);
    let many: Vec<u8> = [2, 0, 0, 0, 18].into_iter().chain(epochs).collect();
    assert_eq!(refused(&sealed(&many)), damaged, "more epochs of a shard than a read can name");
}

proptest! {
    #[test]
    fn comes_back_as_it_was(
        all in proptest::collection::vec(
            (any::<(u16, u32, u64)>(), proptest::option::of((0u16..5, any::<u64>())), any::<u32>()),
            0..40,
        ),
        fold in any::<bool>(),
    ) {
        let mut session = Session::new();
        for ((shard, epoch, seq), time, now) in all {
            let time = time.map(|(group, time)| GroupTime { group: HostGroupId(group), time: PrimaryTime(time) });
            session.observe_at(at(shard, epoch, seq), time, secs(now.into()));
        }
        if fold {
            let _ = session.shrink(100, &Folding { loss_window: Duration::ZERO, ..Folding::default() }, secs(1 << 33));
        }
        let read: Session = session.to_string().parse().unwrap();
        prop_assert_eq!(read.to_bytes(), session.to_bytes());
        for position in session.positions() {
            prop_assert_eq!(
                read.demand(position.shard, place(1, 1)),
                session.demand(position.shard, place(1, 1))
            );
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60), first in 1u8..=2) {
        let bytes = [&[first], &bytes[..]].concat();
        if let Ok(session) = Session::from_bytes(&bytes) {
            prop_assert_eq!(Session::from_bytes(&session.to_bytes()).unwrap().to_bytes(), session.to_bytes());
        }
    }

    #[test]
    fn a_changed_letter_is_found(at_letter in 0usize..20, letter in "[a-zA-Z0-9]") {
        let mut session = Session::new();
        session.extend([at(1, 1, 1 << 40), at(2, 1, 77)]);
        let text = session.to_string();
        let mut changed = text.clone();
        let place = at_letter % text.len();
        changed.replace_range(place..=place, &letter);
        prop_assume!(changed != text);
        prop_assert!(changed.parse::<Session>().is_err());
    }
}
