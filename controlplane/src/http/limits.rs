//! How much one address may ask for.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
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

/// Bytes of bodies that are being read, in all and of one address. Who sends slowly holds what was read so far.
const MAX_BODIES: usize = 64 << 20;
const MAX_BODIES_OF_ONE: usize = 16 << 20;

/// How much of clients' bodies is in memory.
#[derive(Debug, Default)]
pub struct Bodies(Mutex<HeldBodies>);

#[derive(Debug, Default)]
struct HeldBodies {
    all: usize,
    of: HashMap<IpAddr, usize>,
}

/// What is held of one body. It is free again when this is dropped.
#[derive(Debug)]
pub struct HeldBody {
    bodies: Arc<Bodies>,
    address: IpAddr,
    bytes: usize,
}

impl Bodies {
    /// A body of which nothing was read yet.
    pub fn begin(self: &Arc<Self>, address: IpAddr) -> HeldBody {
        HeldBody {
            bodies: self.clone(),
            address,
            bytes: 0,
        }
    }
}

impl HeldBody {
    /// Whether so much more of it may be held; then it counts.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let Ok(mut held) = self.bodies.0.lock() else {
            return false;
        };
        let of = held.of.get(&self.address).copied().unwrap_or(0);
        if held.all + bytes > MAX_BODIES || of + bytes > MAX_BODIES_OF_ONE {
            return false;
        }
        held.all += bytes;
        held.of.insert(self.address, of + bytes);
        self.bytes += bytes;
        true
    }
}

impl Drop for HeldBody {
    fn drop(&mut self) {
        let Ok(mut held) = self.bodies.0.lock() else {
            return;
        };
        held.all -= self.bytes;
        match held.of.get_mut(&self.address) {
            Some(of) if *of > self.bytes => *of -= self.bytes,
            _ => {
                held.of.remove(&self.address);
            }
        }
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

    #[test]
    fn a_flood_of_addresses_is_not_remembered_for_ever() {
        let rate = JoinRate::new(1);
        let start = Instant::now();
        let address = |n: u32| IpAddr::from((n + (1 << 24)).to_be_bytes());
        let passed = (0..100_000)
            .filter(|n| rate.admits_at(address(*n), start))
            .count();
        assert_eq!(passed, MAX_ADDRESSES);
        assert_eq!(rate.buckets.lock().unwrap().len(), MAX_ADDRESSES);
        let later = start + Duration::from_secs(3);
        assert!(rate.admits_at(address(100_000), later), "there is room again");
        assert_eq!(rate.buckets.lock().unwrap().len(), 1);
    }

    #[test]
    fn bodies_are_bounded_for_one_address_and_for_all() {
        const MEGABYTE: usize = 1 << 20;
        let bodies = Arc::new(Bodies::default());
        let address = |n: u8| IpAddr::from([192, 0, 2, n]);
        let fill = |n: u8| {
            let mut held = Vec::new();
            while held.len() < 100 {
                let mut body = bodies.begin(address(n));
                if !(body.grow(MEGABYTE / 2) && body.grow(MEGABYTE / 2)) {
                    break;
                }
                held.push(body);
            }
            held
        };
        let mut all: Vec<Vec<HeldBody>> = (0..5).map(fill).collect();
        assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [16, 16, 16, 16, 0]);
        all.remove(0);
        assert_eq!(fill(9).len(), 16);
        drop(all);
        let held = bodies.0.lock().unwrap();
        assert_eq!((held.all, held.of.len()), (0, 0), "all is given back");
    }
}
