//! Liveness, readiness and metrics over HTTP, for probes and Prometheus.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What the admin port tells: whether the node takes work, and its metrics.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

/// Where a node is in its life.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// Not yet, and why.
    Starting(String),
    /// It takes work.
    Ready,
    /// It answers what it has taken, and takes no more.
    Draining,
}

/// What a running node says of its parts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Details {
    /// It takes no work until these are done.
    pub waits_for: Vec<String>,
    /// It works, but somebody should look.
    pub notes: Vec<String>,
}

/// Looks at the parts of a node.
pub type Look = Box<dyn Fn() -> Details + Send + Sync>;

struct Inner {
    state: Mutex<State>,
    look: OnceLock<Look>,
    registry: Mutex<Registry>,
}

impl Health {
    /// Not ready, with a registry that holds `tao_build_info`.
    pub fn new(node: &str, role: &'static str) -> Self {
        let mut registry = Registry::default();
        let labels = vec![
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("node", node.to_owned()),
            ("role", role.to_owned()),
        ];
        registry.register("tao_build", "Version, name and role of this node", Info::new(labels));
        let state = Mutex::new(State::Starting("just started".to_owned()));
        Self(Arc::new(Inner { state, look: OnceLock::new(), registry: Mutex::new(registry) }))
    }

    /// Registers a component's metrics.
    pub fn register<T>(&self, component: impl FnOnce(&mut Registry) -> T) -> T {
        component(&mut self.0.registry.lock())
    }

    /// Says where the node is.
    pub fn set(&self, state: State) {
        *self.0.state.lock() = state;
    }

    /// Has the parts of the running node looked at whenever somebody asks. The first one given stays.
    pub fn look_at(&self, look: Look) {
        let _stays = self.0.look.set(look);
    }

    /// What a running node waits for; nothing while it starts or drains.
    pub fn details(&self) -> Details {
        match *self.0.state.lock() {
            State::Ready => self.0.look.get().map(|look| look()).unwrap_or_default(),
            State::Starting(_) | State::Draining => Details::default(),
        }
    }

    /// Serves until `stop`.
    ///
    /// # Errors
    /// The port can't be had; the message names it.
    pub async fn serve(self, listen: SocketAddr, stop: CancellationToken) -> anyhow::Result<SocketAddr> {
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|error| anyhow::anyhow!("admin port {listen}: {error}; set admin_listen"))?;
        let address = listener.local_addr()?;
        let router = Router::new()
            .route("/livez", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(self);
        tokio::spawn(async move {
            let serving = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
            if let Err(error) = serving.await {
                tracing::error!(%error, "admin port failed");
            }
        });
        Ok(address)
    }
}

async fn readyz(Shared(health): Shared<Health>) -> Response {
    let state = health.0.state.lock().clone();
    match state {
        State::Ready => {
            let Details { waits_for, notes } = health.details();
            let (status, word) = if waits_for.is_empty() {
                (StatusCode::OK, "ready")
            } else {
                (StatusCode::SERVICE_UNAVAILABLE, "waiting")
            };
            let lines = std::iter::once(word.to_owned())
                .chain(waits_for.iter().map(|what| format!("waits for {what}")))
                .chain(notes);
            (status, lines.map(|line| line + "\n").collect::<String>()).into_response()
        }
        State::Starting(why) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("starting: {why}\n")).into_response()
        }
        State::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response(),
    }
}

async fn metrics(Shared(health): Shared<Health>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &health.0.registry.lock()) {
        Ok(()) => {
            ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
                .into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
