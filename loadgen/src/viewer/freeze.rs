//! Freezes, as WebRTC's statistics define them (W3C webrtc-stats, `freezeCount`).

use std::time::{Duration, Instant};

/// A frame interval is a freeze when it is longer than three usual ones, and longer than a usual one and this.
const FREEZE_MIN: Duration = Duration::from_millis(150);
/// The usual interval is averaged over about so many frames.
const AVERAGED: u32 = 30;

/// Frame intervals of one stream.
#[derive(Debug, Default)]
pub(super) struct Freezes {
    last: Option<Instant>,
    usual: Option<Duration>,
    /// Of a freeze that still lasts, this much is counted already.
    counted_until: Option<Instant>,
    count: u64,
    total: Duration,
}

impl Freezes {
    /// A frame came whole.
    pub(super) fn frame(&mut self, now: Instant) {
        let Some(last) = self.last.replace(now) else {
            return;
        };
        let interval = now.saturating_duration_since(last);
        if let Some(until) = self.counted_until.take() {
            self.total += now.saturating_duration_since(until);
        } else if self.is_freeze(interval) {
            self.count += 1;
            self.total += interval;
        } else {
            let usual = self.usual.unwrap_or(interval);
            self.usual = Some((usual * (AVERAGED - 1) + interval) / AVERAGED);
        }
    }

    fn is_freeze(&self, interval: Duration) -> bool {
        self.usual
            .is_some_and(|usual| interval > usual * 3 && interval > usual + FREEZE_MIN)
    }

    /// Freezes so far and their length; counting begins anew. One that still lasts counts up to now.
    pub(super) fn take(&mut self, now: Instant) -> (u64, Duration) {
        if let Some(last) = self.last {
            let since = self.counted_until.unwrap_or(last);
            let waiting = now.saturating_duration_since(last);
            if self.is_freeze(waiting) {
                self.count += u64::from(self.counted_until.is_none());
                self.total += now.saturating_duration_since(since);
                self.counted_until = Some(now);
            }
        }
        (std::mem::take(&mut self.count), std::mem::take(&mut self.total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(33);

    #[test]
    fn an_even_stream_never_freezes_and_a_pause_does() {
        let mut freezes = Freezes::default();
        let mut now = Instant::now();
        for _ in 0..100 {
            now += FRAME;
            freezes.frame(now);
        }
        assert_eq!(freezes.take(now).0, 0);
        now += Duration::from_millis(400);
        freezes.frame(now);
        let (count, total) = freezes.take(now);
        assert_eq!((count, total), (1, Duration::from_millis(400)));
    }

    #[test]
    fn a_freeze_that_lasts_is_counted_once_and_in_parts() {
        let mut freezes = Freezes::default();
        let mut now = Instant::now();
        for _ in 0..10 {
            now += FRAME;
            freezes.frame(now);
        }
        now += Duration::from_secs(1);
        assert_eq!(freezes.take(now), (1, Duration::from_secs(1)));
        now += Duration::from_secs(2);
        assert_eq!(freezes.take(now), (0, Duration::from_secs(2)));
        now += FRAME;
        freezes.frame(now);
        assert_eq!(freezes.take(now), (0, FRAME));
    }
}
