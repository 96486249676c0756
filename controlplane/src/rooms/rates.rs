//! What a publisher sends for long, from the counters that data planes send once a second. (`tracks.rs` has what each track carries now.)

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use weever_proto::TrackId;

/// What rates are averaged over: a keyframe, or a second in which nothing was counted, makes none of them jump.
pub(super) const WINDOW: Duration = Duration::from_secs(5);
/// Readings that come closer together than this, because the process was held up, are one. So a window has a bounded number of them.
const APART: Duration = Duration::from_millis(250);

/// What one publisher sends.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Counters of its tracks, as they were last.
    tracks: Vec<(TrackId, u64)>,
    /// Of all tracks, those too that are gone: to renegotiate doesn't start the count again.
    whole: Flow,
}

impl Meter {
    /// Takes the counters of the tracks that there are now.
    pub(super) fn read(&mut self, now: Instant, counters: Vec<(TrackId, u64)>) {
        let newest = self.whole.newest();
        if newest.is_some_and(|(at, _)| now.saturating_duration_since(at) < APART) {
            return;
        }
        let mut total = newest.map_or(0, |(_, total)| total);
        for (track, bytes) in &counters {
            let known = self.tracks.iter().find(|(known, _)| known == track);
            // Before the first reading of a session may lie hours, under another control plane.
            let unknown = if newest.is_some() { 0 } else { *bytes };
            let before = known.map_or(unknown, |(_, before)| *before);
            total = total.saturating_add(bytes.saturating_sub(before));
        }
        self.tracks = counters;
        self.whole.push(now, total);
    }

    /// Bits per second of the whole session, once there has been a whole window to average over.
    pub(super) fn sustained(&self) -> Option<u64> {
        let (newest, _) = self.whole.newest()?;
        let (oldest, _) = self.whole.0.front()?;
        (newest.saturating_duration_since(*oldest) >= WINDOW).then(|| self.whole.rate())
    }
}

/// Readings of one counter, oldest first: those of the last window, and one before it.
#[derive(Debug, Default)]
struct Flow(VecDeque<(Instant, u64)>);

impl Flow {
    fn newest(&self) -> Option<(Instant, u64)> {
        self.0.back().copied()
    }

    fn push(&mut self, now: Instant, bytes: u64) {
        self.0.push_back((now, bytes));
        while self
            .0
            .get(1)
            .is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW)
        {
            self.0.pop_front();
        }
    }

    /// Bits per second.
    fn rate(&self) -> u64 {
        let (Some((from, before)), Some((to, after))) = (self.0.front(), self.0.back()) else {
            return 0;
        };
        let millis = to.saturating_duration_since(*from).as_millis();
        if millis == 0 {
            return 0;
        }
        let bits = u128::from(after.saturating_sub(*before)) * 8;
        u64::try_from(bits * 1000 / millis).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: TrackId = TrackId(1);

    #[test]
    fn a_rate_is_the_average_of_a_window() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut meter = Meter::default();
        for second in 0..=10 {
            // 8 kbit/s, then 80.
            let bytes = if second <= 5 {
                second * 1000
            } else {
                5000 + (second - 5) * 10_000
            };
            meter.read(at(second), vec![(ONE, 1_000_000 + bytes)]);
            let whole = (second >= 5).then(|| {
                if second == 5 {
                    8000
                } else {
                    8000 + (second - 5) * 14_400
                }
            });
            assert_eq!(meter.sustained(), whole, "second {second}");
        }
    }

    #[test]
    fn tracks_that_come_and_go_count_for_the_whole() {
        let start = Instant::now();
        let mut meter = Meter::default();
        for second in 0..=20u64 {
            // Each second another track, which has sent 1000 bytes when it is first seen.
            meter.read(start + Duration::from_secs(second), vec![(TrackId(second), 1000)]);
        }
        assert_eq!(meter.sustained(), Some(8000));
        assert_eq!(meter.tracks.len(), 1);
    }

    #[test]
    fn readings_of_one_moment_are_one() {
        let start = Instant::now();
        let mut meter = Meter::default();
        for n in 0..10_000u64 {
            meter.read(start + Duration::from_millis(n), vec![(ONE, n)]);
        }
        let bound = usize::try_from(WINDOW.as_millis() / APART.as_millis()).unwrap() + 2;
        assert!(meter.whole.0.len() <= bound);
        assert_eq!(meter.sustained(), Some(8000));
    }
}
