//! A small social site with a web server in each region, and one cookie for all of them.
//!
//! Start a cluster with `tao dev --regions 2 --wan-latency 60ms`, then run this with the address of one follower of each
//! region; it starts one web server for each, on ports from 8081:
//!
//! ```sh
//! cargo run -p tao-client --example web -- 127.0.0.1:7401 127.0.0.1:7501
//!
//! curl -s -b jar -c jar -X POST 'http://127.0.0.1:8082/post?me=2&text=hello'
//! curl -s -b jar -c jar -X POST 'http://127.0.0.1:8082/follow?me=1&whom=2'   # a write in the second region
//! curl -s -b jar -c jar 'http://127.0.0.1:8082/feed?me=1'                    # his own write, at once
//! curl -s -b jar -c jar 'http://127.0.0.1:8081/feed?me=1'                    # in the other region, too
//! curl -s               'http://127.0.0.1:8082/feed?me=1'                    # without the cookie: what is here by now
//! ```
//!
//! Each answer of `/feed` tells who answered its reads and the rule that found the answers fresh enough.
//! `TAO_COOKIE_KEYS` (`1:SECRET`, base64) signs the cookies; without it a key is drawn for this run.
#![allow(clippy::print_stdout)]

mod site;

use rand::Rng;
use tao_client::cookie::{CookieKeys, CookieOptions, SessionCookie};
use tao_client::{Client, Options};

const FIRST_PORT: u16 = 8081;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let nodes: Vec<String> = std::env::args().skip(1).collect();
    if nodes.is_empty() {
        return Err("name a follower of each region: web HOST:PORT HOST:PORT".into());
    }
    let keys = match std::env::var_os("TAO_COOKIE_KEYS") {
        Some(_) => CookieKeys::from_env("TAO_COOKIE_KEYS")?,
        None => CookieKeys::new(1, &rand::rng().random::<[u8; 32]>())?,
    };
    let mut servers = tokio::task::JoinSet::new();
    for (port, node) in (FIRST_PORT..).zip(nodes) {
        // The region of the node that is asked first is the client's.
        let client = Client::connect(Options::new([node.clone()])).await?;
        // Not `Secure`, because this speaks plain HTTP on one machine.
        let options = CookieOptions { secure: false, ..CookieOptions::default() };
        let cookie = SessionCookie::new(&client.topology().cluster, keys.clone(), options)?;
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        println!("http://127.0.0.1:{port} in the region of {node}");
        servers.spawn(async move { axum::serve(listener, site::router(client, cookie)).await });
    }
    while let Some(ended) = servers.join_next().await {
        ended??;
    }
    Ok(())
}
