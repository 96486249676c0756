//! ICE-lite (RFC 8445 §2.5): the server never checks, it answers checks; and an address is worth nothing until a check
//! from it has proven the session's password.
//!
//! This is ours and not the library's because viewers are many and clients are as they are: ffmpeg's checks carry no
//! PRIORITY, a NAT may rebind at any time, and a check must cost no allocation.

use weever_proto::IceCredentials;

use crate::crypto::Identity;
use crate::wire::stun::StunView;

/// Credentials of one session, and those of a restart that the client has not followed yet (RFC 8445 §9).
#[derive(Debug)]
pub(crate) struct IceLite {
    current: Pair,
    next: Option<Pair>,
}

#[derive(Debug, Clone)]
struct Pair {
    local: IceCredentials,
    remote: IceCredentials,
}

/// What a check proved.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Check<'a> {
    /// It is the client. Answer with this password.
    Valid {
        password: &'a str,
        /// The client chose this path (RFC 8445 §7.3.1.5).
        nominated: bool,
        /// It believes to be controlled; with a lite peer it must control (RFC 8445 §6.1.1).
        conflict: bool,
        /// It is the first with the credentials of a restart, which replace the old ones now; those had this fragment.
        restarted: Option<String>,
    },
    /// A stranger.
    Refused,
}

impl IceLite {
    pub(crate) fn new(local: IceCredentials, remote: IceCredentials) -> Self {
        Self {
            current: Pair { local, remote },
            next: None,
        }
    }

    /// Offers new credentials; the old ones hold until a check with the new ones comes. Returns the fragment of an
    /// earlier restart that was never followed.
    pub(crate) fn restart(&mut self, local: IceCredentials, remote: IceCredentials) -> Option<String> {
        self.next
            .replace(Pair { local, remote })
            .map(|pair| pair.local.ufrag)
    }

    /// The fragments that checks for this session may name.
    pub(crate) fn ufrags(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.current)
            .chain(&self.next)
            .map(|pair| pair.local.ufrag.as_str())
    }

    /// The credentials in force, the newest that were given out.
    pub(crate) fn newest(&self) -> (&IceCredentials, &IceCredentials) {
        let pair = self.next.as_ref().unwrap_or(&self.current);
        (&pair.local, &pair.remote)
    }

    /// Judges a Binding request (RFC 8445 §7.3, RFC 8489 §9.1.3).
    pub(crate) fn check(&mut self, request: &StunView<'_>, identity: &Identity) -> Check<'_> {
        let Some((local, remote)) = request.username().and_then(|name| name.split_once(':')) else {
            return Check::Refused;
        };
        let proves = |pair: &Pair| {
            pair.local.ufrag == local
                && pair.remote.ufrag == remote
                && request.verify_integrity(&pair.local.password, |key, parts| identity.hmac_sha1(key, parts))
        };
        let mut restarted = None;
        if !proves(&self.current) {
            match self.next.take() {
                Some(pair) if proves(&pair) => {
                    restarted = Some(std::mem::replace(&mut self.current, pair).local.ufrag);
                }
                unproven => {
                    self.next = unproven;
                    return Check::Refused;
                }
            }
        }
        Check::Valid {
            password: &self.current.local.password,
            nominated: request.use_candidate(),
            conflict: request.ice_controlled().is_some(),
            restarted,
        }
    }
}
