//! Handshakes wait for media: a signature takes as long as the packets of a hundred viewers.

use std::collections::VecDeque;
use std::time::Instant;

use weever_proto::SessionId;

use super::Worker;
use crate::demux::SessionKey;
use crate::drops::DropReason;
use crate::egress::Egress;

/// Datagrams of handshakes that are looked at between two turns of media: half a millisecond's work at most.
const A_TURN: usize = 4;
/// Datagrams that wait; a handshake has four to six. Those who find no room send theirs again, a second later.
const WAITING: usize = 4096;
/// Of one session: a flight in single messages, twice.
pub(super) const WAITING_EACH: u8 = 16;
/// Bytes of a datagram: no handshake has larger ones, whatever the certificate (RFC 6347 §4.1.1).
const MAX_LEN: usize = 2048;

/// Datagrams of associations that are not up yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    key: SessionKey,
    /// Another session may have the key by now.
    session: SessionId,
    datagram: Box<[u8]>,
}

impl Handshakes {
    pub(super) fn wait(
        &mut self,
        now: Instant,
        key: SessionKey,
        session: SessionId,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        if self.waiting.len() >= WAITING || datagram.len() > MAX_LEN {
            return Err(DropReason::HandshakeBacklog);
        }
        self.waiting.push_back(Waiting {
            since: now,
            key,
            session,
            datagram: datagram.into(),
        });
        Ok(())
    }

    /// Since when somebody waits.
    pub(super) fn next(&self) -> Option<Instant> {
        self.waiting.front().map(|first| first.since)
    }
}

impl Worker {
    /// Goes on with the handshakes that have waited longest.
    pub(super) fn shake_hands(&mut self, now: Instant, egress: &mut impl Egress) {
        for _ in 0..A_TURN {
            let Some(next) = self.handshakes.waiting.pop_front() else {
                return;
            };
            if self.session_keys.get(&next.session) != Some(&next.key) {
                continue;
            }
            if let Some(session) = self.session(next.key) {
                session.handshakes_waiting = session.handshakes_waiting.saturating_sub(1);
            }
            if let Err(reason) = self.take_dtls(now, next.key, &next.datagram, egress) {
                self.received.drops.count(reason);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_handshakes_is_bounded() {
        let now = Instant::now();
        let mut handshakes = Handshakes::default();
        for key in 0..WAITING as u64 {
            let key = SessionKey::try_from(key).unwrap();
            handshakes
                .wait(now, key, SessionId(key.into()), &[22; 100])
                .unwrap();
        }
        let refused = handshakes.wait(now, 1, SessionId(1), &[22; 100]);
        assert_eq!(refused, Err(DropReason::HandshakeBacklog));
        handshakes.waiting.clear();
        assert_eq!(handshakes.next(), None);
        let refused = handshakes.wait(now, 1, SessionId(1), &[22; MAX_LEN + 1]);
        assert_eq!(refused, Err(DropReason::HandshakeBacklog));
    }
}
