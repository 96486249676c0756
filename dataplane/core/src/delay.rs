//! How long packets spend here: from the turn that took the first of a burst to the moment when its last copy was with
//! the kernel. What a packet waits in the socket before that is not in it: a turn, at most.

use std::time::Instant;

use weever_proto::DELAY_BUCKETS_US;

/// Bursts counted by their delay.
#[derive(Debug, Default)]
pub(crate) struct Delays {
    /// By bucket, not cumulative; the last one has no bound.
    counts: [u64; DELAY_BUCKETS_US.len() + 1],
    sum_us: u64,
    /// When the first packets of this turn's bursts came.
    came: Vec<Instant>,
}

impl Delays {
    /// A burst whose first packet came at `came` is being forwarded.
    pub(crate) fn begin(&mut self, came: Instant) {
        self.came.push(came);
    }

    /// All that was begun is with the kernel.
    pub(crate) fn end(&mut self, now: Instant) {
        for came in self.came.drain(..) {
            let delay = now.saturating_duration_since(came).as_micros();
            let us = u64::try_from(delay).unwrap_or(u64::MAX);
            let bucket = DELAY_BUCKETS_US.partition_point(|bound| u64::from(*bound) < us);
            self.counts[bucket] += 1;
            self.sum_us = self.sum_us.saturating_add(us);
        }
    }

    pub(crate) fn counts(&self) -> &[u64] {
        &self.counts
    }

    pub(crate) fn sum_us(&self) -> u64 {
        self.sum_us
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_is_counted_under_the_bound_that_it_kept() {
        let start = Instant::now();
        let mut delays = Delays::default();
        for us in [120, 250, 251, 20_000, 10_000_000] {
            delays.begin(start);
            delays.end(start + Duration::from_micros(us));
        }
        delays.end(start);
        let bucket = |us| DELAY_BUCKETS_US.iter().position(|bound| *bound >= us);
        let count = |us| delays.counts()[bucket(us).unwrap_or(DELAY_BUCKETS_US.len())];
        assert_eq!(
            (count(250), count(251), count(20_000), count(10_000_000)),
            (2, 1, 1, 1)
        );
        assert_eq!(delays.counts().iter().sum::<u64>(), 5);
        assert_eq!(delays.sum_us(), 10_020_621);
    }
}
