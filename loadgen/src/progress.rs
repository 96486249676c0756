//! One line that says what is going on, for people only.

use std::io::IsTerminal;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::audience::{LiveFigures, Tally};

const TEMPLATE: &str = "{prefix:>10} [{bar:28}] {msg}";

/// A bar on standard error, if that is a terminal.
pub(crate) struct Progress {
    bar: ProgressBar,
    before: (Instant, LiveFigures),
}

impl Progress {
    pub(crate) fn new() -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(1), target);
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style.progress_chars("━╸ "));
        }
        Self {
            bar,
            before: (Instant::now(), LiveFigures::default()),
        }
    }

    pub(crate) fn stage(&mut self, name: &str, length: u64) {
        self.before = (Instant::now(), LiveFigures::default());
        self.bar.set_prefix(name.to_owned());
        self.bar.set_length(length.max(1));
        self.bar.set_position(0);
        self.bar.set_message("");
    }

    pub(crate) fn joining(&self, tally: &Tally) {
        self.bar.set_position(tally.with_media + tally.failed);
        self.bar.set_message(format!(
            "{} asked, {} connected, {} have media, {} failed",
            tally.posted, tally.connected, tally.with_media, tally.failed
        ));
    }

    pub(crate) fn measuring(&mut self, seconds: u64, viewers: u64, live: LiveFigures) {
        let now = Instant::now();
        let (at, before) = std::mem::replace(&mut self.before, (now, live));
        let since = now.saturating_duration_since(at).as_secs_f64().max(1e-3);
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / since;
        self.bar.set_position(seconds);
        self.bar.set_message(format!(
            "{viewers} viewers, {:.1} kpackets/s, {:.1} Mbit/s, {} missing",
            rate(live.packets, before.packets) / 1e3,
            rate(live.bytes, before.bytes) * 8.0 / 1e6,
            live.missing
        ));
    }

    /// A line that stays.
    pub(crate) fn note(&self, text: &str) {
        self.bar.println(text);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
