//! How much one address may ask for.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Addresses remembered at once. Whoever has more could do as they like anyway: those that find no place are not counted, and nobody
/// is kept out by strangers.
const MAX_ADDRESSES: usize = 16_384;
/// How often it is looked for addresses with nothing to be remembered for.
const SWEEP: Duration = Duration::from_secs(1);

/// A rate for each address: a bucket of tokens that fills up again.
pub struct Rate {
    /// Tokens a second; 0: no limit.
    refill: f64,
    /// Tokens that a bucket holds.
    capacity: f64,
    buckets: Mutex<Buckets>,
}

#[derive(Default)]
struct Buckets {
    /// What is left, as of when.
    left: HashMap<IpAddr, (f64, Instant)>,
    swept: Option<Instant>,
}

impl Rate {
    /// So many a second, and two seconds' worth at once. 0: no limit.
    pub fn a_second(tokens: u32) -> Self {
        Self::new(f64::from(tokens), f64::from(tokens) * 2.0)
    }

    /// So many a minute, and as many at once. 0: no limit.
    pub fn a_minute(tokens: u32) -> Self {
        Self::new(f64::from(tokens) / 60.0, f64::from(tokens))
    }

    fn new(refill: f64, capacity: f64) -> Self {
        Self {
            refill,
            capacity,
            buckets: Mutex::default(),
        }
    }

    /// Whether another may pass; then it counts.
    pub fn admits(&self, address: IpAddr) -> bool {
        self.take(address, 1.0, Instant::now())
    }

    /// Whether another would pass. Nothing is counted.
    pub fn would_admit(&self, address: IpAddr) -> bool {
        self.has(address, Instant::now())
    }

    /// Whole seconds until there is a token again, at least one.
    pub fn retry_after(&self) -> u64 {
        Duration::try_from_secs_f64(self.refill.recip()).map_or(1, |wait| wait.as_secs().max(1))
    }

    fn has(&self, address: IpAddr, now: Instant) -> bool {
        let Ok(buckets) = self.buckets.lock() else {
            return true;
        };
        let left = buckets.left.get(&address);
        left.is_none_or(|(left, at)| self.filled(*left, *at, now) >= 1.0)
    }

    fn take(&self, address: IpAddr, tokens: f64, now: Instant) -> bool {
        if self.refill == 0.0 {
            return true;
        }
        let Ok(mut buckets) = self.buckets.lock() else {
            return true;
        };
        if buckets.left.len() >= MAX_ADDRESSES && !buckets.left.contains_key(&address) {
            self.sweep(&mut buckets, now);
            if buckets.left.len() >= MAX_ADDRESSES {
                return true;
            }
        }
        let (left, at) = buckets.left.entry(address).or_insert((self.capacity, now));
        *left = self.filled(*left, *at, now);
        *at = now;
        if *left < tokens {
            return false;
        }
        *left -= tokens;
        true
    }

    fn filled(&self, left: f64, at: Instant, now: Instant) -> f64 {
        (left + now.saturating_duration_since(at).as_secs_f64() * self.refill).min(self.capacity)
    }

    /// Forgets those whose bucket is full again.
    fn sweep(&self, buckets: &mut Buckets, now: Instant) {
        if buckets
            .swept
            .is_some_and(|at| now.saturating_duration_since(at) < SWEEP)
        {
            return;
        }
        buckets.swept = Some(now);
        buckets
            .left
            .retain(|_, (left, at)| self.filled(*left, *at, now) < self.capacity);
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
    use super::*;

    #[test]
    fn a_burst_passes_a_flood_does_not() {
        let rate = Rate::a_second(10);
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let start = Instant::now();
        let passed = (0..1000).filter(|_| rate.take(one, 1.0, start)).count();
        assert_eq!(passed, 20);
        assert!(rate.take(other, 1.0, start), "others are not concerned");
        let passed = (0..1000)
            .filter(|ms| rate.take(one, 1.0, start + Duration::from_millis(*ms)))
            .count();
        assert_eq!(passed, 9);
        assert!((0..1000).all(|_| Rate::a_second(0).take(one, 1.0, start)));
    }

    #[test]
    fn failures_are_counted_when_they_happen_and_forgiven_in_time() {
        let rate = Rate::a_minute(6);
        let address = IpAddr::from([192, 0, 2, 1]);
        let start = Instant::now();
        for _ in 0..6 {
            assert!(
                rate.has(address, start) && rate.has(address, start),
                "to look costs nothing"
            );
            assert!(rate.take(address, 1.0, start));
        }
        assert!(!rate.has(address, start));
        assert_eq!(rate.retry_after(), 10);
        assert!(!rate.has(address, start + Duration::from_secs(9)));
        assert!(rate.has(address, start + Duration::from_secs(11)));
        assert!(Rate::a_minute(0).has(address, start));
    }

    #[test]
    fn addresses_are_bounded_and_strangers_keep_nobody_out() {
        let rate = Rate::a_second(1);
        let start = Instant::now();
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        let many = u32::try_from(MAX_ADDRESSES).unwrap() * 2;
        for n in 0..many {
            assert!(rate.take(address(n), 1.0, start));
        }
        assert_eq!(rate.buckets.lock().unwrap().left.len(), MAX_ADDRESSES);
        assert!(rate.take(address(many), 1.0, start), "not counted, and let pass");
        let later = start + Duration::from_secs(5);
        assert!(rate.take(address(many), 1.0, later));
        assert_eq!(
            rate.buckets.lock().unwrap().left.len(),
            1,
            "those that were full again"
        );
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
