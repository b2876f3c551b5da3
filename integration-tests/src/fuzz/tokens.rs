//! What users bring along: sessions as bytes and as text, and cookies.

use std::time::Duration;

use tao_client::cookie::{CookieKeys, CookieOptions, SessionCookie};
use tao_schema::ids::{Epoch, HostGroupId, Position, PrimaryTime, Seq, ShardId};
use tao_schema::session::{Folding, GroupTime, Session};

use super::Target;
use super::input::Input;

/// See [`sessions`].
pub const SESSIONS: Target = Target { name: "sessions", body: sessions, corpus: session_corpus, words: &[] };
/// See [`cookies`].
pub const COOKIES: Target = Target {
    name: "cookies",
    body: cookies,
    corpus: cookie_corpus,
    words: &["tao_session=", "; ", "A", "_", "-", "=="],
};

const SECRET: &[u8] = b"a secret that is known to nobody";

/// What is accepted comes back the same from bytes and text, demands what it holds, loses nothing by a merge with itself, and
/// fits where it is made to.
pub fn sessions(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(session) = text.parse::<Session>()
    {
        assert_eq!(session.to_string().parse::<Session>().map(said), Ok(said(session)));
    }
    let Ok(session) = Session::from_bytes(bytes) else { return };
    // In the first format; in today's it takes 4.
    assert!(session.len() * 3 <= bytes.len(), "a position takes 3 bytes at least");
    let again = Session::from_bytes(&session.to_bytes()).expect("its own bytes");
    assert_eq!(said(again.clone()), said(session.clone()));
    assert_eq!(session.to_string().parse::<Session>().as_ref(), Ok(&again));
    // Host groups that nothing refers to are left out once; nothing is left out twice.
    assert_eq!(Session::from_bytes(&again.to_bytes()).as_ref(), Ok(&again));
    let mut twice = session.clone();
    twice.merge(&session);
    assert_eq!(twice, session);
    for position in session.positions().take(8) {
        let demand = session.demand(position.shard, None);
        let at_least = demand.at_least.expect("a demand for a shard that was seen");
        let named = at_least == position || demand.lineage.contains(&position);
        // Seq 0 is in every history.
        assert!(
            named || position.seq == Seq::ZERO && at_least.epoch >= position.epoch,
            "{position} in {demand:?}"
        );
    }
    let mut small = session.clone();
    let most = bytes.len() / 2;
    if small.shrink(most, &Folding::default(), Duration::from_secs(1_800_000_000)).is_ok() {
        assert!(small.to_bytes().len() <= most);
        assert!(small.len() <= session.len());
    }
}

/// What a session demands.
fn said(session: Session) -> (Vec<Position>, Vec<Option<PrimaryTime>>) {
    let groups = [0, 1, 2, 3, 7, 500].map(|group| session.floor(HostGroupId(group)));
    (session.positions().collect(), groups.to_vec())
}

/// A cookie is accepted only if it is, letter by letter, one that was signed here.
pub fn cookies(bytes: &[u8]) {
    let cookie = cookie();
    let text = String::from_utf8_lossy(bytes);
    if let Ok(seen) = cookie.seen(&text) {
        assert_eq!(cookie.value_of(seen), text, "a cookie that was not made here");
    }
    // One that was, with one letter changed.
    let mut input = Input(bytes);
    let (at, with) = (input.number(2) as usize, input.byte());
    let seen = session(u16::from(input.byte() % 12), input.number(4));
    let value = cookie.value_of(seen.clone());
    assert_eq!(cookie.seen(&value), Ok(seen));
    let mut changed = value.clone().into_bytes();
    let at = at % changed.len();
    changed[at] = b"ABCXYZabcxyz0189-_"[usize::from(with) % 18];
    let changed = String::from_utf8(changed).expect("letters");
    assert!(changed == value || cookie.seen(&changed).is_err(), "{changed} is accepted for {value}");
}

fn cookie() -> SessionCookie {
    let keys = CookieKeys::new(7, SECRET).expect("a secret that is long enough");
    SessionCookie::new("fuzz", keys, CookieOptions::default()).expect("default options")
}

fn session(shards: u16, number: u64) -> Session {
    let mut session = Session::new();
    for shard in 0..shards {
        let epoch = Epoch(1 + u32::from(shard % 3));
        let position =
            Position { shard: ShardId(shard / 2 * 300), epoch, seq: Seq(number + u64::from(shard)) };
        let group = HostGroupId(shard % 4);
        let time =
            (shard % 5 > 0).then_some(GroupTime { group, time: PrimaryTime(1_700_000_000_000 + number) });
        session.observe_at(position, time, Duration::from_secs(1_700_000_000 + number % 1_000));
    }
    session
}

fn session_corpus() -> Vec<Vec<u8>> {
    let sessions: Vec<Session> = [0, 1, 2, 9, 60].map(|shards| session(shards, 1_000)).to_vec();
    let mut folded = session(200, 70_000);
    let folds = Folding { loss_window: Duration::ZERO, ..Folding::default() };
    // Whether all of it fits does not matter here.
    let _ = folded.shrink(300, &folds, Duration::from_secs(1_900_000_000));
    let bytes = sessions.iter().chain([&folded]).map(Session::to_bytes);
    let first_format = [1, 1, 2, 1, 5].to_vec();
    bytes
        .chain(sessions.iter().map(|session| session.to_string().into_bytes()))
        .chain([first_format])
        .collect()
}

fn cookie_corpus() -> Vec<Vec<u8>> {
    [0, 1, 5, 30].map(|shards| cookie().value_of(session(shards, 42)).into_bytes()).to_vec()
}
