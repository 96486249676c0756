//! The HTTP side: the public API for clients, the private one for operators, the demo site on both.

pub mod cors;
pub mod events;
pub mod foreign;
pub mod limits;
pub mod listen;
pub mod measure;
pub mod names_in_path;
pub mod openapi;
pub mod packets;
pub mod player_events;
pub mod player_layers;
pub mod private;
pub mod problem;
pub mod rooms;
pub mod sessions;
pub mod site;
pub mod streams;
pub mod tls;
pub mod websocket;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{Request, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::any;

use crate::auth::Auth;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::signalling::Signalling;
use limits::{Bodies, Rate};
use measure::Measure;
use problem::Problem;
use streams::Streams;

/// What handlers work with.
#[derive(Clone)]
pub struct App {
    /// The rooms.
    pub signalling: Signalling,
    /// Other nodes, if there are.
    pub cluster: Option<Cluster>,
    /// Tokens.
    pub auth: Auth,
    /// Settings.
    pub config: Arc<Config>,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// Requests of each address.
    pub requests: Arc<Rate>,
    /// POSTs of each address.
    pub joins: Arc<Rate>,
    /// Bad tokens of each address.
    pub failures: Arc<Rate>,
    /// Places for answers that go on.
    pub streams: Streams,
    /// Places for those who read their events.
    pub player_streams: Streams,
    /// What is in memory of clients' bodies.
    pub bodies: Arc<Bodies>,
    /// Told when the process is to end.
    pub stop: tokio::sync::watch::Sender<bool>,
}

/// The address of the TCP peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }
}

impl Peer {
    /// Whom limits count: the address, of IPv6 the network (/64), which is as cheap to come by.
    pub fn counted(self) -> IpAddr {
        match self.0 {
            IpAddr::V6(v6) if !v6.is_loopback() => {
                Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into()
            }
            address => address,
        }
    }
}

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
    let mut router = public_routes();
    if app.config.debug {
        router = router.merge(private::tokens_and_lists());
    }
    let limit = axum::middleware::from_fn_with_state(app.clone(), limit_requests);
    let cors = axum::middleware::from_fn_with_state(app.clone(), cors::apply);
    let measure = measured(&app, "public");
    router
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(elsewhere)
        .layer(limit)
        .layer(cors)
        .layer(axum::middleware::from_fn_with_state(measure, measure::requests))
        .with_state(app)
}

fn public_routes() -> Router<App> {
    Router::new()
        .route("/pub/{room}/{id}", any(sessions::publish))
        .route("/sub/{room}/{id}", any(sessions::subscribe))
        .route("/session/{key}", any(sessions::session))
        .route("/session/{key}/events", any(player_events::endpoint))
        .route("/session/{key}/events/{stream}", any(player_events::stream))
        .route("/session/{key}/layer", any(player_layers::endpoint))
}

/// What operators reach.
pub fn private(app: App) -> Router {
    let foreign = axum::middleware::from_fn_with_state(app.clone(), foreign::refuse);
    let measure = measured(&app, "private");
    private_routes()
        // Not the site: a link may lead to the management page.
        .route_layer(foreign)
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(site::serve)
        .layer(axum::middleware::from_fn_with_state(measure, measure::requests))
        .with_state(app)
}

async fn limit_requests(State(app): State<App>, peer: Peer, request: Request<Body>, next: Next) -> Response {
    if app.requests.admits(peer.counted()) {
        return next.run(request).await;
    }
    Problem::too_many("too many requests from this address", app.requests.retry_after()).into_response()
}

fn private_routes() -> Router<App> {
    private::tokens_and_lists()
        .merge(private::operations())
        .merge(rooms::routes())
        .merge(events::routes())
        .merge(packets::routes())
        .merge(openapi::routes())
}

fn measured(app: &App, server: &'static str) -> Measure {
    Measure {
        server,
        metrics: app.metrics.clone(),
    }
}

/// The router adds what is allowed.
async fn method_not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this resource does not take that method; Allow lists those that it takes",
    )
}

async fn elsewhere(request: Request<axum::body::Body>) -> Response {
    let path = request.uri().path();
    if path.starts_with("/pub/") || path.starts_with("/sub/") {
        return sessions::misspelt(request.method().clone()).await;
    }
    site::serve(request).await
}

#[cfg(test)]
mod tests {
    use super::Peer;

    #[test]
    fn limits_count_networks_of_ipv6() {
        let peer = |text: &str| Peer::from(text.parse::<std::net::IpAddr>().unwrap()).counted();
        assert_eq!(peer("2001:db8:0:1::1"), peer("2001:db8:0:1:ffff::2"));
        assert_ne!(peer("2001:db8:0:1::1"), peer("2001:db8:0:2::1"));
        assert_eq!(peer("::ffff:192.0.2.1"), peer("192.0.2.1"));
        assert_ne!(peer("192.0.2.1"), peer("192.0.2.2"));
    }
}
