//! Where tokens are kept. In memory here; the trait is what a shared store has to offer too.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use weever_proto::Role;

use crate::names::{FullId, RoomName};

/// How long a token is good for after it was set.
pub const TOKEN_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest token, bytes.
pub const MAX_TOKEN: usize = 1024;
/// Tokens held at once; the oldest gives way.
const MAX_TOKENS: usize = 100_000;

/// Whom a token lets in: it belongs to an ID, whatever the connection is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenKey {
    role: bool,
    room: RoomName,
    base: String,
}

impl TokenKey {
    /// For an ID or one of its Full IDs.
    pub fn new(role: Role, room: &RoomName, id: &FullId) -> Self {
        Self {
            role: role == Role::Publisher,
            room: room.clone(),
            base: id.base().to_owned(),
        }
    }
}

/// Keeps tokens.
pub trait TokenStore: Send + Sync {
    /// Sets or replaces a token.
    fn put(&self, key: TokenKey, token: String, now: Instant);
    /// The token in force.
    fn get(&self, key: &TokenKey, now: Instant) -> Option<String>;
}

/// Tokens of one node, gone with it.
#[derive(Default)]
pub struct MemoryStore {
    tokens: Mutex<HashMap<TokenKey, (String, Instant)>>,
}

impl TokenStore for MemoryStore {
    fn put(&self, key: TokenKey, token: String, now: Instant) {
        let Ok(mut tokens) = self.tokens.lock() else {
            return;
        };
        if tokens.len() >= MAX_TOKENS && !tokens.contains_key(&key) {
            tokens.retain(|_, (_, set)| now.saturating_duration_since(*set) < TOKEN_TTL);
            if tokens.len() >= MAX_TOKENS
                && let Some(oldest) = tokens
                    .iter()
                    .min_by_key(|(_, (_, set))| *set)
                    .map(|(key, _)| key.clone())
            {
                tokens.remove(&oldest);
            }
        }
        tokens.insert(key, (token, now));
    }

    fn get(&self, key: &TokenKey, now: Instant) -> Option<String> {
        let mut tokens = self.tokens.lock().ok()?;
        let (token, set) = tokens.get(key)?;
        if now.saturating_duration_since(*set) < TOKEN_TTL {
            return Some(token.clone());
        }
        tokens.remove(key);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_belong_to_the_base_id_and_expire() {
        let (store, now) = (MemoryStore::default(), Instant::now());
        let room = RoomName::new("r").unwrap();
        let key = |role, id: &str| TokenKey::new(role, &room, &FullId::new(id).unwrap());
        store.put(key(Role::Publisher, "alice"), "secret".into(), now);
        assert_eq!(
            store.get(&key(Role::Publisher, "alice+7"), now).as_deref(),
            Some("secret")
        );
        assert_eq!(
            store.get(&key(Role::Publisher, "alice-screen"), now).as_deref(),
            Some("secret")
        );
        assert_eq!(
            store.get(&key(Role::Subscriber, "alice"), now),
            None,
            "the other role"
        );
        assert_eq!(store.get(&key(Role::Publisher, "bob"), now), None);
        store.put(key(Role::Publisher, "alice"), "new".into(), now);
        assert_eq!(
            store.get(&key(Role::Publisher, "alice"), now).as_deref(),
            Some("new")
        );
        assert_eq!(store.get(&key(Role::Publisher, "alice"), now + TOKEN_TTL), None);
    }
}
