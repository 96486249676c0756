//! Chat: what one member of a room says is told to all of them, the one who said it too.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use weever_proto::{ChannelLabel, Command, SessionId, limits};

use super::api::{Effect, ShardId};
use super::{Rooms, command};

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
        let Self {
            rooms,
            sessions,
            chat,
            ..
        } = self;
        let Some(session) = sessions.get(&id) else {
            return;
        };
        let Some(room) = rooms.get_mut(&session.state.room) else {
            return;
        };
        let channel = ChannelLabel::Chat;
        if room.chat.is_spent(now) {
            chat.refused += 1;
            let text = TOO_BUSY.to_owned();
            let answer = Command::SendText {
                session: id,
                channel,
                text,
            };
            return command(session.shard, answer, effects);
        }
        let mut copies = 0;
        let mut members: BTreeMap<ShardId, Vec<SessionId>> = BTreeMap::new();
        for id in room.publishers.iter().chain(&room.subscribers) {
            if let Some(member) = sessions.get(id).filter(|member| member.chat_open) {
                members.entry(member.shard).or_default().push(*id);
                copies += 1;
            }
        }
        room.chat.spend(now, copies);
        chat.relayed += 1;
        let text = format!("{} {text}", session.state.id);
        for (shard, members) in members {
            for part in members.chunks(limits::MAX_BROADCAST) {
                let broadcast = Command::Broadcast {
                    sessions: part.to_vec(),
                    channel,
                    text: text.clone(),
                };
                command(shard, broadcast, effects);
            }
        }
    }

    /// What chat did since the start.
    pub fn chat_counts(&self) -> ChatCounts {
        self.chat
    }
}
