//! Whose datagram is it? Two maps, never a search over sessions.
//!
//! A username fragment is known from the session's creation. An address is learnt only from a check that proved the
//! session's password; anything but STUN from any other address is nobody's.

use rustc_hash::FxHashMap;

use crate::egress::Path;

/// Index of a session in its worker.
pub(crate) type SessionKey = u32;

#[derive(Debug, Default)]
pub(crate) struct Demux {
    ufrags: FxHashMap<Box<str>, SessionKey>,
    paths: FxHashMap<Path, SessionKey>,
}

impl Demux {
    /// False when another session has that fragment.
    pub(crate) fn add_ufrag(&mut self, ufrag: &str, session: SessionKey) -> bool {
        match self.ufrags.get(ufrag) {
            Some(owner) => *owner == session,
            None => {
                self.ufrags.insert(ufrag.into(), session);
                true
            }
        }
    }

    pub(crate) fn remove_ufrag(&mut self, ufrag: &str, session: SessionKey) {
        if self.ufrags.get(ufrag) == Some(&session) {
            self.ufrags.remove(ufrag);
        }
    }

    pub(crate) fn by_ufrag(&self, ufrag: &str) -> Option<SessionKey> {
        self.ufrags.get(ufrag).copied()
    }

    /// The address proved itself for this session: it is its from now on, whoever's it was.
    pub(crate) fn learn(&mut self, path: Path, session: SessionKey) {
        self.paths.insert(path, session);
    }

    pub(crate) fn forget(&mut self, path: Path, session: SessionKey) {
        if self.paths.get(&path) == Some(&session) {
            self.paths.remove(&path);
        }
    }

    pub(crate) fn by_path(&self, path: Path) -> Option<SessionKey> {
        self.paths.get(&path).copied()
    }
}
