//! What a control plane is told at its start.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use weever_settings::{LOG_FORMAT, LogFormat, Program, Setting, Take};

use crate::auth::jwt;
use crate::directory::redis::RedisSettings;
use crate::directory::redis::place::Place;
use crate::events::webhook::Secret;
use crate::http::tls;

const fn setting(
    group: &'static str,
    name: &'static str,
    value: &'static str,
    default: Option<&'static str>,
    help: &'static str,
) -> Setting {
    Setting {
        name,
        value,
        default,
        help,
        group,
        secret: false,
    }
}

/// More than a process has descriptors for.
const MAX_CONNECTIONS: usize = 1_000_000;
/// A day.
const MAX_DRAIN_SECONDS: u64 = 24 * 60 * 60;

const PUBLIC: &str = "Public HTTP";
const PRIVATE: &str = "Private HTTP";
const AUTH: &str = "Who may join";
const ROOMS: &str = "Rooms";
const PROCESS: &str = "Process";

const CLUSTER: &str = "Several nodes";
/// Longest name of a node.
const MAX_NODE_NAME: usize = 253;

/// All settings of a control plane.
pub const SETTINGS: &[Setting] = &[
    setting(
        PUBLIC,
        "host",
        "ADDR",
        Some("0.0.0.0"),
        "Address of the public HTTP server.",
    ),
    setting(
        PUBLIC,
        "port",
        "PORT",
        Some("8443"),
        "Its TCP port. A control plane alone takes any free one for 0.",
    ),
    setting(
        PUBLIC,
        "cert-file",
        "FILE",
        None,
        "TLS certificate chain, PEM. With --key-file: HTTPS instead of HTTP.",
    ),
    setting(PUBLIC, "key-file", "FILE", None, "TLS private key, PEM."),
    setting(
        PUBLIC,
        "cors-domain",
        "DOMAIN",
        None,
        "Pages of this domain and its subdomains may use the public API.",
    ),
    setting(
        PUBLIC,
        "overflow-url",
        "URL",
        None,
        "Where newcomers are sent (307) while this node takes none: it drains, or its data planes are full.",
    ),
    setting(
        PUBLIC,
        "stun",
        "HOST:PORT[,…]",
        None,
        "STUN servers that clients are told of.",
    ),
    setting(
        PUBLIC,
        "turn",
        "HOST:PORT[,…]",
        None,
        "TURN servers that clients are told of.",
    ),
    setting(
        PUBLIC,
        "turn-username",
        "NAME",
        None,
        "User name for the TURN servers.",
    ),
    Setting {
        name: "turn-password",
        value: "PASSWORD",
        default: None,
        help: "Password for the TURN servers.",
        group: PUBLIC,
        secret: true,
    },
    setting(
        PUBLIC,
        "turn-password-file",
        "FILE",
        None,
        "The file that it stands in.",
    ),
    setting(
        PUBLIC,
        "max-connections",
        "N",
        Some("10000"),
        "TCP connections in all, as far as the limit of open files goes; more wait.",
    ),
    setting(
        PUBLIC,
        "max-connections-per-address",
        "N",
        Some("512"),
        "TCP connections of one address; more are closed.",
    ),
    setting(
        PUBLIC,
        "max-requests-per-address",
        "N",
        Some("2000"),
        "Requests of any kind a second of one address; more get 429. 0: no limit.",
    ),
    setting(
        PUBLIC,
        "max-joins-per-address",
        "N",
        Some("200"),
        "POSTs a second of one address; more get 429. 0: no limit.",
    ),
    setting(
        AUTH,
        "max-bad-tokens-per-address",
        "N",
        Some("100"),
        "Bad tokens a minute of one address; after that it gets 429 whatever its token is. 0: no limit.",
    ),
    setting(AUTH, "auth", "", None, "Ask for the tokens that /create sets."),
    setting(
        AUTH,
        "auth-webhook",
        "URL",
        None,
        "Ask this server who may join, and with what limits, by a POST of JSON.",
    ),
    Setting {
        name: "auth-webhook-secret",
        value: "SECRET",
        default: None,
        help: "Sent to the webhook as bearer token, so that it knows who asks.",
        group: AUTH,
        secret: true,
    },
    setting(
        AUTH,
        "auth-webhook-secret-file",
        "FILE",
        None,
        "The file that it stands in.",
    ),
    setting(
        AUTH,
        "auth-webhook-timeout",
        "SECONDS",
        Some("3"),
        "How long a POST waits for the webhook's answer before it gets 503, 1 to 20.",
    ),
    setting(
        AUTH,
        "auth-webhook-concurrency",
        "N",
        Some("64"),
        "Requests to the webhook at once; 16 times as many wait, more get 503.",
    ),
    setting(
        AUTH,
        "jwks-file",
        "FILE",
        None,
        "Let in who has a JSON web token that a key of this JSON Web Key Set has signed.",
    ),
    setting(
        AUTH,
        "jwt-audience",
        "NAME",
        None,
        "What a token's aud has to name.",
    ),
    setting(AUTH, "jwt-issuer", "NAME", None, "What a token's iss has to be."),
    setting(
        ROOMS,
        "strict-rooms",
        "",
        None,
        "Rooms must be created before they are joined.",
    ),
    setting(
        PRIVATE,
        "private-host",
        "ADDR",
        Some("127.0.0.1"),
        "Address of the private HTTP server: tokens, lists, probes, metrics.",
    ),
    setting(
        PRIVATE,
        "private-port",
        "PORT",
        Some("9443"),
        "Its TCP port. A control plane alone takes any free one for 0.",
    ),
    setting(
        PRIVATE,
        "event-webhook",
        "URL",
        None,
        "Post what happens to this server, as JSON: who joins and leaves, tracks, rooms, data planes.",
    ),
    Setting {
        name: "event-webhook-secret",
        value: "SECRET",
        default: None,
        help: "Sign these requests (Standard Webhooks): any text, or whsec_ and base64.",
        group: PRIVATE,
        secret: true,
    },
    setting(
        PRIVATE,
        "event-webhook-secret-file",
        "FILE",
        None,
        "The file that it stands in.",
    ),
    setting(
        PRIVATE,
        "debug",
        "",
        None,
        "Serve /create and /list on the public port too.",
    ),
    setting(
        PRIVATE,
        "pod-name",
        "NAME",
        Some("weever"),
        "This node's name: in metrics, and in --redis, where each node needs one of its own.",
    ),
    // Secret, since it may hold a password.
    Setting {
        name: "redis",
        // Of a secret that is wrong only this is told.
        value: "redis://[user:password@]host:port[/db][,…]",
        default: None,
        help: "Redis that tells this node of others; rediss:// for TLS; several: nodes of a Redis Cluster; \
               redis+sentinel://host:port,host:port/master.",
        group: CLUSTER,
        secret: true,
    },
    setting(CLUSTER, "redis-file", "FILE", None, "The file that it stands in."),
    setting(
        CLUSTER,
        "redis-prefix",
        "NAME",
        Some("weever"),
        "In front of every key and channel there: each cluster has its own.",
    ),
    setting(
        CLUSTER,
        "redis-ca-file",
        "FILE",
        None,
        "Certificates (PEM) to trust for rediss://, instead of the system's.",
    ),
    setting(
        CLUSTER,
        "advertise-url",
        "URL",
        None,
        "Where clients reach this node's public server: others send them here (307) while they take none themselves.",
    ),
    setting(
        PROCESS,
        "control-socket",
        "PATH",
        None,
        "Unix socket for data planes [$XDG_RUNTIME_DIR/weever/control.sock].",
    ),
    setting(
        PROCESS,
        "drain-timeout",
        "SECONDS",
        Some("60"),
        "How long a drain (/preStop, SIGTERM) waits for the last session to leave.",
    ),
    setting(
        PROCESS,
        "log",
        "FILTER",
        Some("info"),
        "What is logged, as RUST_LOG: info, weever_controlplane=debug, ...",
    ),
    LOG_FORMAT,
    // Secret, since it may hold a password.
    Setting {
        name: "otlp-endpoint",
        value: "URL",
        default: None,
        help: "OpenTelemetry collector that is sent a trace of each join, by OTLP over HTTP: http://localhost:4318.",
        group: PROCESS,
        secret: true,
    },
    setting(
        PROCESS,
        "otlp-endpoint-file",
        "FILE",
        None,
        "The file that it stands in.",
    ),
];

/// The program, as its help shows it.
pub const PROGRAM: Program<'_> = Program {
    name: "weever-controlplane",
    version: env!("CARGO_PKG_VERSION"),
    about: "Weever's control plane: HTTP signalling, rooms, tokens, metrics, the demo site. SIGTERM hands over: sessions live \
            on in the data planes, for the next control plane.",
    examples: &[
        (
            "weever-controlplane",
            "serve on 0.0.0.0:8443, with the private API on 127.0.0.1:9443",
        ),
        (
            "weever-controlplane --auth --cert-file cert.pem --key-file key.pem",
            "with tokens, over TLS",
        ),
        (
            "weever-controlplane --stun stun.example.org:3478 --cors-domain example.org",
            "for pages of another origin",
        ),
    ],
    tables: &[SETTINGS],
};

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

/// Letters, digits and what is read easily: no braces, which mean something to a Redis Cluster.
fn key_prefix(text: &str) -> Result<String, &'static str> {
    let ok = |c: u8| c.is_ascii_alphanumeric() || b"-_.:".contains(&c);
    match (1..=64).contains(&text.len()) && text.bytes().all(ok) {
        true => Ok(text.to_owned()),
        false => Err("1 to 64 letters, digits and - _ . :"),
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

/// An `http` or `https` URL. A user's password doesn't belong in it: it would be shown wherever the URL is.
fn web_address(text: &str) -> Result<reqwest::Url, String> {
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
fn whole<T>(text: &str, bounds: RangeInclusive<T>) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + fmt::Display,
{
    let number = text.parse().ok().filter(|number| bounds.contains(number));
    number.ok_or_else(|| format!("a whole number from {} to {}", bounds.start(), bounds.end()))
}

/// A filter that can be read.
fn log_filter(take: &mut Take<'_>) -> String {
    take.parse_with("log", |text| {
        tracing_subscriber::EnvFilter::try_new(text).map(|_| text.to_owned())
    })
}

/// A URL that can be posted to.
fn http_url(text: &str) -> Result<String, &'static str> {
    let url = reqwest::Url::parse(text).ok();
    let ok = url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    ok.then(|| text.to_owned()).ok_or("an http:// or https:// URL")
}

/// `https://*.example.org/` means the same as `example.org`.
fn domain(text: &str) -> Result<String, &'static str> {
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
fn node(text: &str) -> Result<String, &'static str> {
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

#[cfg(test)]
mod tests {
    use weever_settings::Stop;

    use super::*;

    fn read(args: &[&str]) -> Result<Config, Stop> {
        let args: Vec<String> = args.iter().map(|word| (*word).to_owned()).collect();
        let resolved = PROGRAM.resolve(&args, |_| None, |_| Err(std::io::Error::other("no file")))?;
        let mut take = resolved.take();
        let config = Config::from(&mut take);
        take.finish().map(|()| config)
    }

    #[test]
    fn defaults_are_good() {
        let config = read(&[]).unwrap();
        assert_eq!((config.port, config.private_port), (8443, 9443));
        assert!(config.host.is_unspecified() && config.private_host.is_loopback());
        assert!(
            matches!(config.admission, Admission::Open)
                && !config.debug
                && !config.strict_rooms
                && config.tls.is_none()
        );
        assert_eq!(config.drain_timeout, Duration::from_secs(60));
    }

    #[test]
    fn all_that_is_wrong_is_named_at_once() {
        let bad = [
            "--port=99999",
            "--cert-file=a.pem",
            "--redis=http://:hunter2@localhost",
            "--redis-prefix={a}",
            "--advertise-url=https://other.example/?a",
            "--max-connections=0",
            "--drain-timeout=99999999999999999",
            "--log=weever=loud",
            "--log-format=xml",
            "--otlp-endpoint=localhost:4318",
            "--cors-domain=a/b",
            "--stun=a b",
            "--overflow-url=https://user:pass@other.example",
        ];
        let Err(Stop::Errors(errors)) = read(&bad) else {
            panic!("accepted");
        };
        let text = Stop::Errors(errors.clone()).to_string();
        assert_eq!(errors.len(), bad.len(), "{text}");
        assert!(text.contains("redis://[user:password@]host:port"), "{text}");
        assert!(text.contains("needs --key-file"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn every_secret_may_stand_in_a_file() {
        let names: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
        for secret in SETTINGS.iter().filter(|setting| setting.secret) {
            assert!(
                names.contains(&format!("{}-file", secret.name).as_str()),
                "{}",
                secret.name
            );
        }
    }

    #[test]
    fn a_node_of_a_cluster_is_told_where_and_what_it_is() {
        let config = read(&[
            "--redis=redis://:hunter2@localhost",
            "--pod-name=node-1.example",
            "--advertise-url=https://one.example:8443/",
        ])
        .unwrap();
        assert_eq!(config.redis.unwrap().prefix, "weever");
        assert_eq!(config.advertise_url.as_deref(), Some("https://one.example:8443"));
        assert!(read(&[]).unwrap().redis.is_none());
        for (wrong, says) in [
            (&["--redis=redis://a", "--pod-name=a b"][..], "without space"),
            (&["--redis-ca-file=/dev/null"], "needs --redis too"),
            (
                &["--redis=redis://a", "--redis-ca-file=/dev/null"],
                "only for rediss://",
            ),
            (
                &["--redis=rediss://a", "--redis-ca-file=/nowhere"],
                "No such file",
            ),
        ] {
            let Err(Stop::Errors(errors)) = read(wrong) else {
                panic!("{wrong:?} accepted");
            };
            let text = Stop::Errors(errors).to_string();
            assert!(text.contains(says), "{text}");
        }
        assert!(read(&["--pod-name=a b"]).is_ok(), "alone it is a label");
    }

    #[test]
    fn one_decides_who_may_join() {
        let keys = std::env::temp_dir().join(format!("weever-keys-{}.json", std::process::id()));
        std::fs::write(
            &keys,
            format!(r#"{{"keys":[{{"kty":"oct","k":"{}"}}]}}"#, "A".repeat(43)),
        )
        .unwrap();
        let file = format!("--jwks-file={}", keys.display());
        let jwks = [file.as_str(), "--jwt-audience=a"];
        assert!(
            matches!(read(&jwks).unwrap().admission, Admission::Signed(jwt) if jwt.audience.as_deref() == Some("a"))
        );
        let webhook = [
            "--auth-webhook=https://example.org/a?b",
            "--auth-webhook-timeout=5",
        ];
        let Admission::Webhook(settings) = read(&webhook).unwrap().admission else {
            panic!("another");
        };
        assert_eq!(
            (settings.url.as_str(), settings.timeout.as_secs()),
            ("https://example.org/a?b", 5)
        );
        std::fs::remove_file(keys).unwrap();
        for (wrong, says) in [
            (&["--auth", "--auth-webhook=http://h/"][..], "one decides"),
            (&["--auth", "--jwks-file=k"], "one decides"),
            (&["--auth-webhook=http://h/", "--jwks-file=k"], "one decides"),
            (&["--jwt-issuer=me"], "needs --jwks-file"),
            (&["--auth-webhook-secret=hunter2"], "needs --auth-webhook too"),
            (&["--auth-webhook=ftp://h/"], "http:// or https://"),
            (&["--auth-webhook=http://u:hunter2@h/"], "no user or password"),
            (
                &["--auth-webhook=http://h/", "--auth-webhook-timeout=0"],
                "from 1 to 20",
            ),
        ] {
            let Err(Stop::Errors(errors)) = read(wrong) else {
                panic!("{wrong:?} accepted");
            };
            let text = Stop::Errors(errors.clone()).to_string();
            assert!(
                errors.len() == 1 && text.contains(says) && !text.contains("hunter2"),
                "{text}"
            );
        }
    }

    #[test]
    fn files_that_cannot_be_used_are_named_with_the_rest() {
        let bad = [
            "--cert-file=/nowhere/cert.pem",
            "--key-file=/dev/null",
            "--jwks-file=/nowhere/keys.json",
            "--port=none",
        ];
        let Err(Stop::Errors(errors)) = read(&bad) else {
            panic!("accepted");
        };
        let text = Stop::Errors(errors.clone()).to_string();
        assert_eq!(errors.len(), bad.len(), "{text}");
        for flag in bad {
            let (flag, file) = flag.split_once('=').unwrap();
            assert!(text.contains(flag) && text.contains(file), "{text}");
        }
    }

    #[test]
    fn a_domain_however_it_is_written() {
        for text in [
            "example.org",
            "https://Example.org/",
            "*.example.org",
            ".example.org",
        ] {
            assert_eq!(
                read(&["--cors-domain", text]).unwrap().cors_domain.as_deref(),
                Some("example.org")
            );
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = read(&["--turn=t:1", "--turn-username=u", "--turn-password=hunter2"]).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
