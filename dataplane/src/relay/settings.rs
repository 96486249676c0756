//! What the relay is told at its start.

use std::{fmt, path::PathBuf, str::FromStr};

use async_nats::{
    ConnectOptions, ServerAddr, rustls::pki_types::CertificateDer, rustls::pki_types::pem::PemObject,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use weever_core::relay::{KEY, Key};
use weever_settings::{Setting, Take};

use crate::settings::setting;

/// Longest prefix of subjects, bytes.
const MAX_PREFIX: usize = 64;
/// Keys at once: one that seals, those that are on their way in or out.
const MAX_KEYS: usize = 8;

const GROUP: &str = "Relay";

const fn secret(name: &'static str, value: &'static str, help: &'static str) -> Setting {
    Setting {
        secret: true,
        ..setting(GROUP, name, value, None, help)
    }
}

/// All settings of the relay.
pub(crate) const SETTINGS: [Setting; 7] = [
    // Secret, since it may hold a password.
    secret(
        "nats",
        "URL[,URL…]",
        "NATS servers that carry media between data planes: nats://[user:password@]host:port or tls://. Without it there is no \
         relay.",
    ),
    setting(GROUP, "nats-file", "FILE", None, "The file that it stands in."),
    setting(
        GROUP,
        "nats-prefix",
        "PREFIX",
        Some("weever"),
        "First part of every subject; one for each cluster of Weever that shares NATS servers.",
    ),
    setting(
        GROUP,
        "nats-credentials",
        "FILE",
        None,
        "Credentials for NATS (.creds), in place of a password in the URL.",
    ),
    setting(
        GROUP,
        "nats-ca-file",
        "FILE",
        None,
        "Certificates (PEM) to trust for tls:// [default: the system's].",
    ),
    secret(
        "relay-key",
        "KEY[,KEY…]",
        "Seal what is relayed: base64 of 32 bytes each. The first key seals, all of them open. Without, it is readable for the NATS \
         servers.",
    ),
    setting(
        GROUP,
        "relay-key-file",
        "FILE",
        None,
        "The file that it stands in.",
    ),
];

/// How a relay reaches its bus, and what it does there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelaySettings {
    /// Any of them; without user and password.
    pub servers: Vec<ServerAddr>,
    /// From the URLs.
    pub login: Option<Login>,
    /// A `.creds` file.
    pub credentials: Option<PathBuf>,
    /// Trust for TLS; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// First part of every subject.
    pub prefix: String,
    /// The first seals, all open. Empty: nothing is sealed.
    pub keys: Vec<Key>,
}

/// What a URL says of who comes. Its secret doesn't show.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// `nats://token@host`
    Token(String),
    /// `nats://user:password@host`
    Password(String, String),
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token(…)"),
            Self::Password(user, _) => write!(f, "Password({user:?}, …)"),
        }
    }
}

impl RelaySettings {
    /// Takes everything of [`SETTINGS`]; whatever is wrong waits in `take`. `None`: no relay is wanted.
    pub(crate) fn take(take: &mut Take<'_>) -> Option<Self> {
        let urls = take.list_with("nats", url);
        let prefix = take.parse_with("nats-prefix", prefix);
        let credentials = take.optional_with("nats-credentials", credentials);
        let ca_file = take.optional_with("nats-ca-file", certificates);
        let keys = take.list_with("relay-key", key);
        // A file that is given gives the setting itself too.
        for name in ["nats-credentials", "nats-ca-file", "relay-key"] {
            take.needs(name, "nats");
        }
        if keys.len() > MAX_KEYS {
            take.reject("relay-key", format!("at most {MAX_KEYS} keys"));
        }
        let (servers, logins): (Vec<_>, Vec<_>) = urls.into_iter().unzip();
        let login = logins.first().cloned().flatten();
        if logins.iter().any(|other| *other != login) {
            take.reject("nats", "all servers are told the same user and password");
        }
        if login.is_some() && credentials.is_some() {
            take.reject("nats-credentials", "there is a user in --nats too: one of them");
        }
        if servers.is_empty() {
            if take.given("nats") {
                take.reject("nats", "no server is named");
            }
            return None;
        }
        Some(Self {
            servers,
            login,
            credentials,
            ca_file,
            prefix,
            keys,
        })
    }

    /// Whether servers are only spoken to by TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.servers.iter().any(ServerAddr::tls_required)
    }
}

fn url(text: &str) -> Result<(ServerAddr, Option<Login>), &'static str> {
    const FORM: &str = "nats://[user:password@]host:port or tls://…";
    if !["nats://", "tls://"]
        .iter()
        .any(|scheme| text.starts_with(scheme))
    {
        return Err(FORM);
    }
    let address = ServerAddr::from_str(text).map_err(|_| FORM)?;
    let decode = |part: &str| percent_decoded(part).ok_or(FORM);
    let login = match (address.username(), address.password()) {
        (None, None) => None,
        (Some(token), None) => Some(Login::Token(decode(token)?)),
        (Some(user), Some(password)) => Some(Login::Password(decode(user)?, decode(password)?)),
        (None, Some(_)) => return Err(FORM),
    };
    let mut bare = address.into_inner();
    if bare.host_str().is_none_or(str::is_empty) || !matches!(bare.path(), "" | "/") {
        return Err(FORM);
    }
    // The library logs addresses as they are.
    bare.set_username("")
        .and_then(|()| bare.set_password(None))
        .map_err(|()| FORM)?;
    Ok((ServerAddr::from_url(bare).map_err(|_| FORM)?, login))
}

/// RFC 3986 §2.1.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                bytes.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
                rest = tail;
            }
            (b'%', _) => return None,
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok()
}

fn prefix(text: &str) -> Result<String, String> {
    let is_token = |token: &str| {
        !token.is_empty()
            && token
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    };
    match text.len() <= MAX_PREFIX && text.split('.').all(is_token) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "letters, digits, - and _, dots between them, at most {MAX_PREFIX} bytes"
        )),
    }
}

fn credentials(path: &str) -> Result<PathBuf, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("can't read it: {error}"))?;
    ConnectOptions::with_credentials(&text).map_err(|_| "these are no credentials of NATS".to_owned())?;
    Ok(path.into())
}

fn certificates(path: &str) -> Result<PathBuf, String> {
    let all = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("can't read it: {error}"))?;
    match all.is_empty() {
        true => Err("there is no certificate in it".to_owned()),
        false => Ok(path.into()),
    }
}

fn key(text: &str) -> Result<Key, &'static str> {
    let bytes = BASE64_STANDARD.decode(text).map_err(|_| "no base64")?;
    <[u8; KEY]>::try_from(bytes)
        .map(Key::new)
        .map_err(|_| "not 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_and_their_secrets_do_not_show() {
        let (server, login) = url("nats://ann:p%40ss@nats.example:4333").unwrap();
        assert_eq!(server.as_url_str(), "nats://nats.example:4333");
        assert_eq!(login, Some(Login::Password("ann".into(), "p@ss".into())));
        assert!(!format!("{login:?}").contains("p@ss"));
        let (server, login) = url("tls://t0ken@[2001:db8::1]").unwrap();
        assert_eq!(
            (server.host(), server.port(), server.tls_required()),
            ("2001:db8::1", 4222, true)
        );
        assert_eq!(login, Some(Login::Token("t0ken".into())));
        assert!(!format!("{login:?}").contains("t0ken"));
        for wrong in [
            "",
            "localhost:4222",
            "http://localhost",
            "nats://",
            "nats://a:%zz@b",
            "ws://localhost",
            "nats://h/x",
        ] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn prefixes_are_subjects_and_never_wildcards() {
        for good in ["weever", "a.b-2.c_3"] {
            assert_eq!(prefix(good).as_deref(), Ok(good));
        }
        for wrong in ["", ".", "a.", "a..b", "a.*", ">", "a b", &"x".repeat(65)] {
            assert!(prefix(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys_are_32_bytes() {
        assert_eq!(key(&BASE64_STANDARD.encode([7; 32])), Ok(Key::new([7; 32])));
        for wrong in ["", "x", &BASE64_STANDARD.encode([7; 31]), &"7".repeat(64)] {
            assert!(key(wrong).is_err());
        }
    }
}
