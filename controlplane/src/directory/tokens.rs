//! Tokens that operators set for those who may join.

use std::time::Duration;

use weever_proto::Role;

use crate::names::{FullId, RoomName};

/// How long a token is good for after it was set.
pub const TOKEN_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest token, bytes.
pub const MAX_TOKEN: usize = 1024;

/// Whom a token lets in: it belongs to an ID, whatever the connection is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenKey {
    publishes: bool,
    room: RoomName,
    base: String,
}

impl TokenKey {
    /// For an ID or one of its Full IDs.
    pub fn new(role: Role, room: &RoomName, id: &FullId) -> Self {
        Self {
            publishes: role == Role::Publisher,
            room: room.clone(),
            base: id.base().to_owned(),
        }
    }

    /// `p/room/id` or `s/room/id`. Names have no slash: no two give the same.
    pub fn emit(&self) -> String {
        let role = if self.publishes { 'p' } else { 's' };
        format!("{role}/{}/{}", self.room, self.base)
    }
}
