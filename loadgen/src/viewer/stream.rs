//! One SSRC: what came, what is missing, which frames are whole.

use std::time::Instant;

use super::freeze::Freezes;
use super::nack::Missing;

/// Sequence numbers that are remembered: more than a second of 10 Mbit/s.
const WINDOW: u64 = 1024;
const WORDS: usize = 16;

/// A bit for each of the last [`WINDOW`] sequence numbers.
#[derive(Debug, Default, Clone)]
struct Bits([u64; WORDS]);

impl Bits {
    fn slot(index: u64) -> (usize, u64) {
        let at = index % WINDOW;
        (usize::try_from(at / 64).unwrap_or(0) % WORDS, 1 << (at % 64))
    }

    fn get(&self, index: u64) -> bool {
        let (word, bit) = Self::slot(index);
        self.0[word] & bit != 0
    }

    fn set(&mut self, index: u64, on: bool) {
        let (word, bit) = Self::slot(index);
        if on {
            self.0[word] |= bit;
        } else {
            self.0[word] &= !bit;
        }
    }
}

/// Sequence numbers of a measurement.
#[derive(Debug, Clone, Copy)]
struct Span {
    first: u64,
    /// Open until the measurement closes.
    last: u64,
    unique: u64,
}

impl Span {
    fn missing(self) -> u64 {
        (self.last + 1)
            .saturating_sub(self.first)
            .saturating_sub(self.unique)
    }

    fn holds(&self, index: u64) -> bool {
        (self.first..=self.last).contains(&index)
    }
}

/// What a packet was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    InOrder,
    /// After a later one.
    Late,
    /// Late, after it had been asked for.
    Resent,
    Duplicate,
    /// So old that nothing is known about it.
    Forgotten,
}

/// One SSRC.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) ssrc: u32,
    /// Index of its m-line.
    pub(super) track: usize,
    pub(super) highest: u64,
    seen: Bits,
    markers: Bits,
    /// Everything before it came or was given up.
    frontier: u64,
    /// Something was given up: nothing can be shown before the next keyframe.
    pub(super) broken: bool,
    /// A keyframe came whole since the viewer joined.
    pub(super) keyframe_seen: bool,
    pub(super) missing: Missing,
    pub(super) freezes: Freezes,
    pub(super) reception: Reception,
    open: Span,
    closing: Option<Span>,
}

/// For reports (RFC 3550 §6.4.1).
#[derive(Debug, Default)]
pub(super) struct Reception {
    /// First extended sequence number.
    pub(super) base: u64,
    pub(super) received: u64,
    pub(super) reported_expected: u64,
    pub(super) reported_received: u64,
    /// Timestamp units, times 16 (appendix A.8).
    jitter_16: u32,
    transit: Option<u32>,
    /// Middle 32 bits of the last SR's NTP time, and when it came.
    pub(super) sender_report: Option<(u32, Instant)>,
}

impl Reception {
    pub(super) fn jitter(&self) -> u32 {
        self.jitter_16 >> 4
    }

    /// `arrival`: on the media's clock.
    fn add(&mut self, timestamp: u32, arrival: u32) {
        self.received += 1;
        let transit = arrival.wrapping_sub(timestamp);
        if let Some(before) = self.transit.replace(transit) {
            let difference = transit.wrapping_sub(before).cast_signed().unsigned_abs();
            self.jitter_16 = self
                .jitter_16
                .wrapping_add(difference)
                .wrapping_sub((self.jitter_16 + 8) >> 4);
        }
    }
}

impl Stream {
    pub(super) fn new(ssrc: u32, track: usize, video: bool, sequence: u16) -> Self {
        let index = u64::from(sequence);
        let open = Span {
            first: index,
            last: u64::MAX - 1,
            unique: 0,
        };
        Self {
            ssrc,
            track,
            highest: index,
            seen: Bits::default(),
            markers: Bits::default(),
            frontier: index,
            broken: video,
            keyframe_seen: false,
            missing: Missing::default(),
            freezes: Freezes::default(),
            reception: Reception {
                base: index,
                ..Reception::default()
            },
            open,
            closing: None,
        }
    }

    /// The index nearest to what is known (RFC 3711 §3.3.1). Below zero, the one above.
    pub(super) fn index(&self, sequence: u16) -> u64 {
        let low = u16::try_from(self.highest & 0xFFFF).unwrap_or(0);
        let ahead = i64::from(sequence.wrapping_sub(low).cast_signed());
        self.highest
            .checked_add_signed(ahead)
            .unwrap_or_else(|| u64::from(sequence))
    }

    /// Counts a packet. `arrival` is on the media's clock, absent for a retransmission.
    pub(super) fn receive(
        &mut self,
        index: u64,
        marker: bool,
        now: Instant,
        arrival: Option<(u32, u32)>,
    ) -> Arrival {
        if index + WINDOW <= self.highest {
            return Arrival::Forgotten;
        }
        let newer = index > self.highest;
        if newer {
            self.skip_to(index, now);
        } else if self.seen.get(index) {
            return Arrival::Duplicate;
        }
        self.seen.set(index, true);
        self.markers.set(index, marker);
        let late = !newer && self.reception.received > 0;
        let asked = late && self.missing.found(index);
        if let Some((timestamp, arrival)) = arrival {
            self.reception.add(timestamp, arrival);
        }
        if self.open.holds(index) {
            self.open.unique += 1;
        } else if let Some(span) = self.closing.as_mut().filter(|span| span.holds(index)) {
            span.unique += 1;
        }
        if index == self.frontier {
            self.advance(now);
        }
        match (late, asked) {
            (false, _) => Arrival::InOrder,
            (true, false) => Arrival::Late,
            (true, true) => Arrival::Resent,
        }
    }

    fn skip_to(&mut self, index: u64, now: Instant) {
        let gap = index - self.highest;
        if gap >= WINDOW {
            self.seen = Bits::default();
            self.markers = Bits::default();
            self.give_up(index);
        } else {
            for between in self.highest + 1..=index {
                self.seen.set(between, false);
                self.markers.set(between, false);
            }
            for between in self.highest + 1..index {
                self.missing.add(between, now);
            }
        }
        self.highest = index;
    }

    /// Frames end where a marker lies before the first hole.
    fn advance(&mut self, now: Instant) {
        while self.frontier <= self.highest && self.seen.get(self.frontier) {
            if self.markers.get(self.frontier) && !self.broken {
                self.keyframe_seen = true;
                self.freezes.frame(now);
            }
            self.frontier += 1;
        }
    }

    /// A keyframe begins at this index: from here on frames can be shown again.
    pub(super) fn keyframe_begins(&mut self, index: u64) {
        if self.broken && index + WINDOW > self.highest {
            self.broken = false;
            self.frontier = index;
        }
    }

    /// What was missing before `index` won't come.
    fn give_up(&mut self, index: u64) {
        self.broken = true;
        self.frontier = self.frontier.max(index);
        self.missing.forget_before(index);
    }

    /// A missing packet will not come any more.
    pub(super) fn abandon(&mut self) {
        self.give_up(self.highest + 1);
    }

    /// Ends the measurement; late packets of it still count until [`Self::collect`].
    pub(super) fn close(&mut self) {
        let next = Span {
            first: self.highest + 1,
            last: u64::MAX - 1,
            unique: 0,
        };
        let mut closed = std::mem::replace(&mut self.open, next);
        closed.last = self.highest;
        self.closing = Some(closed);
    }

    /// Of the closed measurement: packets that came, each once, and packets that never did.
    pub(super) fn collect(&mut self) -> (u64, u64) {
        self.closing
            .take()
            .map_or((0, 0), |span| (span.unique, span.missing()))
    }

    /// Holes of the running measurement.
    pub(super) fn missing_so_far(&self) -> u64 {
        Span {
            last: self.highest,
            ..self.open
        }
        .missing()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(first: u16) -> Stream {
        Stream::new(7, 0, true, first)
    }

    fn feed(stream: &mut Stream, sequences: impl IntoIterator<Item = u16>) -> Vec<Arrival> {
        let now = Instant::now();
        sequences
            .into_iter()
            .map(|sequence| {
                let index = stream.index(sequence);
                stream.receive(index, false, now, Some((0, 0)))
            })
            .collect()
    }

    #[test]
    fn one_percent_loss_reads_as_one_percent() {
        let mut stream = stream(65_000);
        let all = (65_000u32..75_000).map(|number| u16::try_from(number & 0xFFFF).unwrap());
        feed(&mut stream, all.filter(|sequence| sequence % 100 != 50));
        stream.close();
        let expected = (65_000u32..75_000)
            .filter(|number| (number & 0xFFFF) % 100 == 50)
            .count();
        assert_eq!(stream.collect().1, expected as u64);
    }

    #[test]
    fn late_and_duplicate_packets_are_told_apart() {
        use Arrival::{Duplicate, InOrder, Late};
        let mut stream = stream(100);
        let found = feed(&mut stream, [100, 102, 101, 102, 103, 101]);
        assert_eq!(found, [InOrder, InOrder, Late, Duplicate, InOrder, Duplicate]);
        stream.close();
        assert_eq!(stream.collect().1, 0);
    }

    #[test]
    fn what_comes_after_the_end_still_counts_for_its_measurement() {
        let mut stream = stream(10);
        feed(&mut stream, [10, 11, 13]);
        stream.close();
        feed(&mut stream, [14, 12, 16]);
        assert_eq!(stream.collect().1, 0);
        stream.close();
        assert_eq!(stream.collect().1, 1, "15 is missing from the second");
    }

    #[test]
    fn old_and_far_packets_do_no_harm() {
        let mut stream = stream(0);
        feed(&mut stream, [0, 5000]);
        assert_eq!(feed(&mut stream, [1]), [Arrival::Forgotten]);
        assert!(stream.broken);
        // Before the first one and below zero.
        let mut young = self::stream(3);
        assert_eq!(feed(&mut young, [3, 65_535]).len(), 2);
    }

    #[test]
    fn frames_are_whole_only_without_holes() {
        let mut stream = stream(1);
        let now = Instant::now();
        stream.keyframe_begins(1);
        stream.receive(1, false, now, None);
        stream.receive(3, true, now, None);
        assert!(!stream.keyframe_seen);
        stream.receive(2, false, now, None);
        assert!(stream.keyframe_seen);
    }
}
