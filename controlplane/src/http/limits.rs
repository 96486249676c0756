//! How much one address may ask for.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Instant;

/// Addresses remembered at once.
const MAX_ADDRESSES: usize = 16_384;

/// Joins a second of each address: a bucket that holds two seconds' worth.
pub struct JoinRate {
    rate: f64,
    buckets: Mutex<HashMap<IpAddr, (f64, Instant)>>,
}

impl JoinRate {
    /// 0: no limit.
    pub fn new(joins_a_second: u32) -> Self {
        Self {
            rate: f64::from(joins_a_second),
            buckets: Mutex::default(),
        }
    }

    /// Whether another join may pass; then it counts.
    pub fn admits(&self, address: IpAddr) -> bool {
        self.admits_at(address, Instant::now())
    }

    fn admits_at(&self, address: IpAddr, now: Instant) -> bool {
        if self.rate == 0.0 {
            return true;
        }
        let full = self.rate * 2.0;
        let Ok(mut buckets) = self.buckets.lock() else {
            return false;
        };
        if buckets.len() >= MAX_ADDRESSES && !buckets.contains_key(&address) {
            // Those whose bucket is full again have nothing to be remembered for.
            buckets.retain(|_, (left, at)| {
                *left + now.saturating_duration_since(*at).as_secs_f64() * self.rate < full
            });
            if buckets.len() >= MAX_ADDRESSES {
                return false;
            }
        }
        let (left, at) = buckets.entry(address).or_insert((full, now));
        *left = (*left + now.saturating_duration_since(*at).as_secs_f64() * self.rate).min(full);
        *at = now;
        if *left < 1.0 {
            return false;
        }
        *left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_a_flood_does_not() {
        let rate = JoinRate::new(10);
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let start = Instant::now();
        let passed = (0..1000).filter(|_| rate.admits_at(one, start)).count();
        assert_eq!(passed, 20);
        assert!(rate.admits_at(other, start), "others are not concerned");
        let passed = (0..1000)
            .filter(|ms| rate.admits_at(one, start + Duration::from_millis(*ms)))
            .count();
        assert_eq!(passed, 9);
        assert!((0..1000).all(|_| JoinRate::new(0).admits_at(one, start)));
    }
}
