//! The example site between two regions: a cookie that one web server wrote is understood by the other, and its user reads
//! his own writes although the second region is behind.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../examples/web/site.rs"]
mod site;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use serde_json::Value;
use tao_client::cookie::{CookieKeys, CookieOptions, SessionCookie};
use tao_client::testing::{FakeCluster, Graph, Reaction, region_topology};
use tao_client::{Client, Options};
use tao_schema::wire::proto;
use tao_schema::wire::proto::reply::Result as Reply;
use tower::ServiceExt;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// What one browser got.
struct Answer {
    status: StatusCode,
    cookie: String,
    body: Value,
}

async fn ask(site: &Router, method: &str, path: &str, cookie: Option<&str>) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(cookie) = cookie {
        request = request.header("cookie", format!("theme=dark; {cookie}"));
    }
    let response = site.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status();
    let set = response.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(set.contains("; HttpOnly; SameSite=Lax; Secure"), "{set}");
    let body = serde_json::from_slice(&to_bytes(response.into_body(), 1 << 20).await.unwrap()).unwrap();
    Answer { status, cookie: set.split(';').next().unwrap().to_owned(), body }
}

/// The second region's node: its memory is as of some time ago. It writes in the master region, and what its memory can't prove
/// it reads there.
fn behind(master: &Graph, memory: &Graph, request: &proto::Request) -> Reaction {
    let Some(proto::request::Op::Read(read)) = &request.op else { return master.answer(request) };
    let (reaction, rule) = match memory.answer(request) {
        Reaction::Reply(Reply::Read(here)) if read.freshness.is_none() => (Reply::Read(here), "here"),
        _ => match master.answer(request) {
            Reaction::Reply(there) => (there, "master region"),
            held => return held,
        },
    };
    Reaction::Reply(match reaction {
        Reply::Read(mut reply) => {
            reply.explain.iter_mut().for_each(|explain| rule.clone_into(&mut explain.rule));
            Reply::Read(reply)
        }
        other => other,
    })
}

fn texts(feed: &Answer) -> Vec<&str> {
    assert_eq!(feed.status, StatusCode::OK, "{}", feed.body);
    let items = feed.body["items"].as_array().unwrap().iter();
    let mut texts: Vec<_> = items.map(|item| item["text"].as_str().unwrap()).collect();
    texts.sort_unstable();
    texts
}

fn rules(feed: &Answer) -> Vec<&str> {
    let reads = feed.body["reads"].as_array().unwrap().iter();
    reads.map(|read| read.as_str().unwrap().rsplit("; ").next().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_user_reads_his_own_writes_in_a_region_that_is_behind() {
    let (master, memory) = (Graph::demo(), Graph::demo());
    let cluster = FakeCluster::of(&region_topology(1, &["east", "west"]), {
        let (master, memory) = (master.clone(), memory.clone());
        move |number, request| match number {
            1 => master.answer(request),
            _ => behind(&master, &memory, request),
        }
    });
    let site = async |region: &str| {
        let options = Options { region: Some(region.to_owned()), ..cluster.options() };
        let client = Client::connect(options).await.unwrap();
        let keys = CookieKeys::new(1, SECRET).unwrap();
        let cookie = SessionCookie::new(&client.topology().cluster, keys, CookieOptions::default()).unwrap();
        site::router(client, cookie)
    };
    let (east, west) = (site("east").await, site("west").await);

    ask(&east, "POST", "/post?me=2&text=hello", None).await;
    ask(&east, "POST", "/post?me=3&text=welcome", None).await;
    ask(&east, "POST", "/follow?me=1&whom=3", None).await;
    memory.become_copy_of(&master);
    // From here on the west is behind.
    let followed = ask(&west, "POST", "/follow?me=1&whom=2", None).await;
    assert_eq!((followed.status, &followed.body["followed"]), (StatusCode::OK, &2.into()));

    let stranger = ask(&west, "GET", "/feed?me=1", None).await;
    assert_eq!(
        (texts(&stranger), rules(&stranger)),
        (vec!["welcome"], vec!["here"; 3]),
        "what the cookie is for"
    );

    let feed = ask(&west, "GET", "/feed?me=1", Some(&followed.cookie)).await;
    assert_eq!(texts(&feed), ["hello", "welcome"]);
    // The list that he wrote is not here yet, nor is the shard of whom he follows, which has the inverse. The rest is.
    let mut read_where = rules(&feed);
    assert_eq!(read_where[0], "master region");
    read_where.sort_unstable();
    assert_eq!(read_where, ["here", "here", "master region", "master region", "master region"]);
    let again = ask(&west, "GET", "/feed?me=1", Some(&feed.cookie)).await;
    assert_eq!(texts(&again), ["hello", "welcome"], "the cookie of a read goes on");
    let elsewhere = ask(&east, "GET", "/feed?me=1", Some(&again.cookie)).await;
    assert_eq!(texts(&elsewhere), ["hello", "welcome"], "the other region's web server understands it");

    // When the west has caught up, nothing leaves it.
    memory.become_copy_of(&master);
    let caught_up = ask(&west, "GET", "/feed?me=1", Some(&elsewhere.cookie)).await;
    assert_eq!((texts(&caught_up), rules(&caught_up)), (vec!["hello", "welcome"], vec!["here"; 5]));

    // A cookie that was tampered with: nothing is known of this user, so nothing that may be behind is shown.
    let forged = format!("{}x", &followed.cookie[..followed.cookie.len() - 1]);
    let careful = ask(&west, "GET", "/feed?me=1", Some(&forged)).await;
    assert_eq!((texts(&careful), rules(&careful)), (vec!["hello", "welcome"], vec!["master region"; 5]));
    assert_eq!(careful.body["master_region_for_seconds"], 60.0);
}
