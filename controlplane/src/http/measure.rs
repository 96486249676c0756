//! Every request is counted by its route, never by its path: strangers choose paths.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, State};
use axum::http::{Method, Request};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;
use weever_proto::Role;

use super::problem::Reason;
use crate::metrics::{self, Metrics};

/// What is neither an endpoint of ours nor of a known name.
const SITE: &str = "site";

/// Which server counts, and where.
#[derive(Clone)]
pub struct Measure {
    /// `public` or `private`.
    pub server: &'static str,
    /// The figures.
    pub metrics: Arc<Metrics>,
}

/// Wraps a router's every answer.
pub async fn requests(State(measure): State<Measure>, request: Request<Body>, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut counted = Counted {
        measure,
        method: method(request.method()),
        route,
        status: None,
        began: Instant::now(),
    };
    let span = tracing::info_span!(
        "http",
        server = counted.measure.server,
        method = counted.method,
        route = counted.route()
    );
    let response = next.run(request).instrument(span).await;
    counted.status = Some(response.status().as_u16());
    counted.refusal(&response);
    response
}

/// Counts when it is dropped: also what was cut off by a time limit, or by a client that hung up.
struct Counted {
    measure: Measure,
    method: &'static str,
    route: Option<MatchedPath>,
    status: Option<u16>,
    began: Instant,
}

impl Counted {
    fn route(&self) -> &str {
        self.route.as_ref().map_or(SITE, MatchedPath::as_str)
    }

    /// A POST at an endpoint that was answered by a problem.
    fn refusal(&self, response: &Response) {
        let role = match self.route() {
            "/pub/{room}/{id}" => Role::Publisher,
            "/sub/{room}/{id}" => Role::Subscriber,
            _ => return,
        };
        if let (Some(Reason(reason)), "POST") = (response.extensions().get::<Reason>(), self.method) {
            self.measure.metrics.refused(role, reason);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.measure.metrics.answered(metrics::Request {
            server: self.measure.server,
            method: self.method,
            route: self.route(),
            status: self.status,
            took: self.began.elapsed(),
        });
    }
}

/// Strangers may send any word as a method.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PUT => "PUT",
        _ => "other",
    }
}
