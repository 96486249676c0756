//! What goes wrong with data planes again and again is said once a minute: a log full of one line hides all others.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long the same is not said again.
const QUIET: Duration = Duration::from_secs(60);
/// Complaints remembered; beyond them none is news until one has been quiet for long enough.
const MAX: usize = 64;

/// When which complaint was last made.
#[derive(Default)]
pub(super) struct Complaints(Mutex<HashMap<(String, String), Instant>>);

impl Complaints {
    /// Whether this has to be said of `whom`; then it counts as said.
    pub(super) fn is_news(&self, whom: &str, what: &impl Display) -> bool {
        self.is_news_at(whom, what, Instant::now())
    }

    fn is_news_at(&self, whom: &str, what: &impl Display, now: Instant) -> bool {
        let Ok(mut said) = self.0.lock() else { return true };
        said.retain(|_, at| now.saturating_duration_since(*at) < QUIET);
        let complaint = (whom.to_owned(), what.to_string());
        if said.contains_key(&complaint) || said.len() >= MAX {
            return false;
        }
        said.insert(complaint, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_made_once_a_minute() {
        let (complaints, now) = (Complaints::default(), Instant::now());
        let news = |whom: &str, what: &str, at| complaints.is_news_at(whom, &what, at);
        assert!(news("a", "it hangs", now));
        assert!(!news("a", "it hangs", now + QUIET / 2));
        assert!(news("b", "it hangs", now + QUIET / 2), "another one");
        assert!(news("a", "it lies", now + QUIET / 2), "another thing");
        assert!(news("a", "it hangs", now + QUIET));
    }

    #[test]
    fn their_number_is_bounded() {
        let (complaints, now) = (Complaints::default(), Instant::now());
        let news = (0..1000).filter(|n| complaints.is_news_at("", n, now)).count();
        assert_eq!(news, MAX);
        assert_eq!(complaints.0.lock().unwrap().len(), MAX);
        assert!(complaints.is_news_at("", &"later", now + QUIET));
    }
}
