use std::num::NonZeroU64;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use super::*;

const LATENCY: Duration = Duration::from_millis(40);
/// Long enough to say that something does not come.
const NEVER: Duration = Duration::from_millis(150);
/// Nothing that comes takes so long, on the busiest machine.
const SOON: Duration = Duration::from_secs(20);

/// A link to a listener, and both ends of a connection through it.
async fn connected(options: WanOptions) -> (WanLink, TcpStream, TcpStream) {
    let (link, listener) = listening(options).await;
    let near = TcpStream::connect(link.address()).await.unwrap();
    let (far, _) = listener.accept().await.unwrap();
    (link, near, far)
}

async fn listening(options: WanOptions) -> (WanLink, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let link = WanLink::open(listener.local_addr().unwrap(), options).await.unwrap();
    (link, listener)
}

fn wire() -> WanOptions {
    WanOptions::with_latency(Duration::ZERO)
}

async fn byte(stream: &mut TcpStream) -> io::Result<u8> {
    timeout(SOON, stream.read_u8()).await.expect("a byte or an end")
}

async fn is_silent(stream: &mut TcpStream) -> bool {
    timeout(NEVER, stream.read_u8()).await.is_err()
}

fn is_reset(result: io::Result<u8>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
}

#[tokio::test]
async fn bytes_take_the_latency_in_each_direction_and_keep_their_order() {
    let (_link, mut near, mut far) = connected(WanOptions::with_latency(LATENCY)).await;
    let began = Instant::now();
    for byte in 0..100u8 {
        near.write_all(&[byte]).await.unwrap();
    }
    let mut got = [0; 100];
    far.read_exact(&mut got).await.unwrap();
    assert!(began.elapsed() >= LATENCY, "{:?}", began.elapsed());
    assert_eq!(got.to_vec(), (0..100).collect::<Vec<u8>>());

    let began = Instant::now();
    far.write_all(b"answer").await.unwrap();
    near.read_exact(&mut got[..6]).await.unwrap();
    assert!(began.elapsed() >= LATENCY, "{:?}", began.elapsed());
    assert_eq!(&got[..6], b"answer");
}

#[tokio::test]
async fn a_half_closed_connection_still_works_the_other_way() {
    let (_link, mut near, mut far) = connected(WanOptions::with_latency(LATENCY)).await;
    near.write_all(b"question").await.unwrap();
    near.shutdown().await.unwrap();
    let mut asked = Vec::new();
    far.read_to_end(&mut asked).await.unwrap();
    assert_eq!(asked, b"question");
    far.write_all(b"answer").await.unwrap();
    drop(far);
    let mut answered = Vec::new();
    near.read_to_end(&mut answered).await.unwrap();
    assert_eq!(answered, b"answer");
}

#[tokio::test]
async fn more_than_fits_arrives_whole() {
    let options = WanOptions {
        bytes_under_way: 10_000,
        pieces_under_way: 3,
        ..WanOptions::with_latency(Duration::from_millis(2))
    };
    let (link, mut near, mut far) = connected(options).await;
    let sent: Vec<u8> = (0..200_000u32).map(|at| (at % 251) as u8).collect();
    let copy = sent.clone();
    let sending = tokio::spawn(async move {
        near.write_all(&copy).await.unwrap();
        near.shutdown().await.unwrap();
        near
    });
    let mut got = Vec::new();
    far.read_to_end(&mut got).await.unwrap();
    sending.await.unwrap();
    assert!(got == sent, "{} bytes came of {}", got.len(), sent.len());
    assert_eq!((link.carried(Way::Out), link.carried(Way::Back)), (200_000, 0));
}

#[tokio::test]
async fn closing_the_link_ends_its_connections() {
    let (link, mut near, _far) = connected(WanOptions::with_latency(LATENCY)).await;
    let address = link.address();
    drop(link);
    let mut got = Vec::new();
    // Either an end or a reset.
    assert_eq!(near.read_to_end(&mut got).await.unwrap_or(0), 0);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_change_holds_for_what_is_under_way() {
    let (link, mut near, mut far) = connected(WanOptions::with_latency(SOON * 10)).await;
    near.write_all(b"x").await.unwrap();
    assert!(is_silent(&mut far).await);
    link.set(Way::Out, Conditions::default());
    assert_eq!(byte(&mut far).await.unwrap(), b'x');
}

#[tokio::test]
async fn jitter_keeps_the_order_and_differs_from_piece_to_piece() {
    let (link, mut near, mut far) = connected(wire()).await;
    let jitter = Duration::from_millis(60);
    link.set(Way::Out, Conditions { latency: LATENCY, jitter, ..Conditions::default() });
    let mut times = Vec::new();
    for number in 0..10u8 {
        let began = Instant::now();
        near.write_all(&[number]).await.unwrap();
        assert_eq!(byte(&mut far).await.unwrap(), number);
        times.push(began.elapsed());
    }
    let (least, most) = (*times.iter().min().unwrap(), *times.iter().max().unwrap());
    assert!(least >= LATENCY && most > least + Duration::from_millis(10), "{times:?}");
    // Many at once: later ones have a smaller share of the jitter, and still come later.
    for number in 0..50u8 {
        near.write_all(&[number]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for number in 0..50u8 {
        assert_eq!(byte(&mut far).await.unwrap(), number);
    }
}

#[tokio::test]
async fn bandwidth_sets_the_pace_and_gives_it_free_again() {
    let (link, mut near, mut far) = connected(wire()).await;
    let slow = Conditions { bytes_per_second: NonZeroU64::new(50_000), ..Conditions::default() };
    link.set(Way::Out, slow);
    let began = Instant::now();
    near.write_all(&[7; 20_000]).await.unwrap();
    let mut got = vec![0; 20_000];
    timeout(SOON, far.read_exact(&mut got)).await.unwrap().unwrap();
    // The last piece goes as soon as those before it have gone.
    assert!(began.elapsed() >= Duration::from_millis(380), "{:?}", began.elapsed());
    // Some 40 s at this pace.
    let mut near = {
        let mut sending = near;
        tokio::spawn(async move {
            sending.write_all(&[8; 2_000_000]).await.unwrap();
            sending
        })
    };
    assert!(timeout(NEVER, &mut near).await.is_ok(), "the link takes what fits under way");
    link.set(Way::Out, Conditions::default());
    let mut got = vec![0; 2_000_000];
    timeout(SOON, far.read_exact(&mut got)).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_cut_holds_bytes_in_one_direction_only_and_brings_them_when_it_is_over() {
    let (link, mut near, mut far) = connected(wire()).await;
    let cut = Conditions { cut: true, ..Conditions::default() };
    link.set(Way::Out, cut);
    near.write_all(b"q").await.unwrap();
    far.write_all(b"a").await.unwrap();
    assert_eq!(byte(&mut near).await.unwrap(), b'a');
    near.shutdown().await.unwrap();
    assert!(is_silent(&mut far).await, "neither a byte nor an end");
    link.set(Way::Back, cut);
    far.write_all(b"b").await.unwrap();
    assert!(is_silent(&mut near).await);
    link.set(Way::Out, Conditions::default());
    assert_eq!(byte(&mut far).await.unwrap(), b'q');
    assert_eq!(byte(&mut far).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert!(is_silent(&mut near).await);
    link.set(Way::Back, Conditions::default());
    assert_eq!(byte(&mut near).await.unwrap(), b'b');
}

#[tokio::test]
async fn nobody_connects_through_a_cut_and_everybody_after_it() {
    for way in [Way::Out, Way::Back] {
        let (link, listener) = listening(wire()).await;
        link.set(way, Conditions { cut: true, ..Conditions::default() });
        // Until the gate is shut: who came before is let in, and hears nothing.
        let mut early = Vec::new();
        let mut hanging = loop {
            let mut connecting = tokio::spawn(TcpStream::connect(link.address()));
            match timeout(NEVER, &mut connecting).await {
                Ok(connected) => early.push(connected.unwrap().unwrap()),
                Err(_) => break connecting,
            }
        };
        assert!(early.len() < 3, "{} connected through a cut", early.len());
        assert!(timeout(NEVER, listener.accept()).await.is_err(), "the target heard of a connection");
        link.set(way, Conditions::default());
        let mut near = timeout(SOON, &mut hanging).await.expect("the caller tries again").unwrap().unwrap();
        near.write_all(b"n").await.unwrap();
        for _ in 0..early.len() {
            timeout(SOON, listener.accept()).await.expect("those who came early").unwrap();
        }
        let (mut far, _) = timeout(SOON, listener.accept()).await.unwrap().unwrap();
        assert_eq!(byte(&mut far).await.unwrap(), b'n');
        assert!(timeout(NEVER, listener.accept()).await.is_err(), "the link's own filler came through");
    }
}

#[tokio::test]
async fn a_reset_breaks_both_sides_at_once_and_what_is_under_way_is_lost() {
    let (link, mut near, mut far) = connected(WanOptions::with_latency(SOON * 10)).await;
    near.write_all(b"lost").await.unwrap();
    link.set(Way::Back, Conditions { cut: true, ..Conditions::default() });
    link.reset();
    assert!(is_reset(byte(&mut near).await));
    assert!(is_reset(byte(&mut far).await));
    link.set(Way::Back, Conditions::default());
    let _again = timeout(SOON, TcpStream::connect(link.address())).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_reset_of_one_end_reaches_the_other_after_what_was_sent_before() {
    let (_link, mut near, far) = connected(WanOptions::with_latency(LATENCY)).await;
    let began = Instant::now();
    far.try_write(b"f").unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    // So its close is a reset.
    socket2::SockRef::from(&far).set_linger(Some(Duration::ZERO)).unwrap();
    drop(far);
    assert_eq!(byte(&mut near).await.unwrap(), b'f');
    assert!(is_reset(byte(&mut near).await));
    assert!(began.elapsed() >= LATENCY);
}

#[tokio::test]
async fn a_close_may_be_slow() {
    let (link, mut near, mut far) = connected(wire()).await;
    let close_delay = Duration::from_millis(200);
    link.set(Way::Out, Conditions { close_delay, ..Conditions::default() });
    let began = Instant::now();
    near.write_all(b"l").await.unwrap();
    near.shutdown().await.unwrap();
    assert_eq!(byte(&mut far).await.unwrap(), b'l');
    assert_eq!(byte(&mut far).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert!(began.elapsed() >= close_delay, "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_end_that_is_gone_leaves_the_other_in_the_dark_until_it_answers_again() {
    for gone in [End::Near, End::Far] {
        let (link, listener) = listening(wire()).await;
        let near = TcpStream::connect(link.address()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        let (mut left, mut lost) = match gone {
            End::Near => (far, near),
            End::Far => (near, far),
        };
        link.lose(gone);
        assert!(is_reset(byte(&mut lost).await), "the end that is gone has no connection");
        left.write_all(b"hello?").await.unwrap();
        assert!(is_silent(&mut left).await, "neither an answer nor an end");
        // A connection that comes later is as any.
        let mut other = TcpStream::connect(link.address()).await.unwrap();
        let (mut accepted, _) = timeout(SOON, listener.accept()).await.unwrap().unwrap();
        accepted.write_all(b"o").await.unwrap();
        assert_eq!(byte(&mut other).await.unwrap(), b'o');
        assert_eq!(link.connections(), 2);
        link.answer_again();
        assert!(is_reset(byte(&mut left).await));
        accepted.write_all(b"o").await.unwrap();
        assert_eq!(byte(&mut other).await.unwrap(), b'o');
    }
}

#[tokio::test]
async fn a_target_that_refuses_looks_like_a_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    drop(listener);
    let link = WanLink::open(target, wire()).await.unwrap();
    let mut near = TcpStream::connect(link.address()).await.unwrap();
    assert!(is_reset(byte(&mut near).await));
}
