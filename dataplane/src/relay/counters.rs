//! What the relay counts.

use weever_core::relay::RelayDrop;
use weever_proto::{DELAY_BUCKETS_US, RelayStats};

/// Counters, absolute since the start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counters {
    pub(crate) connected: bool,
    pub(crate) connects: u64,
    pub(crate) tracks_offered: usize,
    pub(crate) tracks_out: usize,
    pub(crate) tracks_in: usize,
    pub(crate) messages_in: u64,
    pub(crate) bytes_in: u64,
    pub(crate) packets_in: u64,
    pub(crate) messages_out: u64,
    pub(crate) bytes_out: u64,
    pub(crate) packets_out: u64,
    pub(crate) lost: u64,
    pub(crate) keyframe_requests: u64,
    pub(crate) cpu_ns: u64,
    delays: [u64; DELAY_BUCKETS_US.len() + 1],
    delay_sum_us: u64,
    clock_behind: u64,
    drops: [u64; RelayDrop::ALL.len()],
}

impl Counters {
    pub(crate) fn drop(&mut self, reason: RelayDrop) {
        self.drops[reason as usize] += 1;
    }

    /// Where something else has counted.
    pub(crate) fn dropped_in_all(&mut self, reason: RelayDrop, count: u64) {
        self.drops[reason as usize] = count;
    }

    /// A burst that came to its origin at `came_us` is here at `now_us`, both by the clock on somebody's wall.
    pub(crate) fn arrived(&mut self, came_us: u64, now_us: u64) {
        // Nobody knows when.
        if came_us == 0 {
            return;
        }
        self.clock_behind += u64::from(came_us > now_us);
        let delay = now_us.saturating_sub(came_us);
        let bucket = DELAY_BUCKETS_US.partition_point(|bound| u64::from(*bound) < delay);
        self.delays[bucket] += 1;
        self.delay_sum_us = self.delay_sum_us.saturating_add(delay);
    }

    pub(crate) fn report(&self) -> RelayStats {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let drops = RelayDrop::ALL.iter().zip(self.drops);
        RelayStats {
            connected: self.connected,
            connects: self.connects,
            tracks_offered: count(self.tracks_offered),
            tracks_out: count(self.tracks_out),
            tracks_in: count(self.tracks_in),
            messages_in: self.messages_in,
            bytes_in: self.bytes_in,
            packets_in: self.packets_in,
            messages_out: self.messages_out,
            bytes_out: self.bytes_out,
            packets_out: self.packets_out,
            lost: self.lost,
            keyframe_requests: self.keyframe_requests,
            cpu_ns: self.cpu_ns,
            delays: self.delays.to_vec(),
            delay_sum_us: self.delay_sum_us,
            clock_behind: self.clock_behind,
            drops: drops
                .map(|(reason, count)| (reason.as_str().to_owned(), count))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_behind_is_noted_and_counts_as_no_delay() {
        let mut counters = Counters::default();
        for (came, now) in [(1000, 1100), (1000, 900), (0, 5000), (1000, 3000)] {
            counters.arrived(came, now);
        }
        let report = counters.report();
        assert_eq!((report.delays[0], report.delays.iter().sum::<u64>()), (2, 3));
        assert_eq!((report.delay_sum_us, report.clock_behind), (2100, 1));
    }
}
