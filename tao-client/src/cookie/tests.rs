use std::time::{Duration, SystemTime};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tao_schema::ids::{Epoch, HostGroupId, Position, PrimaryTime, Seq, ShardId};
use tao_schema::ops::Freshness;
use tao_schema::session::{GroupTime, Session};

use super::*;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const OTHER: &[u8] = b"fedcba9876543210fedcba9876543210";

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_500)
}

fn cookie_of(cluster: &str, keys: CookieKeys) -> SessionCookie {
    SessionCookie::new(cluster, keys, CookieOptions::default()).unwrap()
}

fn cookie() -> SessionCookie {
    cookie_of("c", CookieKeys::new(1, SECRET).unwrap())
}

fn at(shard: u16, seq: u64) -> Position {
    Position { shard: ShardId(shard), epoch: Epoch(3), seq: Seq(seq) }
}

/// A session of `shards` shards spread over `groups` host groups, each seen `age` seconds before the latest one.
fn session(shards: usize, groups: u16, age: u64) -> Session {
    let mut seen = Session::new();
    let wall = Duration::from_secs(1_800_000_000);
    for n in 0..shards {
        let shard = (n * (65_536 / shards)) as u16;
        let group = HostGroupId(n as u16 % groups);
        let time = |before: u64| {
            let time = PrimaryTime(1_700_000_000_000 + u64::from(group.0) * 3_600_000 - before * 1_000);
            Some(GroupTime { group, time })
        };
        seen.observe_at(at(shard, 1_000_000 + n as u64), time(age), wall - Duration::from_secs(age));
        if n < usize::from(groups) {
            seen.observe_at(at(shard, 2_000_000), time(0), wall);
        }
    }
    seen
}

#[test]
fn comes_back_as_it_was() {
    let cookie = cookie();
    let until = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_030);
    for (seen, master_until) in [(Session::new(), None), (session(40, 3, 10), Some(until))] {
        let (value, fallback) = cookie.close(seen.clone(), master_until, now());
        assert_eq!(fallback, None);
        assert_eq!(cookie.open(&value, now()).unwrap(), Content { seen, master_until });
    }
}

#[test]
fn sticking_to_the_master_region_is_bounded_by_the_readers_clock() {
    let cookie = cookie();
    let (value, _) = cookie.close(Session::new(), Some(now() + Duration::from_secs(3_700)), now());
    // Signed by a server whose clock is an hour ahead.
    assert_eq!(cookie.open(&value, now()).unwrap().master_until, Some(now() + MAX_STICK));
    assert_eq!(cookie.open(&value, now() + Duration::from_secs(3_701)).unwrap().master_until, None, "over");
}

#[test]
fn bad_cookies_are_refused_by_name() {
    let cookie = cookie();
    let (value, _) = cookie.close(session(5, 1, 10), None, now());
    let refused = |by: &SessionCookie, value: &str| by.open(value, now()).unwrap_err();
    for cut in 0..value.len() {
        let error = refused(&cookie, &value[..cut]);
        assert!(matches!(error, CookieError::Malformed | CookieError::Forged), "cut at {cut}: {error}");
    }
    assert_eq!(refused(&cookie, "no cookie!"), CookieError::Malformed);
    let long = "A".repeat(2_000);
    assert_eq!(refused(&cookie, &long), CookieError::TooLong { chars: 2_000 });
    let same_keys = || CookieKeys::new(1, SECRET).unwrap();
    assert_eq!(refused(&cookie_of("d", same_keys()), &value), CookieError::OtherCluster);
    let other_secret = cookie_of("c", CookieKeys::new(1, OTHER).unwrap());
    assert_eq!(refused(&other_secret, &value), CookieError::Forged);

    // The mark of the other cluster put in by hand: the signature covers the whole name.
    let (theirs, _) = cookie_of("d", same_keys()).close(session(5, 1, 10), None, now());
    assert_eq!((&value[..2], theirs.len()), (&theirs[..2], value.len()));
    let swapped = format!("{}{}", &theirs[..8], &value[8..]);
    assert_eq!(refused(&cookie_of("d", same_keys()), &swapped), CookieError::Forged);
}

#[test]
fn keys_rotate() {
    let old = CookieKeys::new(1, SECRET).unwrap();
    let both_old_first = CookieKeys::new(1, SECRET).and_then(|keys| keys.and(2, OTHER)).unwrap();
    let both = CookieKeys::new(2, OTHER).and_then(|keys| keys.and(1, SECRET)).unwrap();
    let new = CookieKeys::new(2, OTHER).unwrap();
    let steps = [old, both_old_first, both, new].map(|keys| cookie_of("c", keys));
    let values = steps.each_ref().map(|step| step.close(session(2, 1, 5), None, now()).0);
    for (n, step) in steps.iter().enumerate() {
        for (m, value) in values.iter().enumerate() {
            let opened = step.open(value, now());
            // Servers that are one step apart understand each other.
            assert!(n.abs_diff(m) > 1 || opened.is_ok(), "step {n}, cookie of step {m}");
        }
    }
    assert_eq!(steps[3].open(&values[0], now()), Err(CookieError::UnknownKey { key: 1 }));
    assert_eq!(steps[0].open(&values[3], now()), Err(CookieError::UnknownKey { key: 2 }));
}

#[test]
fn no_mutation_is_accepted() {
    let count: u64 = std::env::var("TAO_COOKIE_MUTATIONS").map_or(100_000, |text| text.parse().unwrap());
    let seed: u64 = rand::rng().random();
    println!("seed {seed}, {count} mutations");
    let mut random = StdRng::seed_from_u64(seed);
    let cookie = cookie();
    let (value, _) = cookie.close(session(3, 1, 10), None, now());
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=. ";
    let mut forged = 0u64;
    for _ in 0..count {
        let mut bytes = value.clone().into_bytes();
        for _ in 0..random.random_range(1..4) {
            let place = random.random_range(0..bytes.len());
            let letter = letters[random.random_range(0..letters.len())];
            match random.random_range(0..4) {
                0 => bytes.insert(place, letter),
                1 => drop(bytes.remove(place)),
                _ => bytes[place] = letter,
            }
        }
        let mutated = String::from_utf8(bytes).unwrap();
        if mutated == value {
            continue;
        }
        let error = cookie.open(&mutated, now()).expect_err(&mutated);
        forged += u64::from(error == CookieError::Forged);
    }
    assert!(forged > count / 10, "{forged} came as far as the signature");
}

#[test]
fn it_fits_whatever_was_seen() {
    let cookie = cookie();
    let most = cookie.max_value_chars();
    assert_eq!(most + "tao_session=".len(), MAX_COOKIE_CHARS);
    for shards in [1, 10, 64, 1_024, 65_536] {
        let seen = session(shards, 4, 100);
        let (value, fallback) = cookie.close(seen, None, now());
        println!("{shards} shards: {} characters", value.len());
        assert!(value.len() <= most && fallback.is_none(), "{shards} shards: {} {fallback:?}", value.len());
        let opened = cookie.open(&value, now()).unwrap().seen;
        assert_eq!(opened.floor(HostGroupId(0)).is_some(), shards > 64, "{shards} shards");
        assert!(opened.len() >= shards.min(45), "the newest stay as positions: {}", opened.len());
    }
    // Too young to fold: said, and reads stay fresh by time.
    let (value, fallback) = cookie.close(session(1_024, 4, 1), None, now());
    assert_eq!(fallback, Some(Fallback::FoldedYoung));
    let opened = cookie.open(&value, now()).unwrap();
    assert!(opened.seen.floor(HostGroupId(1)).is_some() && opened.master_until.is_none());
    // Nothing is known about times: the master region.
    let mut unknown = Session::new();
    unknown.extend((0..1_024).map(|shard| at(shard, 1_000_000)));
    let (value, fallback) = cookie.close(unknown, None, now());
    assert_eq!(fallback, Some(Fallback::Master));
    let opened = cookie.open(&value, now()).unwrap();
    assert!(opened.master_until.is_some_and(|until| until >= now() + Duration::from_secs(60)));
    // The longest name that is allowed still leaves room.
    let options = CookieOptions { name: "n".repeat(MAX_NAME_CHARS), ..CookieOptions::default() };
    let cookie = SessionCookie::new("c", CookieKeys::new(1, SECRET).unwrap(), options).unwrap();
    let (value, _) = cookie.close(session(1_024, 4, 100), None, now());
    assert!(value.len() + 1 + MAX_NAME_CHARS <= MAX_COOKIE_CHARS);
}

#[tokio::test(start_paused = true)]
async fn a_bad_cookie_means_the_master_region() {
    let graph = crate::testing::Graph::demo();
    let cluster = crate::testing::FakeCluster::new(1, move |_, request| graph.answer(request));
    let client = cluster.client().await.unwrap();
    let cookie = cookie_of("test", CookieKeys::new(1, SECRET).unwrap());
    let (value, _) = cookie.close(session(1, 1, 10), None, now());
    let demand = |session: &SessionClient| {
        let state = session.session.as_ref().unwrap();
        state.demand(ShardId(0), None, None)
    };
    let header = format!("a=b; tao_session=forged; tao_session={value}; c");
    let (good, error) = cookie.read_or_master(&client, Some(&header));
    assert_eq!((error, demand(&good).freshness), (None, Freshness::Any), "the one that is ours counts");
    assert_eq!(demand(&good).at_least, Some(at(0, 2_000_000)));
    for header in [None, Some(""), Some("a=b"), Some("xtao_session=1")] {
        let (fresh, error) = cookie.read_or_master(&client, header);
        assert_eq!((error, demand(&fresh)), (None, tao_schema::ops::Demand::local()), "{header:?}");
    }
    let (bad, error) = cookie.read_or_master(&client, Some("tao_session=forged"));
    assert_eq!((error, demand(&bad).freshness), (Some(CookieError::Malformed), Freshness::Master));
    // It goes on doing so over the cookie that is written for it.
    let written = cookie.write(&bad);
    let (next, _) = cookie.read_or_master(&client, written.set_cookie.split(';').next());
    assert_eq!(demand(&next).freshness, Freshness::Master);
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(demand(&bad).freshness, Freshness::Any);
    assert!(
        written.set_cookie.ends_with("; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax; Secure"),
        "{}",
        written.set_cookie
    );
}

#[test]
fn keys_and_options_are_checked_and_secrets_stay_secret() {
    let refused = |text: &str| CookieKeys::parse(text).map(|_| ()).unwrap_err().to_string();
    let secret = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let keys = CookieKeys::parse(&format!(" 7:{secret},\n3:{secret}\n")).unwrap();
    let seal = cookie_of("c", keys);
    assert_eq!(format!("{:?}", seal.seal), "Seal { cluster: \"c\", mark: [46, 125, 44, 3], keys: [7, 3] }");
    assert_eq!(refused(""), "0 cookie keys; from 1 to 16");
    assert_eq!(refused("7:c2hvcnQ="), "cookie key 7: the secret has 5 bytes; at least 32");
    assert_eq!(refused(&format!("7:{secret} 7:{secret}")), "cookie key 7 is there twice");
    for wrong in [format!("7:{secret} 256:{secret}"), format!("7:{secret} {secret}"), "1:x 2:!".to_owned()] {
        assert!(!refused(&wrong).contains("MDEy"), "no secret in an error: {}", refused(&wrong));
    }
    assert!(refused(&"x".repeat(20_000)).contains("16 KiB"));
    assert!(matches!(CookieKeys::from_env("TAO_NO_SUCH_VARIABLE"), Err(KeyError::NoVariable(_))));

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("1:{secret}\n")).unwrap();
    assert_eq!(CookieKeys::from_file(file.path()).unwrap().signing().0, 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(CookieKeys::from_file(file.path()), Err(KeyError::Mode { mode: 0o644 })));
    }

    let options = CookieOptions::default;
    for wrong in [
        CookieOptions { name: String::new(), ..options() },
        CookieOptions { name: "a=b".into(), ..options() },
        CookieOptions { path: "/; Domain=evil".into(), ..options() },
        CookieOptions { master_for: Duration::from_secs(601), ..options() },
        CookieOptions {
            session: SessionOptions {
                stick_to_master: Some(Duration::from_secs(601)),
                ..SessionOptions::default()
            },
            ..options()
        },
    ] {
        let keys = CookieKeys::new(1, SECRET).unwrap();
        assert!(SessionCookie::new("c", keys, wrong).is_err());
    }
}
