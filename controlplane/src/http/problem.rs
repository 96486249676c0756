//! Errors as `application/problem+json` (RFC 9457).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::auth::Denied;
use crate::rooms::Refused;

/// A word for the metrics, on the way out with each problem's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason(pub &'static str);

/// An error of the API.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    reason: &'static str,
    headers: Vec<(header::HeaderName, String)>,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
}

impl Problem {
    /// `detail` says what and where, and what to do.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            reason: usual_reason(status.as_u16()),
            headers: Vec::new(),
        }
    }

    /// Under another word in the metrics than its status has.
    #[must_use]
    pub fn because(mut self, reason: &'static str) -> Self {
        self.reason = reason;
        self
    }

    /// With a header.
    #[must_use]
    pub fn with(mut self, name: header::HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// 429, with when to try again.
    pub fn too_many(what: &str, seconds: u64) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            format!("{what}; try again in {seconds} s"),
        )
        .with(header::RETRY_AFTER, seconds.to_string())
    }

    /// Says what else would do.
    #[must_use]
    pub fn or(mut self, other: &str) -> Self {
        self.detail = format!("{}; or {other}", self.detail);
        self
    }

    /// 405, with what is allowed.
    pub fn method(allow: &str) -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("this resource takes {allow}"),
        )
        .with(header::ALLOW, allow)
    }
}

/// What a status of ours usually says.
fn usual_reason(status: u16) -> &'static str {
    match status {
        400 => "bad-request",
        401 => "bad-token",
        403 => "forbidden",
        404 => "not-found",
        405 => "method",
        408 => "timeout",
        409 => "duplicate",
        413 => "too-large",
        415 => "content-type",
        422 => "unservable",
        429 => "rate-limit",
        503 => "unavailable",
        _ => "error",
    }
}

/// 503, with when to try again: by then the directory is back, or not.
pub(super) fn directory_away(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        .because("directory")
        .with(header::RETRY_AFTER, "2")
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let status = StatusCode::from_u16(refused.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut problem = Self::new(status, refused.detail);
        if let Some(reason) = refused.reason {
            problem = problem.because(reason);
        }
        match refused.retry_after {
            Some(after) => problem.with(header::RETRY_AFTER, after.as_secs().max(1).to_string()),
            None => problem,
        }
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let detail = denied.to_string();
        match denied {
            Denied::BadToken | Denied::Unauthorized(_) => {
                Self::new(StatusCode::UNAUTHORIZED, detail).with(header::WWW_AUTHENTICATE, "Bearer")
            }
            Denied::Forbidden(_) => Self::new(StatusCode::FORBIDDEN, detail),
            Denied::Unknown => directory_away(detail),
            Denied::Undecided { retry_after, .. } => Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
                .because("auth-webhook")
                .with(header::RETRY_AFTER, retry_after.as_secs().max(1).to_string()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let body = Body {
            kind: "about:blank",
            title,
            status: self.status.as_u16(),
            detail: &self.detail,
        };
        let text = serde_json::to_string(&body).unwrap_or_default();
        let mut response = (
            self.status,
            [(header::CONTENT_TYPE, "application/problem+json")],
            text,
        )
            .into_response();
        response.extensions_mut().insert(Reason(self.reason));
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}
