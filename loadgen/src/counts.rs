//! What viewers counted.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest duration that is told apart from longer ones, microseconds.
const LONGEST_US: u64 = 60_000_000;
/// Of two durations that differ by a hundredth the longer is known.
const DIGITS: u8 = 2;

/// How often which duration was seen.
#[derive(Debug, Clone)]
pub(crate) struct Durations(Histogram<u64>);

impl Default for Durations {
    fn default() -> Self {
        // Bounds and digits are those that the library takes.
        #[expect(clippy::expect_used, reason = "constants")]
        Self(Histogram::new_with_bounds(1, LONGEST_US, DIGITS).expect("bounds of a histogram"))
    }
}

impl Durations {
    pub(crate) fn add(&mut self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(LONGEST_US);
        self.0.saturating_record(us);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        // Same bounds, so it can't fail.
        let _ = self.0.add(&other.0);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// Milliseconds that a share of all (0 to 1) did not exceed; `None` when there was none.
    pub(crate) fn at(&self, share: f64) -> Option<f64> {
        (self.count() > 0).then(|| self.0.value_at_quantile(share) as f64 / 1000.0)
    }

    /// Pairs of milliseconds and how many were at most that long, for a distribution's plot.
    pub(crate) fn cumulative(&self) -> Vec<(f64, u64)> {
        let mut sum = 0;
        self.0
            .iter_recorded()
            .map(|step| {
                sum += step.count_since_last_iteration();
                (step.value_iterated_to() as f64 / 1000.0, sum)
            })
            .collect()
    }
}

/// One measurement by node: whose viewers counted what.
#[derive(Debug, Default, Clone)]
pub(crate) struct PerNode(Vec<Counts>);

impl PerNode {
    /// Those of the node in this place.
    pub(crate) fn of(&mut self, node: usize) -> &mut Counts {
        if node >= self.0.len() {
            self.0.resize_with(node + 1, Counts::default);
        }
        &mut self.0[node]
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (node, counts) in other.0.iter().enumerate() {
            self.of(node).merge(counts);
        }
    }

    pub(crate) fn map(self, change: impl Fn(Counts) -> Counts) -> Self {
        Self(self.0.into_iter().map(change).collect())
    }

    /// All nodes' together.
    pub(crate) fn sum(&self) -> Counts {
        let mut sum = Counts::default();
        self.0.iter().for_each(|counts| sum.merge(counts));
        sum
    }
}

/// One measurement of some viewers.
#[derive(Debug, Default, Clone)]
pub(crate) struct Counts {
    /// Viewers that took part, and those of them that got a packet.
    pub(crate) viewers: u64,
    pub(crate) with_media: u64,
    /// Viewers that stayed for some time and got none.
    pub(crate) starved: u64,
    /// Packets of media, each once, retransmitted ones included.
    pub(crate) packets: u64,
    /// Their payloads, still encrypted.
    pub(crate) bytes: u64,
    /// Never came.
    pub(crate) missing: u64,
    /// Came only when sent again.
    pub(crate) recovered: u64,
    pub(crate) duplicates: u64,
    /// After a later one, without being a retransmission.
    pub(crate) reordered: u64,
    pub(crate) freezes: u64,
    pub(crate) frozen: Duration,
    pub(crate) verified: u64,
    pub(crate) auth_failures: u64,
    /// Authentic, but without a time stamp of ours.
    pub(crate) foreign: u64,
    pub(crate) nacks: u64,
    pub(crate) plis: u64,
    pub(crate) send_drops: u64,
    /// Of the viewer that lost the largest share, percent.
    pub(crate) worst_loss_percent: f64,
    pub(crate) delay: Durations,
    pub(crate) join: Durations,
    pub(crate) first_packet: Durations,
    pub(crate) first_keyframe: Durations,
    /// The SRTP profile of the last handshake.
    pub(crate) cipher: Option<&'static str>,
}

impl Counts {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.viewers += other.viewers;
        self.with_media += other.with_media;
        self.starved += other.starved;
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.missing += other.missing;
        self.recovered += other.recovered;
        self.duplicates += other.duplicates;
        self.reordered += other.reordered;
        self.freezes += other.freezes;
        self.frozen += other.frozen;
        self.verified += other.verified;
        self.auth_failures += other.auth_failures;
        self.foreign += other.foreign;
        self.nacks += other.nacks;
        self.plis += other.plis;
        self.send_drops += other.send_drops;
        self.worst_loss_percent = self.worst_loss_percent.max(other.worst_loss_percent);
        self.delay.merge(&other.delay);
        self.join.merge(&other.join);
        self.first_packet.merge(&other.first_packet);
        self.first_keyframe.merge(&other.first_keyframe);
        self.cipher = other.cipher.or(self.cipher);
    }

    /// Percent that never came.
    pub(crate) fn loss_percent(&self) -> f64 {
        percent(self.missing, self.packets + self.missing)
    }

    /// Percent that did not come when first sent.
    pub(crate) fn network_loss_percent(&self) -> f64 {
        percent(self.missing + self.recovered, self.packets + self.missing)
    }
}

/// 0 of nothing.
pub(crate) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_hundredth() {
        let mut seen = Durations::default();
        assert_eq!(seen.at(0.5), None);
        for us in 1..=100_000 {
            seen.add(Duration::from_micros(us));
        }
        for (share, wanted) in [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
            let found = seen.at(share).unwrap();
            assert!((found - wanted).abs() <= wanted / 100.0, "{share}: {found}");
        }
        let steps = seen.cumulative();
        assert_eq!(steps.last().unwrap().1, 100_000);
        assert!(steps.windows(2).all(|pair| pair[0] < pair[1]));
        seen.add(Duration::from_secs(3600));
        assert!(seen.at(1.0).unwrap() >= 60_000.0);
    }

    #[test]
    fn both_kinds_of_loss_are_over_what_was_sent() {
        let counts = Counts {
            packets: 995,
            missing: 5,
            recovered: 15,
            ..Counts::default()
        };
        assert!((counts.loss_percent() - 0.5).abs() < 1e-9);
        assert!((counts.network_loss_percent() - 2.0).abs() < 1e-9);
        assert!(Counts::default().loss_percent().abs() < 1e-9);
    }
}
