//! What an operator writes: a settings file, flags, environment variables.

use std::io;
use std::net::IpAddr;
use std::path::Path;

use weever_settings::{Program, Setting};

const fn setting(name: &'static str, value: &'static str, default: Option<&'static str>) -> Setting {
    Setting {
        name,
        value,
        default,
        help: "",
        group: "",
        secret: false,
    }
}

const SETTINGS: &[Setting] = &[
    setting("port", "PORT", Some("8443")),
    setting("public-ip", "ADDR[,ADDR…]", None),
    setting("auth", "", None),
    setting("log", "FILTER", Some("info")),
    Setting {
        secret: true,
        ..setting("turn-password", "TEXT", None)
    },
];

const PROGRAM: Program<'static> = Program {
    name: "fuzzed",
    version: "1",
    about: "",
    examples: &[],
    tables: &[SETTINGS],
};

fn nowhere(_: &Path) -> io::Result<String> {
    Err(io::ErrorKind::NotFound.into())
}

/// A settings file, then NUL-separated flags and `NAME=value` of the environment. Whatever is resolved is the same again
/// when handed on by the environment, and shows the same whatever its secret is.
pub fn settings(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut parts = text.split('\0');
    let file = parts.next().unwrap_or_default();
    let (flags, env): (Vec<&str>, Vec<&str>) = parts.partition(|part| part.starts_with('-'));
    let args: Vec<String> = ["--config=settings.toml"]
        .into_iter()
        .chain(flags)
        .map(str::to_owned)
        .collect();
    let variable = |name: &str| {
        let pairs = env.iter().filter_map(|pair| pair.split_once('='));
        pairs
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| value.to_owned())
            .next()
    };
    let Ok(resolved) = PROGRAM.resolve(&args, variable, |_| Ok(file.to_owned())) else {
        return;
    };
    let handed = resolved.to_env();
    let child = PROGRAM
        .resolve(&[], |name| find(&handed, name), nowhere)
        .expect("neither help nor version");
    assert_eq!(child.to_env(), handed);
    let other_secret = |name: &str| match (name, find(&handed, name)) {
        ("TURN_PASSWORD", Some(_)) => Some("another".to_owned()),
        (_, value) => value,
    };
    let other = PROGRAM
        .resolve(&[], other_secret, nowhere)
        .expect("neither help nor version");
    assert_eq!(format!("{other:?}"), format!("{child:?}"), "a secret shows");

    let mut take = resolved.take();
    let port: u16 = take.parse("port");
    let addresses: Vec<IpAddr> = take.list("public-ip");
    let _ = (
        take.switch("auth"),
        take.optional::<String>("turn-password"),
        take.parse::<String>("log"),
    );
    if take.finish().is_ok() {
        assert_eq!(
            port,
            find(&handed, "PORT").map_or(8443, |text| text.trim().parse().expect("a port"))
        );
        let given = find(&handed, "PUBLIC_IP").unwrap_or_default();
        assert_eq!(
            addresses.len(),
            given.split(',').filter(|item| !item.trim().is_empty()).count()
        );
    }
}

fn find(env: &[(String, String)], name: &str) -> Option<String> {
    env.iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.clone())
}
