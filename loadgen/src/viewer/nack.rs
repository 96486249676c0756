//! Which packets are asked for again, and when they are given up (RFC 4585 §6.2.1), as browsers do it.

use std::time::{Duration, Instant};

/// What is only late comes within this time.
const ASK_AFTER: Duration = Duration::from_millis(10);
/// Nothing is asked for twice sooner, however short the way.
const ASK_AGAIN_MIN: Duration = Duration::from_millis(20);
const ASKS_MAX: u8 = 10;
/// A packet that is this late is of no use.
const GIVE_UP: Duration = Duration::from_secs(1);
/// Without retransmission a hole is only reordering for so long.
const REORDERING: Duration = Duration::from_millis(100);
/// Beyond it a keyframe is the better remedy.
const MISSING_MAX: usize = 1000;

#[derive(Debug, Clone, Copy)]
struct Hole {
    index: u64,
    since: Instant,
    next: Instant,
    asks: u8,
}

/// Holes of one stream.
#[derive(Debug, Default)]
pub(super) struct Missing {
    holes: Vec<Hole>,
    overflowed: bool,
}

/// What a look at the holes brings.
#[derive(Debug, Default)]
pub(super) struct Due {
    pub(super) ask: Vec<u64>,
    /// One hole at least is beyond hope.
    pub(super) hopeless: bool,
}

impl Missing {
    pub(super) fn is_empty(&self) -> bool {
        self.holes.is_empty()
    }

    pub(super) fn add(&mut self, index: u64, now: Instant) {
        if self.holes.len() >= MISSING_MAX {
            self.overflowed = true;
            return;
        }
        self.holes.push(Hole {
            index,
            since: now,
            next: now + ASK_AFTER,
            asks: 0,
        });
    }

    /// A missing packet came. True: after it had been asked for.
    pub(super) fn found(&mut self, index: u64) -> bool {
        let at = self.holes.iter().position(|hole| hole.index == index);
        at.is_some_and(|at| self.holes.swap_remove(at).asks > 0)
    }

    pub(super) fn forget_before(&mut self, index: u64) {
        self.holes.retain(|hole| hole.index >= index);
    }

    /// When to look again.
    pub(super) fn next(&self) -> Option<Instant> {
        self.holes.iter().map(|hole| hole.next).min()
    }

    /// `nack`: whether asking is of use.
    pub(super) fn due(&mut self, now: Instant, rtt: Duration, nack: bool) -> Due {
        let mut due = Due {
            hopeless: std::mem::take(&mut self.overflowed),
            ..Due::default()
        };
        let patience = if nack { GIVE_UP } else { REORDERING };
        for hole in &mut self.holes {
            let waited = now.saturating_duration_since(hole.since);
            if waited >= patience || hole.asks >= ASKS_MAX && hole.next <= now {
                due.hopeless = true;
            } else if hole.next <= now {
                hole.next = if nack {
                    now + rtt.max(ASK_AGAIN_MIN)
                } else {
                    hole.since + patience
                };
                if nack {
                    hole.asks += 1;
                    due.ask.push(hole.index);
                }
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    #[test]
    fn a_hole_is_asked_for_once_in_a_round_trip_until_it_is_filled() {
        let mut missing = Missing::default();
        let start = Instant::now();
        missing.add(5, start);
        missing.add(6, start);
        assert!(missing.due(start, RTT, true).ask.is_empty());
        assert!(!missing.found(6), "late, not lost");
        let first = start + ASK_AFTER;
        assert_eq!(missing.due(first, RTT, true).ask, [5]);
        assert!(missing.due(first + RTT / 2, RTT, true).ask.is_empty());
        assert_eq!(missing.due(first + RTT, RTT, true).ask, [5]);
        assert!(missing.found(5) && !missing.found(7));
        assert!(missing.due(first + 2 * RTT, RTT, true).ask.is_empty() && missing.is_empty());
    }

    #[test]
    fn hope_ends() {
        let mut missing = Missing::default();
        let start = Instant::now();
        missing.add(5, start);
        let mut now = start;
        let mut asks = 0;
        loop {
            let due = missing.due(now, RTT, true);
            asks += due.ask.len();
            if due.hopeless {
                break;
            }
            now += Duration::from_millis(10);
        }
        assert_eq!(asks, usize::from(ASKS_MAX));
        assert!(now <= start + GIVE_UP);
    }

    #[test]
    fn without_retransmission_a_hole_is_given_up_soon() {
        let mut missing = Missing::default();
        let start = Instant::now();
        missing.add(5, start);
        let due = missing.due(start + ASK_AFTER, RTT, false);
        assert!(due.ask.is_empty() && !due.hopeless);
        assert_eq!(missing.next(), Some(start + REORDERING));
        assert!(missing.due(start + REORDERING, RTT, false).hopeless);
    }

    #[test]
    fn there_is_an_end_to_what_is_remembered() {
        let mut missing = Missing::default();
        let start = Instant::now();
        for index in 0..5000 {
            missing.add(index, start);
        }
        assert_eq!(missing.holes.len(), MISSING_MAX);
        assert!(missing.due(start, RTT, true).hopeless);
    }
}
