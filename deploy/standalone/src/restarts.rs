//! When a plane that has ended is started again; pure.

use std::{process::ExitStatus, time::Duration};

/// The first pause; the restart before it is immediate.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// An error that comes sooner than this is one of the start.
const START: Duration = Duration::from_secs(2);
/// Failed starts in a row before it is given up.
const FAILED_STARTS: u32 = 3;
/// A plane that ran this long is well again.
const WELL: Duration = Duration::from_secs(30);

/// What to do about an end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    StartAfter(Duration),
    GiveUp,
}

/// What one plane's ends have been so far.
#[derive(Debug, Default)]
pub(crate) struct Restarts {
    /// Whether it ever got past its start.
    started: bool,
    failed_starts: u32,
    pause: Duration,
}

impl Restarts {
    /// It ended with `status` after it `lived` so long.
    pub(crate) fn ended(&mut self, status: ExitStatus, lived: Duration) -> Verdict {
        // A signal is somebody's doing, not the plane's own complaint.
        if lived < START && status.code().is_some_and(|code| code != 0) {
            return self.not_started();
        }
        self.started = true;
        self.failed_starts = 0;
        if lived >= WELL {
            self.pause = Duration::ZERO;
        }
        Verdict::StartAfter(self.next_pause())
    }

    /// It ended in order, for the next one to follow at once.
    pub(crate) fn handed_over(&mut self) {
        self.started = true;
        self.failed_starts = 0;
    }

    /// It did not get past its start.
    pub(crate) fn not_started(&mut self) -> Verdict {
        self.failed_starts += 1;
        if !self.started || self.failed_starts >= FAILED_STARTS {
            return Verdict::GiveUp;
        }
        Verdict::StartAfter(self.next_pause())
    }

    fn next_pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
        pause
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn exit(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    fn killed() -> ExitStatus {
        ExitStatus::from_raw(9)
    }

    #[test]
    fn pauses_grow_from_nothing_to_five_seconds_and_are_forgotten() {
        let mut restarts = Restarts::default();
        let mut pause = |lived| match restarts.ended(killed(), lived) {
            Verdict::StartAfter(pause) => pause.as_millis(),
            Verdict::GiveUp => panic!("gave up"),
        };
        let pauses: Vec<u128> = (0..9).map(|_| pause(SECOND)).collect();
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!([pause(WELL), pause(SECOND)], [0, 100]);
    }

    #[test]
    fn a_first_start_that_fails_is_final() {
        assert_eq!(Restarts::default().ended(exit(1), SECOND), Verdict::GiveUp);
    }

    #[test]
    fn three_failed_starts_in_a_row_are_final() {
        let mut restarts = Restarts::default();
        for status in [killed(), exit(1), exit(1), killed(), exit(1), exit(1)] {
            assert_ne!(restarts.ended(status, SECOND), Verdict::GiveUp);
        }
        assert_eq!(restarts.ended(exit(1), SECOND), Verdict::GiveUp);
    }

    #[test]
    fn one_that_follows_may_fail_twice() {
        let mut restarts = Restarts::default();
        restarts.handed_over();
        assert_ne!(restarts.ended(exit(1), SECOND), Verdict::GiveUp);
        assert_ne!(restarts.ended(exit(1), SECOND), Verdict::GiveUp);
        assert_eq!(restarts.ended(exit(1), SECOND), Verdict::GiveUp);
    }

    #[test]
    fn an_error_after_the_start_is_none_of_the_start() {
        let mut restarts = Restarts::default();
        for _ in 0..9 {
            assert_ne!(restarts.ended(exit(1), START), Verdict::GiveUp);
        }
    }
}
