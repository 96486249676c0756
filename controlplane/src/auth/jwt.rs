//! `--jwks-file`: tokens that carry their own answer (RFC 7519), signed by a key of a file (RFC 7517).
//!
//! The key decides the algorithm, and a token that names another is refused: so nobody can have a public key taken for a
//! shared secret, nor choose none at all. A token is looked at once, at the POST: who is in stays in beyond its `exp`; what shall
//! end a session is `max_duration`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, VerificationAlgorithm};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use weever_proto::Role;

use super::{Asking, AuthError, Denied};
use crate::config::JwtSettings;
use crate::files::{self, Reread};
use crate::rooms::Limits;

/// Seconds by which the clocks of whoever signs and of this machine may differ.
const LEEWAY: u64 = 30;
/// Keys of one file.
const MAX_KEYS: usize = 256;
/// Bytes of a shared secret (RFC 7518 §3.2).
const MIN_SECRET: usize = 32;

/// The keys in force.
pub(crate) struct Keys {
    path: PathBuf,
    audience: Option<String>,
    issuer: Option<String>,
    current: RwLock<Arc<Vec<Key>>>,
}

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// What a token says.
#[derive(Debug, Deserialize)]
struct Claims {
    role: Roles,
    room: String,
    id: String,
    #[serde(flatten)]
    limits: Limits,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Roles {
    One(ClaimedRole),
    Several(Vec<ClaimedRole>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ClaimedRole {
    Pub,
    Sub,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<serde_json::Value>,
}

impl Keys {
    pub(crate) fn read(settings: &JwtSettings) -> Result<Self, AuthError> {
        Ok(Self {
            path: settings.file.clone(),
            audience: settings.audience.clone(),
            issuer: settings.issuer.clone(),
            current: RwLock::new(Arc::new(load(&settings.file)?)),
        })
    }

    pub(super) fn admit(&self, asking: Asking<'_>) -> Result<Limits, Denied> {
        let token = asking.token.ok_or(Denied::BadToken)?;
        let claims = self.claims(token).and_then(|claims| match claims.fit(asking) {
            true => Ok(claims),
            false => Err("it is for another role, room or ID"),
        });
        claims.map(|claims| claims.limits).map_err(|reason| {
            // Whoever signs wants to know; whoever tries is not told.
            tracing::debug!(room = %asking.room, id = %asking.id, reason, "a JSON web token was refused");
            Denied::BadToken
        })
    }

    fn claims(&self, token: &str) -> Result<Claims, &'static str> {
        let keys = self.current.read().map_err(|_| "there are no keys")?.clone();
        let header = decode_header(token).map_err(|_| "it has no header that can be read")?;
        if header.crit.is_some() {
            return Err("it wants extensions to be understood (RFC 7515 §4.1.11)");
        }
        let key = match (&header.kid, keys.as_slice()) {
            (Some(kid), keys) => keys.iter().find(|key| key.id.as_ref() == Some(kid)),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        let key = key.ok_or("its kid names none of the keys")?;
        let decoded = decode::<Claims>(token, &key.key, &self.validation(key.algorithm));
        decoded
            .map(|data| data.claims)
            .map_err(|error| word(error.kind()))
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        let mut required = vec!["exp"];
        if let Some(audience) = &self.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        validation
    }
}

impl Reread for Keys {
    const WHAT: &'static str = "the key set";
    type Error = AuthError;

    fn paths(&self) -> Vec<PathBuf> {
        vec![self.path.clone()]
    }

    fn reread(&self) -> Result<(), AuthError> {
        let keys = Arc::new(load(&self.path)?);
        if let Ok(mut current) = self.current.write() {
            *current = keys;
        }
        Ok(())
    }
}

impl Claims {
    /// As with stored tokens, an ID lets all of its Full IDs in; a Full ID lets in that alone.
    fn fit(&self, asking: Asking<'_>) -> bool {
        let wanted = match asking.role {
            Role::Publisher => ClaimedRole::Pub,
            Role::Subscriber => ClaimedRole::Sub,
        };
        let role = match &self.role {
            Roles::One(role) => *role == wanted,
            Roles::Several(roles) => roles.contains(&wanted),
        };
        let is_id = self.id == asking.id.base() || self.id == asking.id.as_str();
        role && self.room == asking.room.as_str() && is_id
    }
}

/// In words that quote nothing.
fn word(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => "its alg is not that of the key",
        ErrorKind::InvalidSignature => "its signature is wrong",
        ErrorKind::ExpiredSignature => "it has expired",
        ErrorKind::ImmatureSignature => "it is not valid yet",
        ErrorKind::MissingRequiredClaim(_) => "exp, or a claim that the settings want, is missing",
        ErrorKind::InvalidAudience => "its aud is another",
        ErrorKind::InvalidIssuer => "its iss is another",
        ErrorKind::Json(_) | ErrorKind::InvalidClaimFormat(_) => {
            "a claim is missing, or not of the form that is wanted"
        }
        _ => "it is malformed",
    }
}

/// Whether it is a key set that can be used; otherwise what is wrong with it.
pub(crate) fn check(path: &Path) -> Result<(), String> {
    match load(path) {
        Err(AuthError::Keys { reason, .. }) => Err(reason),
        Err(other) => Err(other.to_string()),
        Ok(_) => Ok(()),
    }
}

fn load(path: &Path) -> Result<Vec<Key>, AuthError> {
    let bad = |reason: String| AuthError::Keys {
        path: path.display().to_string(),
        reason,
    };
    let bytes = files::read(path).map_err(|error| bad(error.to_string()))?;
    // The position is told, not what stands there.
    let set: KeySet = serde_json::from_slice(&bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        bad(format!(
            "it is no JSON Web Key Set ({{\"keys\": [...]}}): line {line}, column {column}"
        ))
    })?;
    if set.keys.len() > MAX_KEYS {
        return Err(bad(format!(
            "it has {} keys, at most {MAX_KEYS} are taken",
            set.keys.len()
        )));
    }
    let mut keys: Vec<Key> = Vec::new();
    for (n, value) in set.keys.into_iter().enumerate() {
        let jwk: Jwk =
            serde_json::from_value(value).map_err(|_| bad(format!("key {n} lacks what its kty wants")))?;
        match usable(&jwk).map_err(|reason| bad(format!("key {n}: {reason}")))? {
            Some(key) if keys.iter().any(|other| other.id == key.id) => {
                return Err(bad(format!("key {n}: another has its kid, or neither has one")));
            }
            Some(key) => keys.push(key),
            None => {
                tracing::info!(file = %path.display(), key = n, "a key of another kind than is used: left alone");
            }
        }
    }
    match keys.is_empty() {
        true => Err(bad(
            "none of its keys can be used: oct, EC (P-256) or OKP (Ed25519) are wanted".into(),
        )),
        false => Ok(keys),
    }
}

/// The key for verifying, with its one algorithm; none for what is of a kind that is not used (RFC 7517 §5).
fn usable(jwk: &Jwk) -> Result<Option<Key>, String> {
    if matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption)) {
        return Ok(None);
    }
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::OctetKey(_) => Algorithm::HS256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        _ => return Ok(None),
    };
    if let Some(named) = jwk.common.key_algorithm
        && named.to_string() != format!("{algorithm:?}")
    {
        return Err(format!(
            "its alg is {named}, for which it can't be used here ({algorithm:?} is)"
        ));
    }
    let key = DecodingKey::from_jwk(jwk).map_err(|_| "it is not base64url")?;
    let bytes = key.try_get_as_bytes().map_err(|_| "it has no bytes")?;
    let public: Option<&'static dyn VerificationAlgorithm> = match algorithm {
        Algorithm::ES256 => Some(&ECDSA_P256_SHA256_FIXED),
        Algorithm::EdDSA => Some(&ED25519),
        _ => None,
    };
    match public {
        Some(curve) if ParsedPublicKey::new(curve, bytes).is_err() => {
            Err("it is not a point of its curve".into())
        }
        None if bytes.len() < MIN_SECRET => Err(format!(
            "its secret has {} bytes, at least {MIN_SECRET} are wanted",
            bytes.len()
        )),
        _ => Ok(Some(Key {
            id: jwk.common.key_id.clone(),
            algorithm,
            key,
        })),
    }
}

#[cfg(test)]
mod tests;
