//! A timer wheel: thousands of sessions, each with one deadline, looked at only when it comes.

use std::time::{Duration, Instant};

/// Width of a slot. Deadlines are met up to this much late, never early.
const TICK: Duration = Duration::from_millis(5);
/// Slots, a power of two: the wheel spans 5.12 s. Deadlines beyond wait in the last slot and are put back.
const SLOTS: usize = 1024;
const WORDS: usize = SLOTS / 64;

/// Deadlines of things that are known by a number.
///
/// Entries are not removed: whoever is told of a deadline compares it with its own and, if it is not due, arms again.
#[derive(Debug)]
pub struct TimerWheel {
    start: Instant,
    /// Slots before this tick have been drained.
    tick: u64,
    slots: Vec<Vec<u32>>,
    /// One bit for each slot that holds something.
    occupied: [u64; WORDS],
}

impl TimerWheel {
    /// An empty wheel that begins at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            start: now,
            tick: 0,
            slots: vec![Vec::new(); SLOTS],
            occupied: [0; WORDS],
        }
    }

    /// Asks to be told of `key` once `deadline` has come.
    pub fn arm(&mut self, key: u32, deadline: Instant) {
        let since = deadline.saturating_duration_since(self.start);
        // Rounded up: a deadline is never announced before it has come.
        let tick = u64::try_from(since.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX);
        let tick = tick.clamp(self.tick, self.tick + SLOTS as u64 - 1);
        let slot = Self::slot(tick);
        self.slots[slot].push(key);
        self.occupied[slot / 64] |= 1 << (slot % 64);
    }

    /// Moves the keys whose time has come to `due`.
    pub fn expire(&mut self, now: Instant, due: &mut Vec<u32>) {
        let elapsed = now.saturating_duration_since(self.start);
        let until = u64::try_from(elapsed.as_nanos() / TICK.as_nanos()).unwrap_or(u64::MAX);
        while let Some(tick) = self.next_tick().filter(|tick| *tick <= until) {
            let slot = Self::slot(tick);
            due.append(&mut self.slots[slot]);
            self.occupied[slot / 64] &= !(1 << (slot % 64));
            self.tick = tick;
        }
        self.tick = self.tick.max(until);
    }

    /// When [`TimerWheel::expire`] next has something to do.
    pub fn next(&self) -> Option<Instant> {
        let tick = u32::try_from(self.next_tick()?).ok()?;
        Some(self.start + TICK * tick)
    }

    fn slot(tick: u64) -> usize {
        usize::try_from(tick % SLOTS as u64).unwrap_or(0)
    }

    /// The first occupied slot from `self.tick` on, as a tick.
    fn next_tick(&self) -> Option<u64> {
        let first = Self::slot(self.tick);
        for step in 0..=WORDS {
            let word = (first / 64 + step) % WORDS;
            let mut bits = self.occupied[word];
            if step == 0 {
                bits &= u64::MAX << (first % 64);
            } else if step == WORDS {
                bits &= !(u64::MAX << (first % 64));
            }
            if bits != 0 {
                let slot = word * 64 + bits.trailing_zeros() as usize;
                return Some(self.tick + ((slot + SLOTS - first) % SLOTS) as u64);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn empty_wheel_has_no_deadline() {
        assert_eq!(TimerWheel::new(Instant::now()).next(), None);
    }

    proptest! {
        /// Every key is told of, not before its deadline unless it lay beyond the wheel, and at most a tick late.
        #[test]
        fn deadlines_are_met(offsets in prop::collection::vec(0u64..12_000, 1..60), step in 1u64..900) {
            let start = Instant::now();
            let mut wheel = TimerWheel::new(start);
            for (key, ms) in offsets.iter().enumerate() {
                wheel.arm(u32::try_from(key).unwrap(), start + Duration::from_millis(*ms));
            }
            let mut told = vec![None; offsets.len()];
            let mut now = start;
            let mut due = Vec::new();
            while told.iter().any(Option::is_none) {
                let next = wheel.next().expect("something is armed");
                now = (now + Duration::from_millis(step)).max(now);
                prop_assert!(now <= next + Duration::from_millis(step) + TICK);
                wheel.expire(now, &mut due);
                for key in due.drain(..) {
                    let deadline = start + Duration::from_millis(offsets[key as usize]);
                    if now < deadline { wheel.arm(key, deadline); } else { told[key as usize] = Some(now); }
                }
            }
            for (ms, told) in offsets.iter().zip(told) {
                let deadline = start + Duration::from_millis(*ms);
                prop_assert!(told.unwrap() <= deadline + Duration::from_millis(step) + TICK);
            }
        }
    }
}
