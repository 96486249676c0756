//! Tracks of publishers: whose media flows, and what each carries.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use weever_proto::{SessionId, TrackId, TrackStats};

use super::Rooms;
use super::api::{Effect, Notice, TrackName};
use super::session::Session;

/// Rates are of at least this long: reports that a busy machine delivered together tell nothing.
const SHORTEST: Duration = Duration::from_millis(500);

/// What a track carries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Traffic {
    /// Counters since it began.
    pub total: TrackStats,
    /// Over the last second or so; `None` before the second report.
    pub rate: Option<Rate>,
}

/// What a track carries in a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Bits of media, without headers of RTP and below.
    pub bits: f64,
    /// Packets.
    pub packets: f64,
}

/// Of all tracks of a data plane, as it said last.
#[derive(Debug, Default)]
pub(super) struct TrafficOfTracks(HashMap<TrackId, Measured>);

#[derive(Debug)]
struct Measured {
    now: Traffic,
    /// What the next rate is counted from.
    base: (Instant, TrackStats),
}

impl TrafficOfTracks {
    /// Takes a report. A track that is not in it is gone.
    pub(super) fn measured(&mut self, now: Instant, tracks: &[TrackStats]) {
        let mut before = std::mem::take(&mut self.0);
        let next = |stats: &TrackStats| {
            let mut measured = before.remove(&stats.track).unwrap_or(Measured {
                now: Traffic {
                    total: *stats,
                    rate: None,
                },
                base: (now, *stats),
            });
            measured.take(now, stats);
            (stats.track, measured)
        };
        self.0 = tracks.iter().map(next).collect();
    }

    pub(super) fn of(&self, track: TrackId) -> Option<Traffic> {
        self.0.get(&track).map(|measured| measured.now)
    }
}

impl Measured {
    fn take(&mut self, now: Instant, stats: &TrackStats) {
        self.now.total = *stats;
        let (since, base) = self.base;
        let time = now.saturating_duration_since(since);
        if time < SHORTEST {
            return;
        }
        #[allow(clippy::cast_precision_loss)]
        let a_second = |after: u64, before: u64| after.saturating_sub(before) as f64 / time.as_secs_f64();
        self.now.rate = Some(Rate {
            bits: a_second(stats.bytes, base.bytes) * 8.0,
            packets: a_second(stats.packets, base.packets),
        });
        self.base = (now, *stats);
    }
}

impl Session {
    /// The first packet of a track came. Said twice it is told once.
    pub(super) fn track_live(&mut self, id: TrackId, effects: &mut Vec<Effect>) {
        let Some(published) = self.tracks().iter().find(|track| track.track == id.0) else {
            return;
        };
        let track = published.name();
        if self.live_tracks.insert(id, track.clone()).is_none() {
            let who = self.who();
            effects.push(Effect::Notice(Notice::TrackLive { who, track }));
        }
    }

    /// A track ended.
    pub(super) fn track_gone(&mut self, id: TrackId, effects: &mut Vec<Effect>) {
        if let Some(track) = self.live_tracks.remove(&id) {
            let who = self.who();
            effects.push(Effect::Notice(Notice::TrackGone { who, track }));
        }
    }
}

impl Rooms {
    /// As a snapshot says: what came and went meanwhile is told now.
    pub(super) fn live_tracks_are(&mut self, id: SessionId, live: &[TrackId], effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let gone: Vec<TrackId> = session
            .live_tracks
            .keys()
            .filter(|track| !live.contains(track))
            .copied()
            .collect();
        for track in gone {
            session.track_gone(track, effects);
        }
        for track in live {
            session.track_live(*track, effects);
        }
    }
}

impl crate::sdp::publish::PublishedTrack {
    /// For people.
    pub(super) fn name(&self) -> TrackName {
        TrackName {
            label: self.label.clone(),
            kind: self.kind(),
            codec: self.format.name.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(packets: u64, bytes: u64) -> TrackStats {
        TrackStats {
            track: TrackId(1),
            packets,
            bytes,
            keyframes: 1,
            lost: 2,
            viewers: 3,
        }
    }

    #[test]
    fn rates_are_those_of_the_last_second() {
        let (mut all, start) = (TrafficOfTracks::default(), Instant::now());
        all.measured(start, &[stats(100, 100_000)]);
        assert_eq!(all.of(TrackId(1)).unwrap().rate, None);
        // Two reports at once: the second one only counts up.
        all.measured(start, &[stats(150, 150_000)]);
        assert_eq!(all.of(TrackId(1)).unwrap().rate, None);
        all.measured(start + Duration::from_secs(1), &[stats(200, 225_000)]);
        let rate = all.of(TrackId(1)).unwrap().rate.unwrap();
        assert_eq!((rate.bits, rate.packets), (1e6, 100.0));
        all.measured(start + Duration::from_secs(3), &[stats(200, 225_000)]);
        let quiet = all.of(TrackId(1)).unwrap();
        assert_eq!((quiet.rate.unwrap().bits, quiet.total.packets), (0.0, 200));
        all.measured(start + Duration::from_secs(4), &[]);
        assert_eq!(all.of(TrackId(1)), None);
    }
}
