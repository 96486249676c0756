//! Who may join, and with what limits: everybody, who has a stored token (RFC 6750) or a signed one (RFC 7519), or whom a
//! webhook lets in. No token is ever logged.

pub(crate) mod jwt;
pub mod reply;
mod webhook;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use subtle::ConstantTimeEq;
use weever_proto::Role;

use crate::config::{Admission, Config};
use crate::directory::tokens::TokenKey;
use crate::directory::{Away, Directory};
use crate::metrics::Metrics;
use crate::names::{FullId, RoomName};
use crate::rooms::Limits;
use crate::signalling::Signalling;
use jwt::Keys;
use webhook::Webhook;

/// Longest bearer token that is looked at, bytes.
pub const MAX_BEARER: usize = 8 * 1024;

/// Decides who may join.
#[derive(Clone)]
pub struct Auth {
    directory: Arc<dyn Directory>,
    judge: Judge,
}

#[derive(Clone)]
enum Judge {
    /// Everybody may.
    Nobody,
    /// Whoever has the token that was set.
    Tokens,
    Webhook(Arc<Webhook>),
    Signed(Arc<Keys>),
}

/// Who wants in.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// Which way their media goes.
    pub role: Role,
    /// Where to.
    pub room: &'a RoomName,
    /// As whom.
    pub id: &'a FullId,
    /// The TCP peer.
    pub address: IpAddr,
    /// As the client calls itself.
    pub user_agent: Option<&'a str>,
    /// The bearer token.
    pub token: Option<&'a str>,
}

/// Why somebody may not join.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// 401: no token, or not the right one.
    #[error("bad token")]
    BadToken,
    /// 401 in the webhook's own words.
    #[error("{0}")]
    Unauthorized(String),
    /// 403: known, but not allowed.
    #[error("{0}")]
    Forbidden(String),
    /// 503: the directory, which holds the tokens, doesn't answer.
    #[error("the directory that holds the tokens does not answer; try again in a moment")]
    Unknown,
    /// 503: nobody could say.
    #[error("{detail}")]
    Undecided {
        /// For the client.
        detail: &'static str,
        /// When to try again.
        retry_after: Duration,
    },
}

/// Why nobody can decide.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// There is no HTTP client.
    #[error("--auth-webhook: {0}")]
    Webhook(String),
    /// The key set is of no use.
    #[error("--jwks-file {path}: {reason}")]
    Keys {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Auth {
    /// As the settings want it.
    ///
    /// # Errors
    /// The key set can't be used, or the system has no certificates for an HTTPS webhook.
    pub fn new(
        config: &Config,
        signalling: &Signalling,
        metrics: &Arc<Metrics>,
        directory: Arc<dyn Directory>,
    ) -> Result<Self, AuthError> {
        let judge = match &config.admission {
            Admission::Open => Judge::Nobody,
            Admission::Tokens => Judge::Tokens,
            Admission::Signed(settings) => Judge::Signed(Arc::new(Keys::read(settings)?)),
            Admission::Webhook(settings) => Judge::Webhook(Arc::new(Webhook::new(
                settings,
                signalling.clone(),
                metrics.clone(),
            )?)),
        };
        Ok(Self { directory, judge })
    }

    /// The key set, for reading it again when it changes.
    pub(crate) fn keys(&self) -> Option<Arc<Keys>> {
        match &self.judge {
            Judge::Signed(keys) => Some(keys.clone()),
            Judge::Nobody | Judge::Tokens | Judge::Webhook(_) => None,
        }
    }

    /// Whether somebody may join, and with what limits.
    ///
    /// # Errors
    /// They may not, or it can't be found out now.
    pub async fn admit(&self, asking: Asking<'_>) -> Result<Limits, Denied> {
        if asking.token.is_some_and(|token| token.len() > MAX_BEARER) {
            return Err(Denied::BadToken);
        }
        match &self.judge {
            Judge::Nobody => Ok(Limits::default()),
            Judge::Tokens if self.has_token(asking).await? => Ok(Limits::default()),
            Judge::Tokens => Err(Denied::BadToken),
            Judge::Webhook(webhook) => webhook.ask(asking).await,
            Judge::Signed(keys) => keys.admit(asking),
        }
    }

    async fn has_token(&self, asking: Asking<'_>) -> Result<bool, Denied> {
        let key = TokenKey::new(asking.role, asking.room, asking.id);
        let wanted = self.directory.token(key).await.map_err(|_| Denied::Unknown)?;
        // Whether there is one to be compared with is not to be told by the time it takes either.
        let same = is_same(
            wanted.as_deref().unwrap_or_default(),
            asking.token.unwrap_or_default(),
        );
        Ok(wanted.is_some() & asking.token.is_some() & same)
    }

    /// Sets an ID's token.
    ///
    /// # Errors
    /// The directory doesn't answer.
    pub async fn set(&self, role: Role, room: &RoomName, id: &FullId, token: String) -> Result<(), Away> {
        self.directory
            .put_token(TokenKey::new(role, room, id), token)
            .await
    }
}

/// Digests are compared, so that the time it takes tells neither where two tokens differ nor how long the right one is.
fn is_same(wanted: &str, given: &str) -> bool {
    let of = |text: &str| digest(&SHA256, text.as_bytes());
    of(wanted).as_ref().ct_eq(of(given).as_ref()).into()
}
