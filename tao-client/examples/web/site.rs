//! The handlers: each reads the session out of the request's cookie, and writes it into the answer's.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tao_client::cookie::SessionCookie;
use tao_client::{Answered, Client, Error, ErrorCode, SessionClient};
use tao_schema::ids::{ObjectId, ObjectType};

/// The number of the type `user` in the demo schema.
const USER: ObjectType = ObjectType(1);
/// How many of those whom a user follows a feed shows.
const FOLLOWED: u32 = 20;
/// How many posts of each.
const POSTS: u32 = 3;

struct Site {
    client: Client,
    cookie: SessionCookie,
}

#[derive(Deserialize)]
struct Follow {
    me: u32,
    whom: u32,
}

#[derive(Deserialize)]
struct Post {
    me: u32,
    text: String,
}

#[derive(Deserialize)]
struct Feed {
    me: u32,
}

/// One web server of the site.
pub fn router(client: Client, cookie: SessionCookie) -> Router {
    Router::new()
        .route("/follow", post(follow))
        .route("/post", post(write_post))
        .route("/feed", get(feed))
        .with_state(Arc::new(Site { client, cookie }))
}

async fn follow(State(site): State<Arc<Site>>, Query(asked): Query<Follow>, headers: HeaderMap) -> Response {
    let session = site.session(&headers);
    let (me, whom) = (site.user(asked.me), site.user(asked.whom));
    let done = session.assoc_add(me, "follows", whom).send().await;
    site.answer(
        &session,
        done.map(|done| json!({"followed": asked.whom, "inverse_pending": done.inverse_pending})),
    )
}

async fn write_post(
    State(site): State<Arc<Site>>,
    Query(asked): Query<Post>,
    headers: HeaderMap,
) -> Response {
    let session = site.session(&headers);
    let me = site.user(asked.me);
    let written = async {
        let post = session.object_add("post").near(me).set("text", asked.text).send().await?.id;
        session.assoc_add(me, "authored", post).send().await?;
        Ok(json!({"post": post}))
    };
    let written = written.await;
    site.answer(&session, written)
}

async fn feed(State(site): State<Arc<Site>>, Query(asked): Query<Feed>, headers: HeaderMap) -> Response {
    let session = site.session(&headers);
    let feed = read_feed(&session, site.user(asked.me)).await;
    site.answer(&session, feed)
}

/// What those whom `me` follows have posted, and by which rule each read was answered.
async fn read_feed(session: &SessionClient, me: ObjectId) -> Result<Value, Error> {
    let (mut items, mut reads) = (Vec::new(), Vec::new());
    let followed = session.assoc_range(me, "follows").limit(FOLLOWED).send_explained().await?;
    reads.push(rule_of("follows", &followed));
    for who in followed.value.ids() {
        let posts = session.assoc_range(who, "authored").limit(POSTS).send_explained().await?;
        reads.push(rule_of("authored", &posts));
        for post in posts.value.ids() {
            let post = session.object_get(post).send_explained().await?;
            reads.push(rule_of("post", &post));
            if let Some(post) = post.value {
                items.push(json!({"by": who, "text": post.text("text")?}));
            }
        }
    }
    Ok(json!({"items": items, "reads": reads}))
}

fn rule_of<T>(what: &str, answered: &Answered<T>) -> String {
    match &answered.explain {
        Some(explain) => {
            format!("{what}: {:?} by {}; {}", explain.source, explain.path.join(" > "), explain.rule)
        }
        None => format!("{what}: the node did not tell"),
    }
}

impl Site {
    fn user(&self, number: u32) -> ObjectId {
        ObjectId::named(USER, number, self.client.topology().shards)
    }

    /// What this user has seen. Of a cookie that can't be used nothing is known: then the master region answers for a while.
    fn session(&self, headers: &HeaderMap) -> SessionClient {
        let header = headers.get(COOKIE).and_then(|value| value.to_str().ok());
        let (session, bad) = self.cookie.read_or_master(&self.client, header);
        if let Some(error) = bad {
            tracing::warn!(%error, "session cookie was not accepted");
        }
        session
    }

    /// The answer with the cookie: on errors, too, because a write of this request may have happened before.
    fn answer(&self, session: &SessionClient, outcome: Result<Value, Error>) -> Response {
        let (status, mut body) = match outcome {
            Ok(body) => (StatusCode::OK, body),
            // A failover has lost something that this user saw. He is told once; then the site goes on without it.
            Err(error) if error.code == ErrorCode::LostEpoch => {
                session.forget_lost();
                (
                    StatusCode::CONFLICT,
                    json!({"error": "some of what you have done last is lost; please look again"}),
                )
            }
            Err(error) if error.retryable() => {
                (StatusCode::SERVICE_UNAVAILABLE, json!({"error": error.to_string()}))
            }
            Err(error) => (StatusCode::BAD_REQUEST, json!({"error": error.to_string()})),
        };
        if let Some(left) = session.master_left() {
            body["master_region_for_seconds"] = json!(left.as_secs_f64().ceil());
        }
        let written = self.cookie.write(session);
        if let Some(fallback) = written.fallback {
            tracing::info!(?fallback, "the session did not fit into its cookie");
        }
        (status, [(SET_COOKIE, written.set_cookie)], Json(body)).into_response()
    }
}
