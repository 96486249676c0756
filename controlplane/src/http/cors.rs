//! Pages of other origins: one domain and its subdomains, if the operator names one.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::App;

const EXPOSED: &str = "Location, ETag, Link, Accept-Patch";
const METHODS: &str = "GET, HEAD, POST, PATCH, DELETE, OPTIONS";
const HEADERS: &str = "Authorization, Content-Type, If-Match";
const DAY: &str = "86400";

/// Adds what lets such pages use the API, and answers their preflights.
pub async fn apply(State(app): State<App>, request: Request<Body>, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let Some(domain) = app.config.cors_domain.as_deref() else {
        return next.run(request).await;
    };
    let is_preflight = *request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let allowed = origin.filter(|origin| origin.to_str().is_ok_and(|origin| belongs(origin, domain)));
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = allowed else { return response };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    set(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    if is_preflight {
        set(headers, header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        set(headers, header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
        set(headers, header::ACCESS_CONTROL_MAX_AGE, DAY);
        if !response.status().is_success() {
            let headers = std::mem::take(response.headers_mut());
            return (StatusCode::OK, headers).into_response();
        }
    }
    response
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}

/// Whether an origin (RFC 6454 §6.1: `scheme://host[:port]`) is of the domain or a subdomain.
fn belongs(origin: &str, domain: &str) -> bool {
    let Some((_, authority)) = origin.split_once("://") else {
        return false;
    };
    let host = authority.rsplit_once(':').map_or(authority, |(host, port)| {
        if port.bytes().all(|c| c.is_ascii_digit()) {
            host
        } else {
            authority
        }
    });
    let host = host.to_ascii_lowercase();
    let domain = domain.to_ascii_lowercase();
    host == domain || host.strip_suffix(&domain).is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::belongs;

    #[test]
    fn a_domain_and_its_subdomains() {
        for origin in [
            "https://example.org",
            "http://example.org:8080",
            "https://a.b.Example.org",
        ] {
            assert!(belongs(origin, "example.org"), "{origin}");
        }
        for origin in [
            "https://evilexample.org",
            "https://example.org.evil.com",
            "null",
            "https://example.com",
        ] {
            assert!(!belongs(origin, "example.org"), "{origin}");
        }
    }
}
