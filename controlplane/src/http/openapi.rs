//! The description of the API, for programs: OpenAPI 3.1, written by hand in `openapi.json`. Tests hold it to what the
//! routers route and to what is answered.

use axum::Router;
use axum::http::header;
use axum::routing::get;

use super::App;

/// The document.
pub const DOCUMENT: &str = include_str!("../../openapi.json");

/// `/openapi.json`
pub fn routes() -> Router<App> {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    Router::new().route("/openapi.json", get(async move || (kind, DOCUMENT)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The paths of a router, from what it shows of itself for debugging.
    fn paths(router: &Router<App>) -> BTreeSet<String> {
        let shown = format!("{router:?}");
        shown
            .split('"')
            .filter(|text| text.starts_with("/") && text.len() > 1 && !text.contains("__private__"))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn every_route_is_documented_and_nothing_else() {
        let document: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
        let documented: BTreeSet<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
        let mut routed = paths(&super::super::private_routes());
        assert!(
            routed.contains("/rooms/{room}"),
            "routers show their paths: {routed:?}"
        );
        routed.extend(paths(&super::super::public_routes()));
        assert_eq!(routed, documented);
    }
}
