//! Durations counted in buckets that grow with them: any quantile within 1/16, in constant memory.

use std::time::Duration;

/// Each power of two is cut into so many buckets.
const PARTS: u64 = 16;
const PARTS_BITS: u32 = 4;
/// Microseconds up to 2^40 (12 days).
const POWERS: usize = 40;

/// How often which duration was seen.
#[derive(Debug, Clone)]
pub(crate) struct Quantiles {
    buckets: Vec<u64>,
    count: u64,
    max_us: u64,
}

impl Default for Quantiles {
    fn default() -> Self {
        Self {
            buckets: vec![0; POWERS * 16],
            count: 0,
            max_us: 0,
        }
    }
}

fn bucket_of(us: u64) -> usize {
    if us < PARTS {
        return usize::try_from(us).unwrap_or(0);
    }
    let power = us.ilog2() - PARTS_BITS;
    let part = (us >> power) - PARTS;
    let index = (u64::from(power) + 1) * PARTS + part;
    usize::try_from(index).unwrap_or(usize::MAX).min(POWERS * 16 - 1)
}

/// The largest value of a bucket.
fn top_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < PARTS {
        return bucket;
    }
    let power = bucket / PARTS - 1;
    let part = bucket % PARTS;
    ((PARTS + part + 1) << power) - 1
}

impl Quantiles {
    pub(crate) fn add(&mut self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(us)] += 1;
        self.count += 1;
        self.max_us = self.max_us.max(us);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.max_us = self.max_us.max(other.max_us);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Milliseconds that a share of all (0 to 1) did not exceed; `None` when there was none.
    pub(crate) fn at(&self, share: f64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        let wanted = share * self.count as f64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if *count > 0 && seen as f64 >= wanted {
                return Some(top_of(bucket).min(self.max_us) as f64 / 1000.0);
            }
        }
        Some(self.max_us as f64 / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket() {
        for us in (0..5000).chain([1 << 20, (1 << 33) + 12345]) {
            let bucket = bucket_of(us);
            assert!(top_of(bucket) >= us, "{us} in {bucket}");
            assert!(bucket == 0 || top_of(bucket - 1) < us, "{us} in {bucket}");
        }
    }

    #[test]
    fn quantiles_are_within_a_sixteenth() {
        let mut seen = Quantiles::default();
        assert_eq!(seen.at(0.5), None);
        for us in 1..=100_000 {
            seen.add(Duration::from_micros(us));
        }
        for (share, wanted) in [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
            let found = seen.at(share).unwrap();
            assert!((found - wanted).abs() <= wanted / 16.0, "{share}: {found}");
        }
        let mut twice = seen.clone();
        twice.merge(&seen);
        assert_eq!((twice.count(), twice.at(0.5)), (200_000, seen.at(0.5)));
    }
}
