//! Chat: what one member of a room says is told to all of them, the one who said it too.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use weever_proto::{ChannelLabel, Command, SessionId, limits};

use super::api::{Effect, ShardId};
use super::cluster::LocalNews;
use super::{Rooms, command};
use crate::names::RoomName;

/// What a copy of a message costs of a room's second: 10,000 are sent in one.
const COPY: Duration = Duration::from_micros(100);
/// A room may be this far ahead of its budget. So one message always passes, however many it goes to.
const AHEAD: Duration = Duration::from_secs(1);
/// What the server says itself begins so: no name does.
const TOO_BUSY: &str = "* not sent: the room says too much already";

/// What chat did since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChatCounts {
    /// Messages told to a room.
    pub relayed: u64,
    /// Messages beyond a room's budget.
    pub refused: u64,
}

/// A room's budget of copies (generic cell rate algorithm).
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// When all that was said is paid for.
    paid: Option<Instant>,
}

impl Budget {
    fn is_spent(&self, now: Instant) -> bool {
        self.paid.is_some_and(|paid| paid > now + AHEAD)
    }

    fn spend(&mut self, now: Instant, copies: usize) {
        let copies = u32::try_from(copies).unwrap_or(u32::MAX);
        self.paid = Some(self.paid.unwrap_or(now).max(now) + copies * COPY);
    }
}

impl Rooms {
    /// A message on a chat channel. The data plane has looked at its length, and at how fast its sender is.
    pub(super) fn chat(&mut self, now: Instant, id: SessionId, text: &str, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let (name, shard) = (session.state.room.clone(), session.shard);
        let text = format!("{} {text}", session.state.id);
        if !self.spread_chat(now, &name, &text, effects) {
            let answer = Command::SendText {
                session: id,
                channel: ChannelLabel::Chat,
                text: TOO_BUSY.to_owned(),
            };
            return command(shard, answer, effects);
        }
        if self.elsewhere.is_in(&name) {
            effects.push(Effect::Local(LocalNews::Said { room: name, text }));
        }
    }

    /// A message of a member at another node. Its sender can't be told that this node's share of the room is too busy.
    pub(super) fn hear_chat(&mut self, now: Instant, room: &RoomName, text: &str, effects: &mut Vec<Effect>) {
        self.spread_chat(now, room, text, effects);
    }

    /// Tells all members of this node, unless they are told too much already. Returns whether they were.
    fn spread_chat(&mut self, now: Instant, room: &RoomName, text: &str, effects: &mut Vec<Effect>) -> bool {
        let Some(room) = self.rooms.get_mut(room) else {
            return true;
        };
        if room.chat.is_spent(now) {
            self.chat.refused += 1;
            return false;
        }
        let mut copies = 0;
        let mut members: BTreeMap<ShardId, Vec<SessionId>> = BTreeMap::new();
        for id in room.publishers.iter().chain(&room.subscribers) {
            if let Some(member) = self.sessions.get(id).filter(|member| member.chat_open) {
                members.entry(member.shard).or_default().push(*id);
                copies += 1;
            }
        }
        room.chat.spend(now, copies);
        self.chat.relayed += 1;
        for (shard, members) in members {
            for part in members.chunks(limits::MAX_BROADCAST) {
                let broadcast = Command::Broadcast {
                    sessions: part.to_vec(),
                    channel: ChannelLabel::Chat,
                    text: text.to_owned(),
                };
                command(shard, broadcast, effects);
            }
        }
        true
    }

    /// What chat did since the start.
    pub fn chat_counts(&self) -> ChatCounts {
        self.chat
    }
}
