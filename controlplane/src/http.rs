//! The HTTP side: the public API for clients, the private one for operators, the demo site on both.

pub mod cors;
pub mod limits;
pub mod listen;
pub mod private;
pub mod problem;
pub mod sessions;
pub mod site;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::routing::{any, get};

use crate::auth::Auth;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::signalling::Signalling;
use limits::JoinRate;

/// What handlers work with.
#[derive(Clone)]
pub struct App {
    /// The rooms.
    pub signalling: Signalling,
    /// Tokens.
    pub auth: Auth,
    /// Settings.
    pub config: Arc<Config>,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// POSTs of each address.
    pub joins: Arc<JoinRate>,
    /// Told when the process is to end.
    pub stop: tokio::sync::watch::Sender<bool>,
}

/// The address of the TCP peer.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts
            .extensions
            .get::<Self>()
            .copied()
            .unwrap_or(Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED))))
    }
}

/// What clients reach.
pub fn public(app: App) -> Router {
    let mut router = Router::new()
        .route("/pub/{room}/{id}", any(sessions::publish))
        .route("/sub/{room}/{id}", any(sessions::subscribe))
        .route("/session/{key}", any(sessions::session));
    if app.config.debug {
        router = router.merge(private::tokens_and_lists());
    }
    let cors = axum::middleware::from_fn_with_state(app.clone(), cors::apply);
    router
        .fallback(get(site::serve).fallback(site::serve))
        .layer(cors)
        .with_state(app)
}

/// What operators reach.
pub fn private(app: App) -> Router {
    private::tokens_and_lists()
        .merge(private::operations())
        .fallback(get(site::serve).fallback(site::serve))
        .with_state(app)
}
