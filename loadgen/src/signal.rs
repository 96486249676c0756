//! WHIP and WHEP from the client's side (RFC 9725, draft-ietf-wish-whep), with the habits of deployed servers.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Method, Response, StatusCode, Url};
use thiserror::Error;

/// One request, from connecting to the last byte of its answer.
const TIMEOUT: Duration = Duration::from_secs(20);
/// RFC 9725 §4.5 expects a redirect or two.
const REDIRECTS_MAX: u32 = 5;
/// Connections that are kept for the next joins.
const IDLE_MAX: usize = 32;
const RESPONSE_MAX: u64 = 1024 * 1024;
/// How much of an error's body is shown, characters.
const SHOWN: usize = 300;
const SDP: HeaderValue = HeaderValue::from_static("application/sdp");

#[derive(Debug, Error)]
pub(crate) enum SignalError {
    #[error("`{0}` is not a URL: give http://host:port/path or https://...")]
    Url(String),
    #[error("`{0}` is no header: give it as `name: value`")]
    Header(String),
    #[error("{0} can't be read as PEM certificates: {1}")]
    Authority(String, String),
    #[error("can't reach {0}: {1}; is the server running there?")]
    Unreachable(String, String),
    #[error("TLS with {0}: {1}; for a certificate of your own give --ca FILE, or --insecure")]
    Tls(String, String),
    #[error("{0} did not answer within {seconds} s", seconds = TIMEOUT.as_secs())]
    TimedOut(String),
    #[error("{0}: {1}")]
    Http(String, String),
    #[error("{method} {path} was answered {status}: {detail}{hint}")]
    Refused {
        method: Method,
        path: String,
        status: u16,
        detail: String,
        hint: &'static str,
    },
    #[error("{0} redirected {REDIRECTS_MAX} times")]
    Redirects(String),
}

/// How requests are made.
#[derive(Debug, Clone, Default)]
pub(crate) struct SignalSettings {
    pub(crate) token: Option<String>,
    /// `name: value`
    pub(crate) headers: Vec<String>,
    /// PEM file of certificates to trust besides the system's.
    pub(crate) authority: Option<String>,
    /// Any certificate will do.
    pub(crate) insecure: bool,
}

/// What a POST brought.
#[derive(Debug)]
pub(crate) enum Reply {
    Answer(String),
    /// WHEP, 406: the server would rather offer.
    CounterOffer(String),
}

/// A session at the server.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// `None`: the server gave no Location, so the session can only be left by silence.
    url: Option<Url>,
}

/// An HTTP client for signalling.
#[derive(Debug, Clone)]
pub(crate) struct Signal(Client);

impl Signal {
    pub(crate) fn new(settings: &SignalSettings) -> Result<Self, SignalError> {
        let mut builder = Client::builder()
            .default_headers(headers(settings)?)
            .redirect(Policy::none())
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(IDLE_MAX)
            .no_proxy()
            .tls_danger_accept_invalid_certs(settings.insecure);
        if let Some(path) = &settings.authority {
            let wrong = |error: String| SignalError::Authority(path.clone(), error);
            let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
            let certificates =
                Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
            builder = builder.tls_certs_merge(certificates);
        }
        let client = builder
            .build()
            .map_err(|error| SignalError::Http("HTTP client".into(), root_cause(&error)))?;
        Ok(Self(client))
    }

    /// POSTs an offer.
    pub(crate) async fn post(&self, endpoint: &Url, offer: String) -> Result<(Reply, Session), SignalError> {
        let response = self.send(Method::POST, endpoint, Some(offer)).await?;
        let location = response
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|location| response.url().join(location).ok());
        let session = Session { url: location };
        let reply = match response.status() {
            StatusCode::OK | StatusCode::CREATED => text(response).await.map(Reply::Answer),
            StatusCode::NOT_ACCEPTABLE if is_sdp(&response) => text(response).await.map(Reply::CounterOffer),
            _ => return Err(refusal(Method::POST, response).await),
        };
        if reply.is_err() {
            // There is a session, without an answer for us.
            let _ = self.delete(&session).await;
        }
        Ok((reply?, session))
    }

    /// Takes a counter-offer: the answer goes to the session as a PATCH.
    pub(crate) async fn accept(&self, session: &Session, answer: String) -> Result<(), SignalError> {
        let Some(url) = &session.url else { return Ok(()) };
        let response = self.send(Method::PATCH, url, Some(answer)).await?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(refusal(Method::PATCH, response).await)
    }

    /// Ends a session. That the server knows it no longer is fine.
    pub(crate) async fn delete(&self, session: &Session) -> Result<(), SignalError> {
        let Some(url) = &session.url else { return Ok(()) };
        let response = self.send(Method::DELETE, url, None).await?;
        match response.status() {
            status if status.is_success() => Ok(()),
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(()),
            _ => Err(refusal(Method::DELETE, response).await),
        }
    }

    /// One request. Redirects repeat it as it was, with its token: the operator of a load test trusts the server.
    async fn send(&self, method: Method, url: &Url, body: Option<String>) -> Result<Response, SignalError> {
        let mut url = url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let mut request = self.0.request(method.clone(), url.clone());
            if let Some(body) = &body {
                request = request.header(CONTENT_TYPE, SDP).body(body.clone());
            }
            let response = request.send().await.map_err(|error| failure(&url, &error))?;
            let next = response
                .headers()
                .get(LOCATION)
                .filter(|_| response.status().is_redirection())
                .and_then(|value| value.to_str().ok())
                .and_then(|location| url.join(location).ok());
            match next {
                Some(next) => url = next,
                None => return Ok(response),
            }
        }
        Err(SignalError::Redirects(authority(&url)))
    }
}

fn headers(settings: &SignalSettings) -> Result<HeaderMap, SignalError> {
    let mut headers = HeaderMap::new();
    if let Some(token) = &settings.token {
        let value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| SignalError::Header("Authorization".into()))?;
        headers.insert(AUTHORIZATION, value);
    }
    for line in &settings.headers {
        let wrong = || SignalError::Header(line.clone());
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
        headers.append(name, value.trim().parse().map_err(|_| wrong())?);
    }
    Ok(headers)
}

/// `host:port`
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port_or_known_default() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

fn failure(url: &Url, error: &reqwest::Error) -> SignalError {
    let (server, cause) = (authority(url), root_cause(error));
    let mut chain: Option<&dyn std::error::Error> = Some(error);
    while let Some(one) = chain {
        if is_tls(one) {
            return SignalError::Tls(server, cause);
        }
        chain = one.source();
    }
    if error.is_timeout() {
        SignalError::TimedOut(server)
    } else if error.is_connect() {
        SignalError::Unreachable(server, cause)
    } else {
        SignalError::Http(server, cause)
    }
}

/// rustls' errors travel inside I/O errors, and those inside of others, which `source` passes over.
fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let inner = |io: &std::io::Error| io.get_ref().is_some_and(|inner| is_tls(inner));
    error.is::<rustls::Error>() || error.downcast_ref().is_some_and(inner)
}

fn is_sdp(response: &Response) -> bool {
    response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(SDP.as_bytes()))
}

async fn text(mut response: Response) -> Result<String, SignalError> {
    let url = response.url().clone();
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(|error| failure(&url, &error))? {
        body.extend_from_slice(&part);
        if body.len() as u64 > RESPONSE_MAX {
            return Err(SignalError::Http(
                authority(&url),
                format!("an answer of more than {RESPONSE_MAX} bytes"),
            ));
        }
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

async fn refusal(method: Method, response: Response) -> SignalError {
    let (path, status) = (response.url().path().to_owned(), response.status());
    let body = text(response).await.unwrap_or_default();
    SignalError::Refused {
        method,
        path,
        status: status.as_u16(),
        detail: detail(&body),
        hint: match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => " (give --token or --header)",
            StatusCode::NOT_FOUND => " (is that path the server's endpoint?)",
            _ => "",
        },
    }
}

/// The `detail` of RFC 9457, or the body as it is.
fn detail(body: &str) -> String {
    let problem = serde_json::from_str::<serde_json::Value>(body).ok();
    let detail = problem
        .as_ref()
        .and_then(|problem| problem.get("detail")?.as_str())
        .unwrap_or(body);
    detail.trim().chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_shown_by_their_detail() {
        assert_eq!(
            detail(r#"{"status":409,"detail":"duplicate publisher"}"#),
            "duplicate publisher"
        );
        assert_eq!(detail(" full\n"), "full");
        assert_eq!(detail(&"x".repeat(1000)).len(), SHOWN);
    }

    #[test]
    fn headers_are_checked() {
        let with = |line: &str| {
            headers(&SignalSettings {
                token: Some("secret".into()),
                headers: vec![line.into()],
                ..SignalSettings::default()
            })
        };
        let good = with("X-Stream:  one ").unwrap();
        assert_eq!(
            (good["authorization"].as_bytes(), good["x-stream"].as_bytes()),
            (&b"Bearer secret"[..], &b"one"[..])
        );
        for bad in ["", "no colon", "sp ace: x", "a: \u{0}"] {
            assert!(with(bad).is_err(), "{bad}");
        }
    }
}
