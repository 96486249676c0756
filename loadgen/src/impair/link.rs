//! What happens to each datagram of one direction. No clock, no socket: the same seed and the same datagrams give the
//! same fates.

use std::time::Duration;

use super::Impairment;

/// A datagram that is held back is overtaken by those of this time.
const HELD_BACK: Duration = Duration::from_millis(15);

/// When a datagram goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Lost,
    /// No room in the queue before the narrow place.
    Overflowed,
    Goes(Duration),
    GoesTwice(Duration),
}

/// One direction of one client's way.
#[derive(Debug)]
pub(super) struct Link {
    impairment: Impairment,
    random: fastrand::Rng,
    /// In the state in which everything is lost.
    bad: bool,
    /// When the narrow place is free again.
    free: Duration,
    /// When the last datagram that kept its order goes.
    last: Duration,
}

impl Link {
    pub(super) fn new(impairment: Impairment, seed: u64) -> Self {
        Self {
            impairment,
            random: fastrand::Rng::with_seed(seed),
            bad: false,
            free: Duration::ZERO,
            last: Duration::ZERO,
        }
    }

    /// The fate of the next datagram, that came at `now`. Dice are thrown in the same number for each, so that what
    /// happens to one doesn't depend on when others came.
    pub(super) fn pass(&mut self, now: Duration, bytes: usize) -> Fate {
        let Impairment {
            delay,
            jitter,
            reorder,
            duplicate,
            ..
        } = self.impairment;
        let [state, held, twice, shift] = std::array::from_fn(|_| self.random.f64());
        if self.is_lost(state) {
            return Fate::Lost;
        }
        let Some(through) = self.through(now, bytes) else {
            return Fate::Overflowed;
        };
        let varied = jitter.mul_f64(2.0 * shift);
        let due = (through + delay + varied).saturating_sub(jitter).max(through);
        let due = if held < reorder {
            due + HELD_BACK
        } else {
            self.last = self.last.max(due);
            self.last
        };
        if twice < duplicate {
            Fate::GoesTwice(due)
        } else {
            Fate::Goes(due)
        }
    }

    /// Gilbert-Elliott: a bad state that loses everything, left with the chance 1/burst, entered so often that the
    /// average is the asked loss.
    fn is_lost(&mut self, dice: f64) -> bool {
        let Impairment { loss, burst, .. } = self.impairment;
        let leave = 1.0 / burst;
        // Of each, the share of time in the bad state is enter / (enter + leave).
        let enter = if loss < 1.0 {
            (leave * loss / (1.0 - loss)).min(1.0)
        } else {
            1.0
        };
        self.bad = if self.bad {
            dice >= leave || loss >= 1.0
        } else {
            dice < enter
        };
        // Without bursts each is by itself, also after a loss.
        if burst <= 1.0 {
            self.bad = dice < loss;
        }
        self.bad
    }

    /// When a datagram has left the narrow place.
    fn through(&mut self, now: Duration, bytes: usize) -> Option<Duration> {
        let Some(rate) = self.impairment.rate else {
            return Some(now);
        };
        let begins = self.free.max(now);
        if begins - now > self.impairment.queue {
            return None;
        }
        self.free = begins + Duration::from_secs_f64(bytes as f64 * 8.0 / rate as f64);
        Some(self.free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn fates(text: &str, seed: u64, count: u32) -> Vec<Fate> {
        let mut link = Link::new(text.parse().unwrap(), seed);
        (0..count).map(|n| link.pass(n * MS, 1200)).collect()
    }

    fn share(fates: &[Fate], of: impl Fn(&Fate) -> bool) -> f64 {
        fates.iter().filter(|fate| of(fate)).count() as f64 / fates.len() as f64
    }

    fn due(fate: &Fate) -> Option<Duration> {
        match fate {
            Fate::Goes(due) | Fate::GoesTwice(due) => Some(*due),
            _ => None,
        }
    }

    #[test]
    fn the_same_seed_has_the_same_fates() {
        let text = "loss=2%,burst=3,delay=20ms,jitter=9ms,reorder=1%,duplicate=1%";
        assert_eq!(fates(text, 1, 5000), fates(text, 1, 5000));
        assert_ne!(fates(text, 1, 5000), fates(text, 2, 5000));
    }

    #[test]
    fn what_is_lost_does_not_depend_on_time() {
        let lost = |step: Duration| {
            let mut link = Link::new("loss=5%,burst=2,jitter=5ms".parse().unwrap(), 9);
            (0..2000)
                .map(|n| link.pass(n * step, 100) == Fate::Lost)
                .collect::<Vec<_>>()
        };
        assert_eq!(lost(MS), lost(7 * MS));
    }

    #[test]
    fn one_percent_is_one_percent_with_and_without_bursts() {
        for burst in [1, 5] {
            let fates = fates(&format!("loss=1%,burst={burst}"), 4, 500_000);
            let lost = share(&fates, |fate| *fate == Fate::Lost);
            assert!((0.009..0.011).contains(&lost), "{burst}: {lost}");
            let runs = fates
                .windows(2)
                .filter(|pair| pair[0] != Fate::Lost && pair[1] == Fate::Lost)
                .count();
            let mean = lost * fates.len() as f64 / runs as f64;
            assert!(
                (mean - f64::from(burst)).abs() < 0.2 * f64::from(burst),
                "{burst}: {mean}"
            );
        }
        assert!(fates("loss=100%", 1, 100).iter().all(|fate| *fate == Fate::Lost));
        assert!(share(&fates("", 1, 100), |fate| *fate == Fate::Lost) < 1e-9);
    }

    #[test]
    fn delay_and_jitter_keep_the_order() {
        let fates = fates("delay=50ms,jitter=10ms", 1, 10_000);
        let dues: Vec<_> = fates.iter().filter_map(due).collect();
        assert!(dues.is_sorted());
        for (n, due) in dues.iter().enumerate() {
            let took = due.as_secs_f64() * 1e3 - n as f64;
            assert!((39.9..=70.0).contains(&took), "{took}");
        }
        let mut steady = Link::new("delay=50ms".parse().unwrap(), 1);
        assert_eq!(steady.pass(7 * MS, 10), Fate::Goes(57 * MS));
    }

    #[test]
    fn reordering_and_duplication_come_in_their_shares() {
        let fates = fates("reorder=2%,duplicate=3%", 1, 100_000);
        let dues: Vec<_> = fates.iter().filter_map(due).collect();
        let overtaken = dues.windows(2).filter(|pair| pair[0] > pair[1]).count() as f64 / dues.len() as f64;
        assert!((0.018..0.022).contains(&overtaken), "{overtaken}");
        let twice = share(&fates, |fate| matches!(fate, Fate::GoesTwice(_)));
        assert!((0.028..0.032).contains(&twice), "{twice}");
    }

    #[test]
    fn a_rate_delays_then_drops() {
        // 9.6 Mbit/s through 4.8: half goes, after the queue's 100 ms.
        let fates = fates("rate=4.8Mbit,queue=100ms", 1, 10_000);
        let dropped = share(&fates, |fate| *fate == Fate::Overflowed);
        assert!((0.49..0.51).contains(&dropped), "{dropped}");
        assert_eq!(due(&fates[0]), Some(2 * MS));
    }
}
