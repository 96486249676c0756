//! Texts for many wait for media: each is a message of SCTP and DTLS for every session that it goes to.

use std::collections::VecDeque;
use std::time::Instant;

use weever_proto::{ChannelLabel, SessionId};

use super::Worker;
use crate::drops::DropReason;
use crate::egress::Egress;

/// Sessions that are written to between two turns of media: half a millisecond's work at most.
const A_TURN: usize = 32;
/// Sessions that may wait to be written to. What finds no room is lost and counted: the control plane says no more than
/// this in ten seconds to one room.
const WAITING: usize = 100_000;

/// Texts and who is still to get them, oldest first.
#[derive(Debug, Default)]
pub(super) struct Broadcasts {
    waiting: VecDeque<Broadcast>,
    sessions: usize,
}

#[derive(Debug)]
struct Broadcast {
    since: Instant,
    sessions: VecDeque<SessionId>,
    channel: ChannelLabel,
    text: String,
}

impl Broadcasts {
    /// False when there is no room for it.
    pub(super) fn wait(
        &mut self,
        now: Instant,
        sessions: Vec<SessionId>,
        channel: ChannelLabel,
        text: String,
    ) -> bool {
        if self.sessions + sessions.len() > WAITING {
            return false;
        }
        self.sessions += sessions.len();
        self.waiting.push_back(Broadcast {
            since: now,
            sessions: sessions.into(),
            channel,
            text,
        });
        true
    }

    /// Since when somebody waits.
    pub(super) fn next(&self) -> Option<Instant> {
        self.waiting.front().map(|first| first.since)
    }
}

impl Worker {
    pub(super) fn broadcast(
        &mut self,
        now: Instant,
        sessions: Vec<SessionId>,
        channel: ChannelLabel,
        text: String,
    ) {
        if !self.broadcasts.wait(now, sessions, channel, text) {
            self.sent.drops.count(DropReason::ChannelBacklog);
        }
    }

    /// Goes on with the texts that have waited longest.
    pub(super) fn spread(&mut self, now: Instant, egress: &mut impl Egress) {
        let mut left = A_TURN;
        while left > 0 {
            let Some(mut first) = self.broadcasts.waiting.pop_front() else {
                return;
            };
            let now_due = left.min(first.sessions.len());
            left -= now_due;
            self.broadcasts.sessions -= now_due;
            for session in first.sessions.drain(..now_due) {
                if let Some(key) = self.session_keys.get(&session).copied() {
                    self.say(now, key, first.channel, &first.text, egress);
                }
            }
            if !first.sessions.is_empty() {
                self.broadcasts.waiting.push_front(first);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_texts_is_bounded() {
        let now = Instant::now();
        let mut broadcasts = Broadcasts::default();
        let mut wait = |sessions| {
            let sessions = vec![SessionId(1); sessions];
            broadcasts.wait(now, sessions, ChannelLabel::Chat, "alice hello".into())
        };
        assert!(wait(WAITING - 1));
        assert!(!wait(2));
        assert!(wait(1));
        assert!(!wait(1));
    }
}
