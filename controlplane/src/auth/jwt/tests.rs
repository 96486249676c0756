use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};

use super::*;
use crate::names::{FullId, RoomName};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// A key for signing, and the JWK of its other half.
struct Pair {
    signs: EncodingKey,
    algorithm: Algorithm,
    jwk: Value,
}

fn pair(algorithm: Algorithm, kid: &str) -> Pair {
    let signs = match algorithm {
        Algorithm::HS256 => EncodingKey::from_secret(SECRET),
        Algorithm::ES256 => {
            let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
            EncodingKey::from_ec_der(key.to_pkcs8v1().unwrap().as_ref())
        }
        _ => EncodingKey::from_ed_der(Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap().as_ref()),
    };
    let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&signs, algorithm).unwrap()).unwrap();
    jwk["kid"] = kid.into();
    Pair {
        signs,
        algorithm,
        jwk,
    }
}

struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("weever-jwks-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn of(name: &str, jwks: &[&Value]) -> Self {
        Self::new(name, &json!({ "keys": jwks }).to_string())
    }

    fn keys(&self) -> Result<Keys, AuthError> {
        self.keys_for(None, None)
    }

    fn keys_for(&self, audience: Option<&str>, issuer: Option<&str>) -> Result<Keys, AuthError> {
        Keys::read(&JwtSettings {
            file: self.0.clone(),
            audience: audience.map(Into::into),
            issuer: issuer.map(Into::into),
        })
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn claims() -> Value {
    json!({ "role": "pub", "room": "r", "id": "alice", "exp": get_current_timestamp() + 60 })
}

/// The usual claims, some of them otherwise; `null` takes one away.
fn with(changes: &Value) -> Value {
    let mut all = claims();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => all.as_object_mut().unwrap().remove(name),
            value => all.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    all
}

fn sign(pair: &Pair, kid: Option<&str>, claims: &Value) -> String {
    let mut header = Header::new(pair.algorithm);
    header.kid = kid.map(Into::into);
    encode(&header, claims, &pair.signs).unwrap()
}

fn ask(keys: &Keys, role: Role, room: &str, id: &str, token: &str) -> Result<Limits, Denied> {
    keys.admit(Asking {
        role,
        room: &RoomName::new(room).unwrap(),
        id: &FullId::new(id).unwrap(),
        address: [127, 0, 0, 1].into(),
        user_agent: None,
        token: Some(token),
    })
}

fn publishes(keys: &Keys, token: &str) -> Result<Limits, Denied> {
    ask(keys, Role::Publisher, "r", "alice", token)
}

#[test]
fn each_kind_of_key_lets_in_whom_its_token_names() {
    let all = [Algorithm::HS256, Algorithm::ES256, Algorithm::EdDSA];
    for algorithm in all {
        let pair = pair(algorithm, "k");
        let keys = File::of(&format!("{algorithm:?}"), &[&pair.jwk]).keys().unwrap();
        let token = sign(&pair, Some("k"), &claims());
        assert_eq!(publishes(&keys, &token), Ok(Limits::default()), "{algorithm:?}");
        assert_eq!(
            publishes(&keys, &sign(&pair, None, &claims())),
            Ok(Limits::default()),
            "the only key"
        );
        for id in ["alice+k3x9", "alice-screen", "alice-screen+1"] {
            assert!(ask(&keys, Role::Publisher, "r", id, &token).is_ok(), "{id}");
        }
        for (role, room, id) in [
            (Role::Subscriber, "r", "alice"),
            (Role::Publisher, "s", "alice"),
            (Role::Publisher, "r", "bob"),
            (Role::Publisher, "r", "alicex"),
        ] {
            assert_eq!(
                ask(&keys, role, room, id, &token),
                Err(Denied::BadToken),
                "{role:?} {room} {id}"
            );
        }
        let whole = sign(
            &pair,
            None,
            &with(&json!({ "id": "alice+k3x9", "role": ["pub", "sub"] })),
        );
        assert!(ask(&keys, Role::Subscriber, "r", "alice+k3x9", &whole).is_ok());
        assert!(ask(&keys, Role::Subscriber, "r", "alice", &whole).is_err());
    }
}

#[test]
fn the_key_decides_the_algorithm() {
    let (ec, ed) = (pair(Algorithm::ES256, "ec"), pair(Algorithm::EdDSA, "ed"));
    let hmac = pair(Algorithm::HS256, "hmac");
    let keys = File::of("confusion", &[&ec.jwk, &ed.jwk, &hmac.jwk])
        .keys()
        .unwrap();
    for (pair, kid) in [(&ec, "ec"), (&ed, "ed"), (&hmac, "hmac")] {
        assert!(publishes(&keys, &sign(pair, Some(kid), &claims())).is_ok());
        for other in ["ec", "ed", "hmac", "unknown", ""] {
            let refused = publishes(&keys, &sign(pair, Some(other), &claims()));
            assert_eq!(
                refused.is_ok(),
                other == kid,
                "signed by {kid}, said to be by {other:?}"
            );
        }
        assert!(
            publishes(&keys, &sign(pair, None, &claims())).is_err(),
            "several keys, and no kid"
        );
    }
    // What everybody knows, taken for a secret: the public key as bytes, and as it stands in the file.
    let public = DecodingKey::from_jwk(&serde_json::from_value(ec.jwk.clone()).unwrap()).unwrap();
    for secret in [
        public.try_get_as_bytes().unwrap(),
        ec.jwk.to_string().as_bytes(),
        b"",
    ] {
        let forged = Pair {
            signs: EncodingKey::from_secret(secret),
            algorithm: Algorithm::HS256,
            jwk: Value::Null,
        };
        for kid in ["ec", "ed", "hmac"] {
            assert!(
                publishes(&keys, &sign(&forged, Some(kid), &claims())).is_err(),
                "{kid}"
            );
        }
    }
    // {"alg":"none","kid":"ec"}, also in other letters, with and without a signature.
    let token = sign(&ec, Some("ec"), &claims());
    let [_, body, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    for header in [
        "eyJhbGciOiJub25lIiwia2lkIjoiZWMifQ",
        "eyJhbGciOiJOb05lIiwia2lkIjoiZWMifQ",
    ] {
        for signature in ["", signature] {
            assert!(publishes(&keys, &format!("{header}.{body}.{signature}")).is_err());
        }
    }
    for garbage in [
        "",
        ".",
        "..",
        "a.b.c",
        body,
        &token[1..],
        &token[..token.len() - 2],
    ] {
        assert!(publishes(&keys, garbage).is_err(), "{garbage}");
    }
}

#[test]
fn a_token_has_its_time_its_audience_and_its_limits() {
    let pair = pair(Algorithm::HS256, "k");
    let file = File::of("claims", &[&pair.jwk]);
    let now = get_current_timestamp();
    let keys = file.keys_for(Some("weever"), Some("me")).unwrap();
    let good = json!({ "aud": ["weever", "other"], "iss": "me" });
    let token = |changes: &Value| {
        let mut all = with(&good);
        for (name, value) in changes.as_object().unwrap() {
            all[name] = value.clone();
        }
        sign(&pair, None, &all)
    };
    assert!(publishes(&keys, &token(&json!({}))).is_ok());
    for accepted in [
        json!({ "exp": now - LEEWAY / 2 }),
        json!({ "nbf": now + LEEWAY / 2 }),
        json!({ "aud": "weever" }),
    ] {
        assert!(publishes(&keys, &token(&accepted)).is_ok(), "{accepted}");
    }
    for refused in [
        json!({ "exp": now - 2 * LEEWAY }),
        json!({ "exp": null }),
        json!({ "exp": "tomorrow" }),
        json!({ "nbf": now + 3600 }),
        json!({ "aud": "other" }),
        json!({ "aud": null }),
        json!({ "iss": "you" }),
        json!({ "iss": null }),
        json!({ "role": "both" }),
        json!({ "role": [] }),
        json!({ "room": null }),
        json!({ "id": 7 }),
        json!({ "max_bitrate": 0 }),
        json!({ "max_duration": "1h" }),
    ] {
        assert_eq!(
            publishes(&keys, &token(&refused)),
            Err(Denied::BadToken),
            "{refused}"
        );
    }
    let limits = publishes(
        &keys,
        &token(&json!({ "max_bitrate": 1000, "max_subscribers": 3 })),
    )
    .unwrap();
    assert_eq!(limits.max_bitrate.map(std::num::NonZeroU64::get), Some(1000));
    assert!(limits.max_duration.is_none() && limits.max_subscribers.is_some());
    // A token for somebody else is not ours, though we ask for no audience (RFC 7519 §4.1.3).
    assert!(publishes(&file.keys().unwrap(), &token(&json!({}))).is_err());
}

#[test]
fn a_file_that_cannot_be_used_says_why() {
    let point = json!({ "kty": "EC", "crv": "P-256", "kid": "k", "x": "AAAA", "y": "AAAA" });
    let short = json!({ "kty": "oct", "k": "c2hvcnQ" });
    let rsa = json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB" });
    let mut other = pair(Algorithm::HS256, "k").jwk;
    other["alg"] = "HS512".into();
    let good = pair(Algorithm::EdDSA, "k").jwk;
    for (text, says) in [
        ("", "line 1, column 0"),
        ("{}", "no JSON Web Key Set"),
        (&json!({ "keys": [] }).to_string(), "none of its keys"),
        (&json!({ "keys": [rsa] }).to_string(), "none of its keys"),
        (
            &json!({ "keys": [good, point] }).to_string(),
            "key 1: it is not a point",
        ),
        (&json!({ "keys": [short] }).to_string(), "5 bytes, at least 32"),
        (&json!({ "keys": [other] }).to_string(), "its alg is HS512"),
        (
            &json!({ "keys": [good, good] }).to_string(),
            "key 1: another has its kid",
        ),
        (&json!({ "keys": [7] }).to_string(), "key 0 lacks"),
    ] {
        let file = File::new("bad", text);
        let error = file
            .keys()
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(
            error.contains(says) && error.contains("--jwks-file"),
            "{text}: {error:?}"
        );
    }
    assert!(
        File::of("some", &[&rsa, &good]).keys().is_ok(),
        "what is not used is left alone"
    );
}

#[test]
fn keys_are_rotated_and_a_bad_file_changes_nothing() {
    let (old, new) = (pair(Algorithm::ES256, "old"), pair(Algorithm::EdDSA, "new"));
    let file = File::of("rotated", &[&old.jwk]);
    let keys = file.keys().unwrap();
    let tokens = [
        sign(&old, Some("old"), &claims()),
        sign(&new, Some("new"), &claims()),
    ];
    let admitted = |keys: &Keys| tokens.each_ref().map(|token| publishes(keys, token).is_ok());
    assert_eq!(admitted(&keys), [true, false]);
    std::fs::write(&file.0, "{").unwrap();
    assert!(keys.reread().is_err());
    assert_eq!(admitted(&keys), [true, false]);
    std::fs::write(&file.0, json!({ "keys": [new.jwk] }).to_string()).unwrap();
    keys.reread().unwrap();
    assert_eq!(admitted(&keys), [false, true]);
}
