//! All settings of a control plane, as its help shows them.

use weever_settings::{LOG_FORMAT, Program, Setting};

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

const PUBLIC: &str = "Public HTTP";
const PRIVATE: &str = "Private HTTP";
const AUTH: &str = "Who may join";
const ROOMS: &str = "Rooms";
const PROCESS: &str = "Process";

const CLUSTER: &str = "Several nodes";

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
