//! What a control plane is told at its start.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use weever_settings::{LogFormat, Take};

use crate::auth::jwt;
use crate::directory::redis::RedisSettings;
use crate::directory::redis::place::Place;
use crate::events::webhook::Secret;
use crate::http::tls;

mod table;
#[cfg(test)]
mod tests;
mod values;

pub use table::{PROGRAM, SETTINGS};
use values::{domain, http_url, key_prefix, node, web_address, whole};

/// More than a process has descriptors for.
const MAX_CONNECTIONS: usize = 1_000_000;
/// A day.
const MAX_DRAIN_SECONDS: u64 = 24 * 60 * 60;
/// Longest name of a node.
const MAX_NODE_NAME: usize = 253;

/// A `host:port` of a STUN or TURN server, as clients are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceServer(pub String);

impl std::str::FromStr for IceServer {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.trim_start_matches("stun:").trim_start_matches("turn:");
        let ok = |c: char| c.is_ascii_alphanumeric() || "-._:[]?=&".contains(c);
        match bare.is_empty() || !bare.chars().all(ok) {
            true => Err("host:port wanted".into()),
            false => Ok(Self(bare.to_owned())),
        }
    }
}

/// Who decides who may join.
#[derive(Clone)]
pub enum Admission {
    /// Everybody may.
    Open,
    /// The tokens that `/create` sets.
    Tokens,
    /// Another server.
    Webhook(WebhookSettings),
    /// Tokens that are signed.
    Signed(JwtSettings),
}

/// How JSON web tokens are verified.
#[derive(Clone)]
pub struct JwtSettings {
    /// A JSON Web Key Set.
    pub file: PathBuf,
    /// `aud` has to name it.
    pub audience: Option<String>,
    /// `iss` has to be it.
    pub issuer: Option<String>,
}

/// How the auth webhook is asked.
#[derive(Clone)]
pub struct WebhookSettings {
    /// Where.
    pub url: reqwest::Url,
    /// Its bearer token.
    pub secret: Option<String>,
    /// For an answer.
    pub timeout: Duration,
    /// Requests at once.
    pub concurrency: usize,
}

/// Settings, typed.
#[derive(Clone)]
pub struct Config {
    /// Public server.
    pub host: IpAddr,
    /// Public server.
    pub port: u16,
    /// Certificate chain and key, both or none.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Origins that may use the public API.
    pub cors_domain: Option<String>,
    /// Of another node, without a slash at its end.
    pub overflow_url: Option<String>,
    /// Told to clients.
    pub stun: Vec<IceServer>,
    /// Told to clients.
    pub turn: Vec<IceServer>,
    /// For the TURN servers.
    pub turn_username: String,
    /// For the TURN servers.
    pub turn_password: String,
    /// TCP connections in all.
    pub max_connections: usize,
    /// TCP connections of one address.
    pub max_connections_per_address: usize,
    /// Requests a second of one address; 0: no limit.
    pub max_requests_per_address: u32,
    /// POSTs a second of one address; 0: no limit.
    pub max_joins_per_address: u32,
    /// Bad tokens a minute of one address; 0: no limit.
    pub max_bad_tokens_per_address: u32,
    /// Who decides who may join.
    pub admission: Admission,
    /// Rooms are created first.
    pub strict_rooms: bool,
    /// Private server.
    pub private_host: IpAddr,
    /// Private server.
    pub private_port: u16,
    /// Where events are posted, and what the requests are signed with.
    pub event_webhook: Option<(reqwest::Url, Option<Secret>)>,
    /// Serve `/create` and `/list` publicly.
    pub debug: bool,
    /// Label of the metrics.
    pub pod_name: String,
    /// Where the cluster's directory is.
    pub redis: Option<RedisSettings>,
    /// This node's URL for others' clients, without a slash at its end.
    pub advertise_url: Option<String>,
    /// Where data planes dial.
    pub control_socket: PathBuf,
    /// Longest wait of `/preStop`.
    pub drain_timeout: Duration,
    /// Filter of the log.
    pub log: String,
    /// How it is written.
    pub log_format: LogFormat,
    /// Collector of traces, a URL.
    pub otlp_endpoint: Option<String>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("private_host", &self.private_host)
            .field("private_port", &self.private_port)
            .field("control_socket", &self.control_socket)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// The file with the keys of signed tokens.
    pub(crate) fn key_set(&self) -> Option<PathBuf> {
        match &self.admission {
            Admission::Signed(settings) => Some(settings.file.clone()),
            Admission::Open | Admission::Tokens | Admission::Webhook(_) => None,
        }
    }

    /// Takes the settings; whatever is wrong waits in `take`.
    pub fn from(take: &mut Take<'_>) -> Self {
        let cert: Option<PathBuf> = take.optional("cert-file");
        let key: Option<PathBuf> = take.optional("key-file");
        take.needs("cert-file", "key-file");
        take.needs("key-file", "cert-file");
        let redis = redis(take);
        Self {
            host: take.parse("host"),
            port: take.parse("port"),
            tls: tls(take, cert, key),
            cors_domain: take.optional_with("cors-domain", domain),
            overflow_url: take.optional_with("overflow-url", node),
            stun: take.list("stun"),
            turn: take.list("turn"),
            turn_username: take.optional("turn-username").unwrap_or_default(),
            turn_password: take.optional("turn-password").unwrap_or_default(),
            max_connections: take.parse_with("max-connections", |text| whole(text, 1..=MAX_CONNECTIONS)),
            max_connections_per_address: take.parse_with("max-connections-per-address", |text| {
                whole(text, 1..=MAX_CONNECTIONS)
            }),
            max_requests_per_address: take.parse("max-requests-per-address"),
            max_joins_per_address: take.parse("max-joins-per-address"),
            max_bad_tokens_per_address: take.parse("max-bad-tokens-per-address"),
            admission: admission(take),
            strict_rooms: take.switch("strict-rooms"),
            private_host: take.parse("private-host"),
            private_port: take.parse("private-port"),
            event_webhook: event_webhook(take),
            debug: take.switch("debug"),
            pod_name: pod_name(take, redis.is_some()),
            redis,
            advertise_url: take.optional_with("advertise-url", node),
            control_socket: take
                .optional("control-socket")
                .unwrap_or_else(default_control_socket),
            drain_timeout: Duration::from_secs(
                take.parse_with("drain-timeout", |text| whole(text, 0..=MAX_DRAIN_SECONDS)),
            ),
            log: log_filter(take),
            log_format: take.parse("log-format"),
            otlp_endpoint: take.optional_with("otlp-endpoint", http_url),
        }
    }
}

fn redis(take: &mut Take<'_>) -> Option<RedisSettings> {
    let place = take.optional_with("redis", Place::parse);
    let prefix = take.parse_with("redis-prefix", key_prefix);
    let certificates: Option<Vec<u8>> = take.optional_with("redis-ca-file", |path| std::fs::read(path));
    take.needs("redis-ca-file", "redis");
    let mut place = place?;
    if let Some(pem) = certificates {
        match place.clone().trusting(pem) {
            Ok(trusting) => place = trusting,
            Err(why) => take.reject("redis-ca-file", why),
        }
    }
    Some(RedisSettings { place, prefix })
}

/// In a directory it is a word in others' lists.
fn pod_name(take: &mut Take<'_>, in_directory: bool) -> String {
    let name: String = take.parse("pod-name");
    let fits = (1..=MAX_NODE_NAME).contains(&name.len()) && name.bytes().all(|c| c.is_ascii_graphic());
    if in_directory && !fits {
        take.reject(
            "pod-name",
            "with --redis: 1 to 253 printable characters without space",
        );
    }
    name
}

/// What can't be used is to be known before anything is started.
fn tls(take: &mut Take<'_>, cert: Option<PathBuf>, key: Option<PathBuf>) -> Option<(PathBuf, PathBuf)> {
    let (cert, key) = cert.zip(key)?;
    for problem in tls::problems(&cert, &key) {
        take.reject(problem.flag.trim_start_matches('-'), problem.reason);
    }
    Some((cert, key))
}

fn admission(take: &mut Take<'_>) -> Admission {
    let tokens = take.switch("auth");
    let url = take.optional_with("auth-webhook", web_address);
    let secret = take.optional("auth-webhook-secret");
    let timeout = Duration::from_secs(take.parse_with("auth-webhook-timeout", |text| whole(text, 1..=20)));
    let concurrency = take.parse_with("auth-webhook-concurrency", |text| whole(text, 1..=1024));
    let file: Option<PathBuf> = take.optional("jwks-file");
    let (audience, issuer) = (take.optional("jwt-audience"), take.optional("jwt-issuer"));
    for (name, needed) in [
        ("auth-webhook-secret", "auth-webhook"),
        ("jwt-audience", "jwks-file"),
        ("jwt-issuer", "jwks-file"),
    ] {
        take.needs(name, needed);
    }
    match (tokens, url, file) {
        (false, None, None) => Admission::Open,
        (true, None, None) => Admission::Tokens,
        (false, Some(url), None) => Admission::Webhook(WebhookSettings {
            url,
            secret,
            timeout,
            concurrency,
        }),
        (false, None, Some(file)) => {
            if let Err(reason) = jwt::check(&file) {
                take.reject("jwks-file", reason);
            }
            Admission::Signed(JwtSettings {
                file,
                audience,
                issuer,
            })
        }
        (_, url, _) => {
            let one = if url.is_some() {
                "auth-webhook"
            } else {
                "jwks-file"
            };
            take.reject(
                one,
                "without --auth, --auth-webhook or --jwks-file beside it: one decides",
            );
            Admission::Open
        }
    }
}

fn event_webhook(take: &mut Take<'_>) -> Option<(reqwest::Url, Option<Secret>)> {
    let url = take.optional_with("event-webhook", web_address);
    let secret = take.optional_with("event-webhook-secret", Secret::parse);
    take.needs("event-webhook-secret", "event-webhook");
    Some((url?, secret))
}

/// A filter that can be read.
fn log_filter(take: &mut Take<'_>) -> String {
    take.parse_with("log", |text| {
        tracing_subscriber::EnvFilter::try_new(text).map(|_| text.to_owned())
    })
}

/// In the user's runtime directory, or one of its own under `/tmp`.
pub fn default_control_socket() -> PathBuf {
    if let Some(dir) = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
        return PathBuf::from(dir).join("weever/control.sock");
    }
    PathBuf::from(format!("/tmp/weever-{}/control.sock", user_id()))
}

/// Whom this process belongs to.
pub(crate) fn user_id() -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").map_or(0, |meta| meta.uid())
}
