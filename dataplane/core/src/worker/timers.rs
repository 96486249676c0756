//! What time brings.

use std::time::Instant;

use weever_proto::{CloseReason, Event};

use super::Worker;
use crate::demux::SessionKey;
use crate::egress::Egress;
use crate::handover::{Body, Handover};
use crate::session::SILENCE;
use crate::track::Origin;

impl Worker {
    /// Tells the wheel of a session's next deadline, if it is sooner than what it knows.
    pub(super) fn arm(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key as usize) else {
            return;
        };
        let deadline = session.deadline();
        if session.armed.is_none_or(|armed| deadline < armed) {
            session.armed = Some(deadline);
            self.wheel.arm(key, deadline);
        }
    }

    pub(super) fn serve_deadlines(&mut self, now: Instant, egress: &mut impl Egress) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.expire(now, &mut due);
        for key in due.drain(..) {
            self.serve_deadline(now, key, egress);
        }
        self.due = due;
    }

    fn serve_deadline(&mut self, now: Instant, key: SessionKey, egress: &mut impl Egress) {
        let Some(session) = self.sessions.get_mut(key as usize) else {
            return;
        };
        session.armed = None;
        if session.expired(now) {
            let connected = session.connected;
            let reason = if connected {
                CloseReason::ConsentExpired
            } else {
                CloseReason::ConnectTimeout
            };
            return self.end(now, key, reason, egress);
        }
        if !session.silent && now.saturating_duration_since(session.heard) >= SILENCE {
            session.silent = true;
            let session = session.spec.session;
            self.events.push_back(Event::SessionSilent {
                session,
                silent: true,
            });
        }
        let Some(session) = self.sessions.get_mut(key as usize) else {
            return;
        };
        if session.transport.timeout <= now
            && let Err(broken) = session.transport.handle_timeout(now)
        {
            return self.end_broken(key, broken);
        }
        self.drain(now, key, egress);
    }

    /// Asks publishers for the keyframes that are wanted, no more often than they may be asked.
    pub(super) fn request_keyframes(&mut self, now: Instant, egress: &mut impl Egress) {
        let mut index = 0;
        while let Some(key) = self.wanting.get(index).copied() {
            let Some(track) = self.tracks.get_mut(key) else {
                self.wanting.swap_remove(index);
                continue;
            };
            if !track.keyframes.is_open() {
                track.wanting = false;
                self.wanting.swap_remove(index);
                continue;
            }
            index += 1;
            // Nobody to ask yet: its first packet will be a keyframe.
            if track.origin == Origin::None || !track.keyframes.ask(now) {
                continue;
            }
            match track.origin {
                Origin::None => {}
                Origin::Sibling(worker) => {
                    let (from, track) = (self.config.id, track.id);
                    self.handovers.push_back((
                        worker,
                        Handover {
                            from,
                            track,
                            body: Body::RequestKeyframe,
                        },
                    ));
                }
                Origin::Session(publisher) => self.ask_publisher(now, publisher, key, egress),
            }
        }
    }

    fn ask_publisher(&mut self, now: Instant, publisher: SessionKey, track: usize, egress: &mut impl Egress) {
        let Some(session) = self.sessions.get_mut(publisher as usize) else {
            return;
        };
        let crate::session::Media::Publisher(receiver) = &session.media else {
            return;
        };
        if !receiver.request_keyframe(track, &mut session.transport) {
            return;
        }
        self.received.keyframe_requests += 1;
        // The request leaves with the feedback that the time brings about.
        if let Err(broken) = session.transport.handle_timeout(now) {
            return self.end_broken(publisher, broken);
        }
        self.drain(now, publisher, egress);
    }
}
