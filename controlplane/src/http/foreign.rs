//! Pages of other sites, open in an operator's browser, must not work the private API behind the operator's back: a
//! request alone ends the process (`GET /preStop`), and a page whose name resolves to this machine (DNS rebinding) could
//! read who is where and set tokens too.

use std::net::IpAddr;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::App;
use super::problem::Problem;

const OTHER_SITE: &str = "a page of another site asked for this, and the private API is not for other sites";
const OTHER_NAME: &str = "while --private-host is a loopback address, the private API is asked by a loopback address or as \
                          localhost, not by another name or address";
const UNSAID: &str =
    "a browser asked for this without saying for which page: drain by a program, or by localhost";

/// Lets programs, our own pages and what is typed into a browser pass.
pub async fn refuse(State(app): State<App>, request: Request<Body>, next: Next) -> Response {
    let is_loopback = app.config.private_host.is_loopback();
    match objection(request.headers(), request.uri(), is_loopback) {
        Some(why) => Problem::new(StatusCode::FORBIDDEN, why).into_response(),
        None => next.run(request).await,
    }
}

fn objection(headers: &HeaderMap, uri: &Uri, is_loopback: bool) -> Option<&'static str> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = uri
        .authority()
        .map(|authority| authority.as_str())
        .or_else(|| text(header::HOST.as_str()));
    let is_foreign = match text("sec-fetch-site") {
        // Fetch Metadata (W3C): `none` is what the operator typed or bookmarked.
        Some(site) => site != "same-origin" && site != "none",
        // Browsers of old send at least this with what changes something.
        None => text(header::ORIGIN.as_str())
            .is_some_and(|origin| origin.split_once("://").map(|(_, authority)| authority) != host),
    };
    if is_foreign {
        return Some(OTHER_SITE);
    }
    // Over plain HTTP to anything but localhost browsers tell nothing of whose image or link this GET is, and it ends the
    // process. They all tell their language; programs and orchestrators don't.
    let is_unsaid = text("sec-fetch-site").is_none() && headers.contains_key(header::ACCEPT_LANGUAGE);
    if uri.path() == "/preStop" && is_unsaid {
        return Some(UNSAID);
    }
    let is_named = is_loopback && host.is_some_and(|host| !is_this_machine(host));
    is_named.then_some(OTHER_NAME)
}

/// Whether no name server has a say in where `host[:port]` leads.
fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.to_ascii_lowercase();
    // 0.0.0.0 leads here too, and browsers don't take it for this machine: they tell of no other site then.
    let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
    // RFC 6761 §6.3.
    name == "localhost" || name.ends_with(".localhost") || name.parse().is_ok_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn asked(is_loopback: bool, headers: &[(&'static str, &'static str)]) -> Option<&'static str> {
        let name = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        objection(
            &headers.iter().map(name).collect(),
            &Uri::from_static("/preStop"),
            is_loopback,
        )
    }

    #[test]
    fn programs_and_our_own_pages_pass() {
        let host = ("host", "127.0.0.1:9443");
        let proxied = ("origin", "https://proxy.example");
        for headers in [
            &[host][..],
            &[],
            &[host, ("sec-fetch-site", "none")],
            &[host, ("sec-fetch-site", "same-origin"), proxied],
            &[host, ("origin", "http://127.0.0.1:9443")],
            &[("host", "localhost:9443")],
            &[("host", "ops.localhost")],
            &[("host", "[::1]:9443")],
        ] {
            assert_eq!(asked(true, headers), None, "{headers:?}");
        }
        assert_eq!(asked(false, &[("host", "weever.example:9443")]), None);
    }

    #[test]
    fn pages_of_other_sites_do_not() {
        let host = ("host", "127.0.0.1:9443");
        for headers in [
            &[host, ("sec-fetch-site", "cross-site")][..],
            &[host, ("sec-fetch-site", "same-site")],
            &[host, ("origin", "http://127.0.0.1:8443")],
            &[host, ("origin", "null")],
        ] {
            assert_eq!(asked(true, headers), Some(OTHER_SITE), "{headers:?}");
            assert_eq!(asked(false, headers), Some(OTHER_SITE), "{headers:?}");
        }
    }

    #[test]
    fn a_browser_that_does_not_say_whose_link_it_follows_ends_nothing() {
        let browser = ("accept-language", "en");
        for is_loopback in [true, false] {
            assert_eq!(asked(is_loopback, &[browser]), Some(UNSAID));
            assert_eq!(asked(is_loopback, &[browser, ("sec-fetch-site", "none")]), None);
        }
    }

    #[test]
    fn a_name_that_somebody_else_resolves_is_not_ours() {
        for host in [
            "evil.example:9443",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "0.0.0.0:9443",
            "[::]:9443",
            "192.0.2.1:9443",
            "",
        ] {
            assert_eq!(asked(true, &[("host", host)]), Some(OTHER_NAME), "{host}");
        }
    }
}
