//! What a client may say on its chat channel, and how fast.

use std::time::{Duration, Instant};

use weever_proto::limits::MAX_CHAT;

use crate::drops::DropReason;

/// Messages that a client may say at once after a pause.
const BURST: u32 = 10;
/// In which it earns another one.
const PERIOD: Duration = Duration::from_millis(500);
/// Bytes that may wait on a client's chat channel. One that takes no more misses what is said meanwhile, and its control
/// channel, which shares the way, is not held up.
pub(crate) const BACKLOG: usize = 64 * 1024;

/// What the server says itself begins so: no name does.
const NOT_SENT: [&str; 3] = [
    "* not sent: longer than 4096 bytes",
    "* not sent: not a text",
    "* not sent: too fast; 10 at once, then 2 a second",
];

/// How often something may happen (generic cell rate algorithm).
#[derive(Debug)]
pub(crate) struct Pace {
    /// When a whole burst may happen again.
    rested: Instant,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self { rested: now }
    }

    /// Whether it may happen now: `burst` times at once after a pause, then once in a `period`.
    pub(crate) fn allows(&mut self, now: Instant, burst: u32, period: Duration) -> bool {
        let rested = self.rested.max(now) + period;
        let allowed = rested <= now + burst * period;
        if allowed {
            self.rested = rested;
        }
        allowed
    }
}

/// One client's way with words.
#[derive(Debug)]
pub(crate) struct Talker {
    pace: Pace,
    /// That it is too fast has been said, and nothing has passed since.
    told: bool,
}

/// A message goes nowhere.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unsaid {
    pub(crate) reason: DropReason,
    /// What its sender is told. Nothing, if it was told already: answers are as slow as messages may be.
    pub(crate) answer: Option<&'static str>,
}

impl Talker {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            pace: Pace::new(now),
            told: false,
        }
    }

    /// A message came. What can't be said counts too: it costs an answer.
    pub(crate) fn says(&mut self, now: Instant, binary: bool, data: Vec<u8>) -> Result<String, Unsaid> {
        let [too_long, no_text, too_fast] = NOT_SENT;
        if !self.pace.allows(now, BURST, PERIOD) {
            let answer = (!std::mem::replace(&mut self.told, true)).then_some(too_fast);
            let reason = DropReason::ChatTooFast;
            return Err(Unsaid { reason, answer });
        }
        self.told = false;
        let unsaid = |answer| Unsaid {
            reason: DropReason::ChatMessage,
            answer: Some(answer),
        };
        if data.len() > MAX_CHAT {
            return Err(unsaid(too_long));
        }
        match String::from_utf8(data) {
            Ok(text) if !binary && !text.is_empty() => Ok(text),
            _ => Err(unsaid(no_text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_two_a_second() {
        let mut now = Instant::now();
        let mut talker = Talker::new(now);
        let mut passed = |now| talker.says(now, false, b"hello".to_vec()).is_ok();
        assert_eq!((0..100).filter(|_| passed(now)).count(), 10);
        let in_ten_seconds = (0..1000).filter(|_| {
            now += Duration::from_millis(10);
            passed(now)
        });
        assert_eq!(in_ten_seconds.count(), 20);
        now += Duration::from_secs(3600);
        assert_eq!(
            (0..100).filter(|_| passed(now)).count(),
            10,
            "pauses are not saved up"
        );
    }

    #[test]
    fn what_is_wrong_is_answered_once_and_counted_always() {
        let mut now = Instant::now();
        let mut talker = Talker::new(now);
        let mut says = |now, binary, data: &[u8]| talker.says(now, binary, data.to_vec());
        let unsaid = |reason, answer| Err(Unsaid { reason, answer });
        let [too_long, no_text, too_fast] = NOT_SENT.map(Some);
        assert!(too_long.unwrap().contains(&MAX_CHAT.to_string()));
        let most = "é".repeat(MAX_CHAT / 2);
        assert_eq!(says(now, false, most.as_bytes()), Ok(most.clone()));
        let more = format!("{most}.");
        assert_eq!(
            says(now, false, more.as_bytes()),
            unsaid(DropReason::ChatMessage, too_long)
        );
        for (binary, data) in [(true, &b"hello"[..]), (false, &[0xff, 0xfe]), (false, b"")] {
            assert_eq!(says(now, binary, data), unsaid(DropReason::ChatMessage, no_text));
        }
        for _ in 0..5 {
            assert!(says(now, false, b"hello").is_ok());
        }
        for _ in 0..2 {
            assert_eq!(
                says(now, false, b"hello"),
                unsaid(DropReason::ChatTooFast, too_fast)
            );
            for _ in 0..100 {
                assert_eq!(says(now, true, b"hello"), unsaid(DropReason::ChatTooFast, None));
            }
            now += PERIOD;
            assert!(says(now, false, b"hello").is_ok());
        }
    }
}
