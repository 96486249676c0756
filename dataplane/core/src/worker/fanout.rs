//! From tracks to viewers.

use std::sync::Arc;
use std::time::Instant;

use weever_proto::{JoinStage, Kind};

use super::Worker;
use crate::egress::Egress;
use crate::forward::{Route, equalise, forward_burst, send_report};
use crate::handover::{Body, Burst, Handover};
use crate::session::{Media, ViewerRoute};
use crate::track::{SenderReport, Track, TrackKey};

impl Worker {
    /// Forwards what has waited long enough: audio first, since video is what fills a viewer's link.
    pub(super) fn forward_due(&mut self, now: Instant, egress: &mut impl Egress) {
        let window = self.load.window();
        let mut ripe = std::mem::take(&mut self.ripe);
        for kind in [Kind::Audio, Kind::Video] {
            for key in &ripe {
                let of_kind = |track: &&Track| track.kind == kind;
                let Some(track) = self.tracks.get(*key).filter(of_kind) else {
                    continue;
                };
                if track.pending.due(window).is_some_and(|due| due <= now) {
                    self.forward_burst(now, *key, egress);
                }
                self.forward_report(now, *key, egress);
            }
        }
        self.note_begun(now);
        ripe.retain(|key| {
            let Some(track) = self.tracks.get_mut(*key) else {
                return false;
            };
            track.ripe = track.pending.due(window).is_some();
            track.ripe
        });
        self.ripe = ripe;
    }

    /// Routes that have just begun to show their track: for a viewer whose first media that is, the join is done. With a
    /// picture among its routes its sound doesn't count.
    fn note_begun(&mut self, now: Instant) {
        while let Some(key) = self.sent.begun.pop() {
            let Some(session) = self.sessions.get_mut(key as usize).filter(|s| !s.has_media) else {
                continue;
            };
            let Media::Subscriber(viewer) = &session.media else {
                continue;
            };
            let shows = |route: &ViewerRoute| {
                let track = self.tracks.get(route.track);
                track
                    .and_then(|track| track.routes.get(route.position))
                    .is_some_and(Route::is_showing)
            };
            let mut pictures = viewer
                .routes
                .iter()
                .filter(|route| route.spec.kind == Kind::Video)
                .peekable();
            let waits = pictures.peek().is_some() && !pictures.any(shows);
            if !waits {
                session.has_media = true;
                self.events.push_back(session.progress(JoinStage::Media, now));
            }
        }
    }

    /// When the next burst is to go.
    pub(super) fn next_burst(&self) -> Option<Instant> {
        let window = self.load.window();
        self.ripe
            .iter()
            .filter_map(|key| self.tracks.get(*key)?.pending.due(window))
            .min()
    }

    /// Sends a track's gathered packets to its viewers here, and hands them once to each worker that has viewers.
    fn forward_burst(&mut self, now: Instant, key: TrackKey, egress: &mut impl Egress) {
        let Self {
            tracks,
            senders,
            sent,
            handovers,
            config,
            burst,
            delays,
            ..
        } = self;
        let Some(track) = tracks.get_mut(key) else { return };
        let came = track.pending.take(now, burst);
        if let Some(came) = came {
            delays.begin(came);
        }
        if track.kind == Kind::Video {
            equalise(&mut track.history, burst);
        }
        for route in &mut track.routes {
            // No sender: its handshake is still going on.
            if let Some(sender) = senders.get_mut(route.session as usize).and_then(Option::as_mut) {
                forward_burst(route, sender, &track.history, burst, now, egress, sent);
            }
        }
        if !track.followers.is_empty() && !burst.is_empty() {
            let packets = burst
                .iter()
                .filter_map(|seq| track.history.get(*seq))
                .cloned()
                .collect();
            let shared = Arc::new(Burst { came, packets });
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
    }

    /// Passes on what the track's publisher said of its clock, if that is new.
    fn forward_report(&mut self, now: Instant, key: TrackKey, egress: &mut impl Egress) {
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
        let (true, Some(report)) = (std::mem::take(&mut track.report_due), track.report) else {
            return;
        };
        let all = track.reports_to_all(now);
        for (position, route) in track.routes.iter_mut().enumerate() {
            if !all && route.reported || route.packets == 0 {
                continue;
            }
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
                send_report(route, &held.spec.cname, report, sender, egress, sent);
                route.reported = true;
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
