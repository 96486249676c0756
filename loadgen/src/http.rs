//! As much of an HTTP/1.1 client as WHIP and WHEP need.

use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const SECONDS: Duration = Duration::from_secs(20);
/// Far above any answer with an SDP in it.
const MAX_RESPONSE: u64 = 1024 * 1024;

#[derive(Debug, Error)]
pub(crate) enum HttpError {
    #[error("{0} is not a URL of the form http://host[:port]/path")]
    Url(String),
    #[error("can't reach {authority}: {source}")]
    Unreachable {
        authority: String,
        source: std::io::Error,
    },
    #[error("{authority} did not answer within {} s", SECONDS.as_secs())]
    TimedOut { authority: String },
    #[error("{authority} broke the connection off: {source}")]
    Broken {
        authority: String,
        source: std::io::Error,
    },
    #[error("{authority} answered something that is not HTTP/1.1")]
    Malformed { authority: String },
}

/// Where a request goes: `http://authority/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) authority: String,
    pub(crate) path: String,
}

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Self, HttpError> {
        let wrong = || HttpError::Url(text.to_owned());
        let rest = text.strip_prefix("http://").ok_or_else(wrong)?;
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        if authority.is_empty() || path.contains(char::is_whitespace) {
            return Err(wrong());
        }
        let has_port = authority.rsplit(']').next().is_some_and(|end| end.contains(':'));
        let authority = if has_port {
            authority.to_owned()
        } else {
            format!("{authority}:80")
        };
        Ok(Self {
            authority,
            path: path.to_owned(),
        })
    }

    /// What a `Location` of an answer from here means: absolute or a path (RFC 3986 §5.2).
    pub(crate) fn join(&self, location: &str) -> Result<Self, HttpError> {
        if location.starts_with("http://") {
            Self::parse(location)
        } else if location.starts_with('/') {
            Ok(Self {
                authority: self.authority.clone(),
                path: location.to_owned(),
            })
        } else {
            let folder = self.path.rfind('/').map_or("", |at| &self.path[..at]);
            Ok(Self {
                authority: self.authority.clone(),
                path: format!("{folder}/{location}"),
            })
        }
    }
}

/// Status, headers and body of an answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Response {
    /// The first header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// One request on a connection of its own.
pub(crate) async fn request(
    method: &str,
    url: &Url,
    token: Option<&str>,
    body: Option<&str>,
) -> Result<Response, HttpError> {
    let authority = url.authority.clone();
    let mut text = format!(
        "{method} {} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n",
        url.path
    );
    if let Some(token) = token {
        text.push_str(&format!("Authorization: Bearer {token}\r\n"));
    }
    if let Some(body) = body {
        text.push_str(&format!(
            "Content-Type: application/sdp\r\nContent-Length: {}\r\n",
            body.len()
        ));
    }
    text.push_str("\r\n");
    text.push_str(body.unwrap_or_default());

    let exchange = async {
        let mut stream = TcpStream::connect(&authority)
            .await
            .map_err(|source| HttpError::Unreachable {
                authority: authority.clone(),
                source,
            })?;
        let broken = |source| HttpError::Broken {
            authority: authority.clone(),
            source,
        };
        stream.write_all(text.as_bytes()).await.map_err(broken)?;
        let mut raw = Vec::new();
        stream
            .take(MAX_RESPONSE)
            .read_to_end(&mut raw)
            .await
            .map_err(broken)?;
        parse(&raw).ok_or_else(|| HttpError::Malformed {
            authority: authority.clone(),
        })
    };
    timeout(SECONDS, exchange)
        .await
        .map_err(|_| HttpError::TimedOut {
            authority: authority.clone(),
        })?
}

fn parse(raw: &[u8]) -> Option<Response> {
    let text = String::from_utf8_lossy(raw);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()?
        .strip_prefix("HTTP/1.")?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect();
    let chunked = headers.iter().any(|(key, value)| {
        key.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked")
    });
    let body = if chunked { unchunk(body)? } else { body.to_owned() };
    Some(Response {
        status,
        headers,
        body,
    })
}

/// RFC 9112 §7.1, without trailers.
fn unchunk(mut body: &str) -> Option<String> {
    let mut whole = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n")?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        whole.push_str(rest.get(..size)?);
        body = rest.get(size..)?.strip_prefix("\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let url = Url::parse("http://localhost:8443/pub/room/alice?x=1").unwrap();
        assert_eq!(
            url,
            Url {
                authority: "localhost:8443".into(),
                path: "/pub/room/alice?x=1".into()
            }
        );
        assert_eq!(Url::parse("http://[::1]/a").unwrap().authority, "[::1]:80");
        assert!(Url::parse("localhost/pub").is_err());
        assert!(Url::parse("http:///pub").is_err());
    }

    #[test]
    fn locations_are_resolved() {
        let base = Url::parse("http://a:1/pub/room").unwrap();
        assert_eq!(base.join("/session/7").unwrap().path, "/session/7");
        assert_eq!(base.join("session/7").unwrap().path, "/pub/session/7");
        assert_eq!(base.join("http://b:2/s").unwrap().authority, "b:2");
    }

    #[test]
    fn answers_are_read_whole_and_chunked() {
        let plain = parse(b"HTTP/1.1 201 Created\r\nLocation: /s/1\r\n\r\nv=0\r\n").unwrap();
        assert_eq!(
            (plain.status, plain.header("location"), plain.body.as_str()),
            (201, Some("/s/1"), "v=0\r\n")
        );
        let chunked =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nv=0\r\n2;x\r\n\r\n\r\n0\r\n\r\n";
        assert_eq!(parse(chunked).unwrap().body, "v=0\r\n");
        assert!(parse(b"nonsense").is_none());
        assert!(parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nshort").is_none());
    }
}
