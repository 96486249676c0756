//! A settings file, then flags and environment variables behind NULs.

use crate::Seed;

pub(crate) fn settings() -> Vec<Seed> {
    [
        (
            "file",
            "port = 9000\npublic-ip = [\"192.0.2.1\", \"2001:db8::1\"]\nauth = true\n",
        ),
        (
            "underscores",
            "public_ip = \"192.0.2.1,192.0.2.2\"\nturn_password = \"correct horse\"\n",
        ),
        ("twice", "public-ip = \"192.0.2.1\"\npublic_ip = \"192.0.2.1\"\n"),
        ("unknown-key", "prot = 9000\n"),
        ("wrong-type", "port = \"ninety\"\nauth = 1\n"),
        ("table", "[port]\nvalue = 1\n"),
        ("not-toml", "port = = 1\nturn-password = \"correct horse\n"),
        ("float-date", "port = 1.5\nlog = 2026-01-01\n"),
        ("nul-in-text", "log = \"a\\u0000b\"\n"),
        ("layers", "port = 1\0--port=2\0PORT=3"),
        (
            "flag-wins",
            "\0--port=9000\0--auth\0--public-ip=192.0.2.1\0--public-ip=::1",
        ),
        (
            "environment",
            "\0PUBLIC_IP=192.0.2.1\0AUTH=true\0TURN_PASSWORD=correct horse\0RUST_LOG=debug",
        ),
        ("empty-value", "port = 1\0--port="),
        ("switch-off", "auth = true\0--auth=false"),
        ("unknown-flag", "\0--turn-pasword=correct horse"),
        ("flag-without-value", "\0--port"),
        ("help", "\0--help"),
        ("version", "\0--version"),
        ("dashes", "\0-\0--\0---\0--="),
        ("empty", ""),
    ]
    .map(|(name, text)| (name, text.as_bytes().to_vec()))
    .to_vec()
}
