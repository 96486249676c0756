//! The demo site, from the binary.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use include_dir::{Dir, File, include_dir};

use super::problem::Problem;

static SITE: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/site");

/// Nothing from elsewhere, nothing inline, no frames around us.
const POLICY: &str = "default-src 'self'; img-src 'self' data:; media-src 'self' blob: mediastream:; object-src 'none'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Any path that is no API.
pub async fn serve(request: Request<Body>) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let file = match find(request.uri().path()) {
        Some(file) if reads => file,
        Some(_) => return Problem::method("GET, HEAD").into_response(),
        None if reads => return with_policy(no_page()),
        None => return Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path").into_response(),
    };
    let etag = etag(file);
    let known = request
        .headers()
        .get(header::IF_NONE_MATCH)
        .and_then(|v| v.to_str().ok());
    if known.is_some_and(|known| {
        known
            .split(',')
            .any(|one| one.trim().trim_start_matches("W/") == etag)
    }) {
        return with_policy((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let headers = [
        (header::CONTENT_TYPE, content_type(file).to_owned()),
        (header::ETAG, etag),
        // Small files, and a new build may change any: ask each time.
        (header::CACHE_CONTROL, "no-cache".to_owned()),
    ];
    with_policy((headers, file.contents()).into_response())
}

fn no_page() -> Response {
    const PAGE: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Weever: no such page</title>\
                        <link rel=\"stylesheet\" href=\"/css/weever.css\"><main><h1>No such page</h1>\
                        <p><a href=\"/\">To the start page</a></p></main></html>\n";
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    (StatusCode::NOT_FOUND, kind, PAGE).into_response()
}

/// `/`, `/watch.html`, `/watch`
fn find(path: &str) -> Option<&'static File<'static>> {
    let path = path.trim_start_matches('/');
    let path = if path.is_empty() { "index.html" } else { path };
    if path.ends_with(".md") {
        return None;
    }
    SITE.get_file(path)
        .or_else(|| SITE.get_file(format!("{path}.html")))
}

fn content_type(file: &File<'_>) -> &'static str {
    match file.path().extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("json" | "webmanifest") => "application/json",
        Some("ico") => "image/x-icon",
        _ => "application/octet-stream",
    }
}

/// FNV-1a of the contents: changes when they do, needs no state.
fn etag(file: &File<'_>) -> String {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    format!(
        "\"{:016x}\"",
        file.contents().iter().fold(0xcbf2_9ce4_8422_2325, step)
    )
}

fn with_policy(mut response: Response) -> Response {
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
