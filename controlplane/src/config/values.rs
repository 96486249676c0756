//! Values that settings have, read from text.

use std::fmt;
use std::ops::RangeInclusive;

/// Letters, digits and what is read easily: no braces, which mean something to a Redis Cluster.
pub(super) fn key_prefix(text: &str) -> Result<String, &'static str> {
    let ok = |c: u8| c.is_ascii_alphanumeric() || b"-_.:".contains(&c);
    match (1..=64).contains(&text.len()) && text.bytes().all(ok) {
        true => Ok(text.to_owned()),
        false => Err("1 to 64 letters, digits and - _ . :"),
    }
}

/// An `http` or `https` URL. A user's password doesn't belong in it: it would be shown wherever the URL is.
pub(super) fn web_address(text: &str) -> Result<reqwest::Url, String> {
    let url: reqwest::Url = text.parse().map_err(|error| format!("{error}"))?;
    match url.scheme() {
        "http" | "https" if !url.username().is_empty() || url.password().is_some() => {
            Err("no user or password in the URL: there is a setting for the secret".into())
        }
        "http" | "https" => Ok(url),
        _ => Err("http:// or https://".into()),
    }
}

/// A number within bounds.
pub(super) fn whole<T>(text: &str, bounds: RangeInclusive<T>) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + fmt::Display,
{
    let number = text.parse().ok().filter(|number| bounds.contains(number));
    number.ok_or_else(|| format!("a whole number from {} to {}", bounds.start(), bounds.end()))
}

/// A URL that can be posted to.
pub(super) fn http_url(text: &str) -> Result<String, &'static str> {
    let url = reqwest::Url::parse(text).ok();
    let ok = url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    ok.then(|| text.to_owned()).ok_or("an http:// or https:// URL")
}

/// `https://*.example.org/` means the same as `example.org`.
pub(super) fn domain(text: &str) -> Result<String, &'static str> {
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let text = text
        .trim_end_matches('/')
        .trim_start_matches("*.")
        .trim_matches('.');
    let ok = |c: u8| c.is_ascii_alphanumeric() || b"-._".contains(&c);
    match !text.is_empty() && text.bytes().all(ok) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err("a domain, without port or path"),
    }
}

/// `https://other.example.org:8443`, a path behind it or not.
pub(super) fn node(text: &str) -> Result<String, &'static str> {
    let wanted = "http:// or https://, a host, and maybe a port and a path; no user, query or fragment";
    let uri: axum::http::Uri = text.parse().map_err(|_| wanted)?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    let is_host = uri
        .authority()
        .is_some_and(|at| !at.host().is_empty() && !at.as_str().contains('@'));
    match is_web && is_host && uri.query().is_none() && !text.contains('#') {
        true => Ok(text.trim_end_matches('/').to_owned()),
        false => Err(wanted),
    }
}
