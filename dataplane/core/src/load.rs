//! How busy the core is, and what follows from that: how long packets wait for others to travel with, and what is shed
//! when there is more to do than can be done.

use std::time::{Duration, Instant};

/// One measurement: some frames of any video, and short beside what a viewer notices.
const INTERVAL: Duration = Duration::from_millis(100);
/// Intervals after which nothing of an old load is left.
const FORGOTTEN: u128 = 32;
/// Below this share of the core nothing waits, thousandths. Above it frames are put together whose packets came in
/// different turns; the rest of most is on its way.
const CALM: u32 = 100;
/// From this share on packets wait as long as they may.
const BUSY: u32 = 700;
/// From here on a viewer's losses are repaired with a quarter of its budget.
const STRAINED: u32 = 900;
/// From here on nobody else is let in.
const FULL: u32 = 970;
/// Back below this, everything is as before: what was shed must not come back at once and fill the core again.
const RELIEVED: u32 = 850;

/// A worker's share of its core, from what its turns take.
#[derive(Debug)]
pub(crate) struct Load {
    /// Longest wait of a packet.
    window_max: Duration,
    since: Instant,
    busy: Duration,
    /// Smoothed over about half a second, thousandths.
    permille: u32,
    strained: bool,
    full: bool,
}

impl Load {
    pub(crate) fn new(window_max: Duration, now: Instant) -> Self {
        Self {
            window_max,
            since: now,
            busy: Duration::ZERO,
            permille: 0,
            strained: false,
            full: false,
        }
    }

    /// A turn took from `began` to `ended`.
    pub(crate) fn observe(&mut self, began: Instant, ended: Instant) {
        self.busy += ended.saturating_duration_since(began);
        let elapsed = ended.saturating_duration_since(self.since);
        if elapsed < INTERVAL {
            return;
        }
        let sample = self.busy.as_micros() * 1000 / elapsed.as_micros().max(1);
        let sample = u32::try_from(sample.min(1000)).unwrap_or(1000);
        // A long turn or a long sleep counts for as many intervals as it lasted.
        for _ in 0..(elapsed.as_micros() / INTERVAL.as_micros()).min(FORGOTTEN) {
            self.permille = (3 * self.permille + sample) / 4;
        }
        self.since = ended;
        self.busy = Duration::ZERO;
        self.strained = self.permille >= if self.strained { RELIEVED } else { STRAINED };
        self.full = self.permille >= if self.full { RELIEVED } else { FULL };
    }

    /// Share of the core in use, thousandths.
    pub(crate) fn permille(&self) -> u32 {
        self.permille
    }

    /// How long a packet may wait for others of its track.
    pub(crate) fn window(&self) -> Duration {
        self.window_max * self.permille.clamp(CALM, BUSY).saturating_sub(CALM) / (BUSY - CALM)
    }

    /// Retransmissions are to be cut.
    pub(crate) fn is_strained(&self) -> bool {
        self.strained
    }

    /// New sessions are to be refused.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_millis(5);
    const MS: Duration = Duration::from_millis(1);

    /// Ten seconds in turns of 10 ms, `busy` of which are work.
    fn work(load: &mut Load, from: Instant, busy: Duration) -> Instant {
        (0..1000).fold(from, |began, _| {
            load.observe(began, began + busy);
            began + 10 * MS
        })
    }

    #[test]
    fn nothing_waits_on_a_calm_core_and_all_it_may_on_a_busy_one() {
        let start = Instant::now();
        let mut load = Load::new(MAX, start);
        assert_eq!(load.window(), Duration::ZERO);
        let now = work(&mut load, start, 9 * MS / 10);
        assert!((85..=90).contains(&load.permille()), "{load:?}");
        assert_eq!(load.window(), Duration::ZERO);
        let now = work(&mut load, now, 4 * MS);
        assert!((2 * MS..3 * MS).contains(&load.window()), "{load:?}");
        let now = work(&mut load, now, 8 * MS);
        assert_eq!(load.window(), MAX);
        // A long sleep is a calm one.
        load.observe(now + 10_000 * MS, now + 10_001 * MS);
        assert_eq!(load.window(), Duration::ZERO);
    }

    #[test]
    fn what_was_shed_comes_back_when_there_is_room_for_it() {
        let start = Instant::now();
        let mut load = Load::new(MAX, start);
        let now = work(&mut load, start, 8 * MS);
        assert!(!load.is_strained() && !load.is_full());
        let now = work(&mut load, now, 95 * MS / 10);
        assert!(load.is_strained() && !load.is_full());
        let now = work(&mut load, now, 10 * MS);
        assert!(load.is_strained() && load.is_full());
        let now = work(&mut load, now, 88 * MS / 10);
        assert!(load.is_strained() && load.is_full(), "not at once");
        work(&mut load, now, 8 * MS);
        assert!(!load.is_strained() && !load.is_full());
    }
}
