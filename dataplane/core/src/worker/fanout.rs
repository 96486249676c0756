//! From tracks to viewers.

use std::sync::Arc;
use std::time::Instant;

use super::Worker;
use crate::egress::Egress;
use crate::forward::{forward_burst, send_reports};
use crate::handover::{Body, Burst, Handover};
use crate::session::Media;
use crate::track::{SenderReport, TrackKey};

impl Worker {
    pub(super) fn forward_ripe(&mut self, now: Instant, egress: &mut impl Egress) {
        let mut ripe = std::mem::take(&mut self.ripe);
        for key in ripe.drain(..) {
            self.forward_track(now, key, egress);
        }
        self.ripe = ripe;
    }

    /// Sends a track's gathered packets to its viewers here, and hands them once to each worker that has viewers.
    fn forward_track(&mut self, now: Instant, key: TrackKey, egress: &mut impl Egress) {
        let Self {
            tracks,
            senders,
            sessions,
            sent,
            handovers,
            config,
            ..
        } = self;
        let Some(track) = tracks.get_mut(key) else { return };
        let burst = std::mem::take(&mut track.pending);
        for route in &mut track.routes {
            // No sender: its handshake is still going on.
            if let Some(sender) = senders.get_mut(route.session as usize).and_then(Option::as_mut) {
                forward_burst(route, sender, &track.history, &burst, now, egress, sent);
            }
        }
        if !track.followers.is_empty() && !burst.is_empty() {
            let packets = burst
                .iter()
                .filter_map(|seq| track.history.get(*seq))
                .cloned()
                .collect();
            let shared = Arc::new(Burst { packets });
            for worker in &track.followers {
                let body = Body::Burst(shared.clone());
                handovers.push_back((
                    *worker,
                    Handover {
                        from: config.id,
                        track: track.id,
                        body,
                    },
                ));
            }
        }
        track.pending = burst;
        track.pending.clear();

        if !std::mem::take(&mut track.report_due) {
            return;
        }
        let Some(report) = track.report else { return };
        for (position, route) in track.routes.iter().enumerate() {
            let Some(sender) = senders.get_mut(route.session as usize).and_then(Option::as_mut) else {
                continue;
            };
            let Some(Media::Subscriber(viewer)) = sessions.get(route.session as usize).map(|s| &s.media)
            else {
                continue;
            };
            let held = viewer
                .routes
                .iter()
                .find(|held| held.track == key && held.position == position);
            if let Some(held) = held {
                send_reports(route, &held.spec.cname, report, sender, egress, sent);
            }
        }
        for worker in &track.followers {
            let body = Body::SenderReport(report);
            handovers.push_back((
                *worker,
                Handover {
                    from: config.id,
                    track: track.id,
                    body,
                },
            ));
        }
    }

    /// A track's publisher said what time it is.
    pub(super) fn reported(&mut self, key: TrackKey, report: SenderReport) {
        let Some(track) = self.tracks.get_mut(key) else {
            return;
        };
        track.report = Some(report);
        track.report_due = true;
        self.mark_ripe(key);
    }
}
