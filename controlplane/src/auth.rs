//! Who may join: bearer tokens (RFC 6750), compared in constant time, never logged.

use std::sync::Arc;
use std::time::Instant;

use subtle::ConstantTimeEq;
use weever_proto::Role;

use crate::names::{FullId, RoomName};
use crate::store::{TokenKey, TokenStore};

/// Decides about tokens.
#[derive(Clone)]
pub struct Auth {
    enabled: bool,
    store: Arc<dyn TokenStore>,
}

impl Auth {
    /// Without `enabled` everybody may join.
    pub fn new(enabled: bool, store: Arc<dyn TokenStore>) -> Self {
        Self { enabled, store }
    }

    /// Whether the token lets this ID in.
    pub fn admits(&self, role: Role, room: &RoomName, id: &FullId, token: Option<&str>) -> bool {
        if !self.enabled {
            return true;
        }
        let wanted = self.store.get(&TokenKey::new(role, room, id), Instant::now());
        let (Some(wanted), Some(token)) = (wanted, token) else {
            return false;
        };
        wanted.as_bytes().ct_eq(token.as_bytes()).into()
    }

    /// Sets an ID's token.
    pub fn set(&self, role: Role, room: &RoomName, id: &FullId, token: String) {
        self.store
            .put(TokenKey::new(role, room, id), token, Instant::now());
    }
}
