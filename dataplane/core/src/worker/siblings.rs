//! What workers of one process hand to each other.

use std::time::Instant;

use weever_proto::{Kind, RELAY, TrackId, WorkerId};

use super::Worker;
use crate::drops::DropReason;
use crate::handover::{Body, Handover};
use crate::track::{Origin, TrackKey};

impl Worker {
    pub(super) fn take_handover(&mut self, now: Instant, handover: Handover) -> Result<(), DropReason> {
        let Handover { from, track, body } = handover;
        match body {
            Body::Follow(kind) => {
                self.follow(track, kind, from);
                Ok(())
            }
            Body::Unfollow => {
                let key = self.track_keys.get(&track).copied().ok_or(DropReason::Handover)?;
                if let Some(track) = self.tracks.get_mut(key) {
                    track.followers.retain(|worker| *worker != from);
                }
                self.drop_idle_track(key);
                Ok(())
            }
            Body::RequestKeyframe => {
                let key = self.track_keys.get(&track).copied().ok_or(DropReason::Handover)?;
                self.want_keyframe(key);
                Ok(())
            }
            // The relay's, never a worker's.
            Body::Offered(_) | Body::Withdrawn => Err(DropReason::Handover),
            Body::Burst(burst) => {
                let key = self.followed(track, from)?;
                if let Some(track) = self.tracks.get_mut(key) {
                    for packet in &burst.packets {
                        track.push(packet.clone(), now, &mut self.received.drops);
                    }
                    // It has waited where it came from.
                    track.pending.complete = true;
                }
                self.mark_ripe(key);
                Ok(())
            }
            Body::SenderReport(report) => {
                let key = self.followed(track, from)?;
                self.reported(key, report);
                Ok(())
            }
        }
    }

    /// The track, if it is one that we follow there.
    fn followed(&self, track: TrackId, from: WorkerId) -> Result<TrackKey, DropReason> {
        let key = self.track_keys.get(&track).copied().ok_or(DropReason::Handover)?;
        match self.tracks.get(key) {
            Some(track) if track.origin == Origin::Sibling(from) => Ok(key),
            _ => Err(DropReason::Handover),
        }
    }

    /// Another worker has viewers for a track that is or will be received here.
    fn follow(&mut self, id: TrackId, kind: Kind, worker: WorkerId) {
        let key = self.track_or_new(id, kind);
        let Some(track) = self.tracks.get_mut(key) else {
            return;
        };
        // What came by the relay never leaves by it.
        if worker == RELAY && track.origin == Origin::Sibling(RELAY) {
            return;
        }
        if !track.followers.contains(&worker) {
            track.followers.push(worker);
        }
        // Whoever has just come knows nothing of the publisher's clock.
        track.report_due = track.report.is_some();
        self.want_keyframe(key);
        self.mark_ripe(key);
    }

    /// Tells the relay what others may follow here.
    pub(super) fn offer(&mut self, track: TrackId, body: Body) {
        if self.config.relay {
            let from = self.config.id;
            self.handovers.push_back((RELAY, Handover { from, track, body }));
        }
    }

    /// Makes sure that packets of a track come here when a sibling receives it.
    pub(super) fn follow_at(&mut self, key: TrackKey, worker: WorkerId, kind: Kind) {
        let from = self.config.id;
        let Some(track) = self.tracks.get_mut(key) else {
            return;
        };
        if worker != from && track.origin == Origin::None {
            track.origin = Origin::Sibling(worker);
            let handover = Handover {
                from,
                track: track.id,
                body: Body::Follow(kind),
            };
            self.handovers.push_back((worker, handover));
        }
    }

    /// A route of the track is gone: without any, nothing needs to come here.
    pub(super) fn release_track(&mut self, key: TrackKey) {
        if let Some(track) = self.tracks.get_mut(key)
            && track.routes.is_empty()
            && let Origin::Sibling(worker) = track.origin
        {
            track.origin = Origin::None;
            let id = track.id;
            self.unfollow_at(id, worker);
        }
        self.drop_idle_track(key);
    }

    pub(super) fn unfollow_at(&mut self, track: TrackId, worker: WorkerId) {
        let handover = Handover {
            from: self.config.id,
            track,
            body: Body::Unfollow,
        };
        self.handovers.push_back((worker, handover));
    }
}
