//! Adds two users, makes them friends and reads them back.
//!
//! Start a cluster with `tao dev`, then run this with the address of one of its followers:
//!
//! ```sh
//! cargo run -p tao-client --example quickstart -- 127.0.0.1:7401
//! ```
#![allow(clippy::print_stdout)]

use tao_client::{Client, Options, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7401".to_owned());
    let client = Client::connect(Options::new([address])).await?;

    // A session: this user reads his own writes, whichever node answers.
    let session = client.session();
    let ann = session.object_add("user").set("name", "Ann").set("bio", "climbs").send().await?;
    let bob = session.object_add("user").set("name", "Bob").send().await?;
    let written = session.assoc_add(ann.id, "friend", bob.id).set("circle", "school").send().await?;
    println!("Ann is {}, Bob is {}; friends at position {}", ann.id, bob.id, written.positions[0]);

    // Friendship is symmetric: Bob's list has Ann.
    for friend in session.assoc_range(bob.id, "friend").limit(10).send().await?.iter() {
        let Some(user) = session.object_get(friend.id2).send().await? else { continue };
        println!("Bob's friend {} since {}: {}", user.text("name")?, friend.time, user.text("bio")?);
    }

    // Independent reads go together.
    let mut batch = session.batch();
    batch.add(session.assoc_count(ann.id, "friend"));
    batch.add(session.assoc_count(bob.id, "friend"));
    for reply in batch.send().await {
        println!("{:?}", reply?);
    }

    // Where did an answer come from?
    let read = session.object_get(ann.id).send_explained().await?;
    println!("explained: {:?}", read.explain);
    println!("a cookie for this user: {}", session.export());
    Ok(())
}
