//! Rooms, who is in them, and what they are shown: a pure state machine.
//!
//! [`Rooms::handle`] takes an [`Action`] and appends [`Effect`]s. It opens no socket, asks no clock and draws no random
//! number by itself.

pub mod api;

pub use api::{
    Action, Effect, Join, Notice, Refused, Reply, RequestId, SessionKey, SessionStatus, ShardId,
};

use std::time::{Duration, Instant};

use weever_proto::Role;

use crate::names::{FullId, RoomName};

/// Where random numbers come from. Tests count.
pub trait Entropy: Send {
    /// 64 bits that nobody can guess.
    fn draw(&mut self) -> u64;
}

/// How rooms are run.
#[derive(Debug, Clone, Default)]
pub struct RoomsConfig {
    /// Rooms must be created before they are joined.
    pub strict_rooms: bool,
    /// Sessions of one room that a worker takes before the next worker is used; 0 for the default.
    pub room_budget: usize,
}

/// One live session, for lists and JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Which way media goes.
    pub role: Role,
    /// Who.
    pub id: FullId,
    /// Whether its media connection stands.
    pub connected: bool,
    /// How long it has been there.
    pub age: Duration,
    /// Its data plane.
    pub shard: String,
    /// Of its data plane.
    pub worker: u16,
    /// Publishers: label (`video0`) and codec name of each track.
    pub tracks: Vec<(String, String)>,
}
