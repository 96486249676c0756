//! The network between clients and workers: seeded faults, exact repetition.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What happens to datagrams on one way.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Of 1000.
    pub lost: u32,
    /// Of 1000.
    pub doubled: u32,
    /// Added at random to each datagram's delay: more than the spacing of packets reorders them.
    pub jitter: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Datagram {
    at: Instant,
    /// Ties are broken by order of sending.
    number: u64,
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

pub struct Network {
    queue: BinaryHeap<Reverse<Datagram>>,
    random: fastrand::Rng,
    number: u64,
    pub delay: Duration,
    /// Towards the workers.
    pub up: Faults,
    /// Towards the clients.
    pub down: Faults,
    pub lost: u64,
    pub doubled: u64,
}

impl Network {
    pub fn new(seed: u64) -> Self {
        Self {
            queue: BinaryHeap::new(),
            random: fastrand::Rng::with_seed(seed),
            number: 0,
            delay: Duration::from_millis(10),
            up: Faults::default(),
            down: Faults::default(),
            lost: 0,
            doubled: 0,
        }
    }

    pub fn send(&mut self, now: Instant, from: SocketAddr, to: SocketAddr, bytes: &[u8], up: bool) {
        let faults = if up { self.up } else { self.down };
        if self.random.u32(0..1000) < faults.lost {
            self.lost += 1;
            return;
        }
        let copies = 1 + u32::from(self.random.u32(0..1000) < faults.doubled);
        self.doubled += u64::from(copies - 1);
        for _ in 0..copies {
            let jitter = faults.jitter.mul_f64(self.random.f64());
            self.number += 1;
            self.queue.push(Reverse(Datagram {
                at: now + self.delay + jitter,
                number: self.number,
                from,
                to,
                bytes: bytes.to_vec(),
            }));
        }
    }

    pub fn next(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse(datagram)| datagram.at)
    }

    pub fn receive(&mut self, now: Instant) -> Option<Datagram> {
        if self.next()? > now {
            return None;
        }
        self.queue.pop().map(|Reverse(datagram)| datagram)
    }
}
