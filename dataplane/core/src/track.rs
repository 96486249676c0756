//! One encoded stream of a publisher, as this worker has it: its recent past, shared by all viewers, and the routes that
//! lead to them.

use std::time::{Duration, Instant};

use weever_proto::{Kind, TrackId, WorkerId};

use crate::demux::SessionKey;
use crate::drops::{DropReason, Drops};
use crate::forward::Route;
use crate::packet::Packet;

/// Packets kept for retransmission: 3.3 s of 3 Mbit/s video, more than four round trips around the world.
const VIDEO_HISTORY: usize = 1024;
/// 5 s of 20 ms audio frames.
const AUDIO_HISTORY: usize = 256;
/// Packets of a track that go to a viewer in one [`BURST_INTERVAL`]: 40 kB, which a home router queues without loss, and
/// 60 Mbit/s. A keyframe takes some intervals.
const BURST: usize = 32;
const BURST_INTERVAL: Duration = Duration::from_millis(5);
/// Of what has piled up nevertheless, this part goes in one interval.
const BACKLOG_SHARE: usize = 8;
/// Sender reports go to each viewer this often at most, but for its first: it is a send of its own, and clocks drift
/// slowly. RFC 3550 §6.2 has 5 s; publishers report every second.
const REPORT_INTERVAL: Duration = Duration::from_millis(4500);
/// At most one keyframe request upstream in this time, however many ask.
pub(crate) const KEYFRAME_INTERVAL: Duration = Duration::from_millis(500);
/// A request that brought no keyframe is repeated while somebody waits.
const KEYFRAME_RETRY: Duration = Duration::from_secs(1);
/// Requests without any result after which the publisher is taken not to listen.
const KEYFRAME_TRIES: u32 = 10;

/// Index of a track in its worker.
pub(crate) type TrackKey = usize;

/// Where a track's packets come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nowhere yet: routes may be there before their publisher.
    None,
    /// A publisher of this worker.
    Session(SessionKey),
    /// Another worker of this process.
    Sibling(WorkerId),
}

/// What a publisher's sender report says (RFC 3550 §6.4.1), in the track's own timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SenderReport {
    /// 64-bit NTP time.
    pub(crate) ntp: u64,
    /// The RTP timestamp of the same moment.
    pub(crate) timestamp: u32,
}

pub(crate) struct Track {
    pub(crate) id: TrackId,
    pub(crate) origin: Origin,
    pub(crate) history: History,
    pub(crate) kind: Kind,
    pub(crate) pending: Pending,
    /// Its worker will look at it at the next flush.
    pub(crate) ripe: bool,
    /// Its worker will ask for a keyframe.
    pub(crate) wanting: bool,
    pub(crate) routes: Vec<Route>,
    /// Workers that have viewers for it.
    pub(crate) followers: Vec<WorkerId>,
    pub(crate) keyframes: KeyframeDemand,
    pub(crate) report: Option<SenderReport>,
    /// `report` is new: somebody may have to be told.
    pub(crate) report_due: bool,
    /// When all viewers were last told.
    pub(crate) reported: Option<Instant>,
    pub(crate) stats: Counters,
}

#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counters {
    /// Where its count began.
    first: Option<u64>,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) keyframes: u64,
}

impl Track {
    pub(crate) fn new(id: TrackId, kind: Kind) -> Self {
        let capacity = match kind {
            Kind::Audio => AUDIO_HISTORY,
            Kind::Video => VIDEO_HISTORY,
        };
        Self {
            id,
            origin: Origin::None,
            history: History::new(capacity),
            kind,
            pending: Pending::new(capacity / 2),
            ripe: false,
            wanting: false,
            routes: Vec::new(),
            followers: Vec::new(),
            keyframes: KeyframeDemand::default(),
            report: None,
            report_due: false,
            reported: None,
            stats: Counters::default(),
        }
    }

    /// Nothing comes in and nobody watches.
    pub(crate) fn is_idle(&self) -> bool {
        self.origin == Origin::None && self.routes.is_empty() && self.followers.is_empty()
    }

    /// Packets that never came, also not by retransmission; those under way count until they are there.
    pub(crate) fn lost(&self) -> u64 {
        let (Some(first), Some(newest)) = (self.stats.first, self.history.newest) else {
            return 0;
        };
        (newest.saturating_sub(first) + 1).saturating_sub(self.stats.packets)
    }

    /// Whether a new report goes to all viewers now; if not, only to those who never had one.
    pub(crate) fn reports_to_all(&mut self, now: Instant) -> bool {
        let due = self
            .reported
            .is_none_or(|at| now.saturating_duration_since(at) >= REPORT_INTERVAL);
        if due {
            self.reported = Some(now);
        }
        due
    }

    /// Takes a packet into the history and marks it for forwarding.
    pub(crate) fn push(&mut self, packet: Packet, now: Instant, drops: &mut Drops) {
        let (seq, keyframe, bytes) = (packet.seq, packet.keyframe, packet.media().len() as u64);
        // Only video comes in frames of several packets; audio has nobody to wait for.
        let ends_frame = packet.marker || self.kind == Kind::Audio;
        match self.history.insert(packet) {
            Ok(()) => {}
            Err(reason) => return drops.count(reason),
        }
        self.stats.first.get_or_insert(seq);
        self.stats.packets += 1;
        self.stats.bytes += bytes;
        if keyframe {
            // Every packet of sound begins anew; that is not what is counted.
            self.stats.keyframes += u64::from(self.kind == Kind::Video);
            self.keyframes.satisfied();
        }
        self.pending.push(seq, ends_frame, now);
    }
}

/// Packets received and not yet forwarded, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(crate) seqs: Vec<u64>,
    /// When the first of them came.
    since: Option<Instant>,
    /// Nothing is won by waiting for more.
    pub(crate) complete: bool,
    /// When the current interval of [`BURST_INTERVAL`] ends, and how many went in it.
    interval_ends: Option<Instant>,
    spent: usize,
    /// Of so many nothing waits any longer: soon the history would not hold the first ones.
    most: usize,
}

impl Pending {
    fn new(most: usize) -> Self {
        Self {
            most,
            ..Self::default()
        }
    }

    fn push(&mut self, seq: u64, complete: bool, now: Instant) {
        self.seqs.push(seq);
        self.since.get_or_insert(now);
        self.complete |= complete || self.seqs.len() >= BURST;
    }

    /// When they are to go, if packets may wait `window` for others.
    pub(crate) fn due(&self, window: Duration) -> Option<Instant> {
        let since = self.since?;
        let ready = if self.complete { since } else { since + window };
        let is_paced = self.spent >= BURST && self.seqs.len() < self.most;
        let paced = self.interval_ends.filter(|_| is_paced);
        Some(paced.map_or(ready, |paced| paced.max(ready)))
    }

    /// Takes those that go now into `burst`. Returns when the first of them came.
    pub(crate) fn take(&mut self, now: Instant, burst: &mut Vec<u64>) -> Option<Instant> {
        if self.interval_ends.is_none_or(|end| now >= end) {
            self.interval_ends = Some(now + BURST_INTERVAL);
            self.spent = 0;
        }
        // A backlog is not let grow, however large its frames are.
        let waiting = self.seqs.len();
        let count = if waiting >= self.most {
            waiting
        } else {
            let share = BURST.max(waiting.div_ceil(BACKLOG_SHARE));
            share.saturating_sub(self.spent).min(waiting)
        };
        self.spent += count;
        burst.clear();
        burst.extend(self.seqs.drain(..count));
        self.complete = !self.seqs.is_empty();
        if self.complete {
            self.since
        } else {
            self.since.take()
        }
    }
}

/// The last packets of a track, by sequence number.
pub(crate) struct History {
    /// Made with the first packet: most tracks of a large conference are never received.
    slots: Vec<Option<Packet>>,
    capacity: usize,
    newest: Option<u64>,
}

impl History {
    fn new(capacity: usize) -> Self {
        assert!(capacity.is_power_of_two());
        Self {
            slots: Vec::new(),
            capacity,
            newest: None,
        }
    }

    fn slot(&self, seq: u64) -> usize {
        // The remainder is below the capacity, which is a usize.
        usize::try_from(seq % self.capacity as u64).unwrap_or(0)
    }

    fn insert(&mut self, packet: Packet) -> Result<(), DropReason> {
        if self.slots.is_empty() {
            self.slots.resize_with(self.capacity, || None);
        }
        let seq = packet.seq;
        if let Some(newest) = self.newest
            && seq + self.capacity as u64 <= newest
        {
            return Err(DropReason::Late);
        }
        let index = self.slot(seq);
        if self.slots[index].as_ref().is_some_and(|held| held.seq >= seq) {
            return Err(DropReason::Duplicate);
        }
        self.slots[index] = Some(packet);
        self.newest = self.newest.max(Some(seq));
        Ok(())
    }

    pub(crate) fn get(&self, seq: u64) -> Option<&Packet> {
        self.slots
            .get(self.slot(seq))?
            .as_ref()
            .filter(|packet| packet.seq == seq)
    }

    pub(crate) fn get_mut(&mut self, seq: u64) -> Option<&mut Packet> {
        let slot = self.slot(seq);
        self.slots
            .get_mut(slot)?
            .as_mut()
            .filter(|packet| packet.seq == seq)
    }
}

/// Who wants a keyframe, and how often we may say so (RFC 4585 §6.3.1 asks for restraint; the rest is ours).
#[derive(Debug, Default)]
pub(crate) struct KeyframeDemand {
    wanted: bool,
    asked: Option<Instant>,
    tries: u32,
}

impl KeyframeDemand {
    /// A viewer wants one.
    pub(crate) fn want(&mut self) {
        self.wanted = true;
        self.tries = 0;
    }

    fn satisfied(&mut self) {
        self.wanted = false;
        self.tries = 0;
    }

    /// When the next request may go upstream, if one is wanted.
    pub(crate) fn next(&self) -> Option<Instant> {
        if !self.wanted || self.tries >= KEYFRAME_TRIES {
            return None;
        }
        let wait = if self.tries == 0 {
            KEYFRAME_INTERVAL
        } else {
            KEYFRAME_RETRY
        };
        // Before the first request: any moment that has passed.
        self.asked.map(|asked| asked + wait)
    }

    /// Whether to ask now; then it counts as asked.
    pub(crate) fn ask(&mut self, now: Instant) -> bool {
        if !self.wanted || self.tries >= KEYFRAME_TRIES || self.next().is_some_and(|at| at > now) {
            return false;
        }
        self.asked = Some(now);
        self.tries += 1;
        true
    }

    /// Whether [`KeyframeDemand::ask`] might say yes, now or later.
    pub(crate) fn is_open(&self) -> bool {
        self.wanted && self.tries < KEYFRAME_TRIES
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::packet::Extensions;

    fn packet(seq: u64) -> Packet {
        Packet {
            seq,
            timestamp: 0,
            pt: 96,
            marker: false,
            keyframe: false,
            extensions: Extensions::default(),
            payload: Arc::from([seq.to_be_bytes()[7]]),
            padding: 0,
        }
    }

    #[test]
    fn history_keeps_the_last_and_refuses_late_and_double() {
        let mut history = History::new(16);
        assert!(history.get(5).is_none());
        for seq in 100..120 {
            history.insert(packet(seq)).unwrap();
        }
        assert!(history.get(103).is_none(), "scrolled out");
        assert_eq!(history.get(104).unwrap().seq, 104);
        assert_eq!(history.get(119).unwrap().seq, 119);
        assert_eq!(history.insert(packet(119)), Err(DropReason::Duplicate));
        assert_eq!(history.insert(packet(103)), Err(DropReason::Late));
        history.insert(packet(140)).unwrap();
        assert_eq!(history.insert(packet(124)), Err(DropReason::Late));
        history.insert(packet(125)).unwrap();
        assert!(history.get(126).is_none(), "a gap is a gap, not an old packet");
    }

    #[test]
    fn packets_wait_for_the_end_of_their_frame_but_not_longer_than_the_window() {
        const MS: Duration = Duration::from_millis(1);
        let start = Instant::now();
        let mut burst = Vec::new();
        let mut pending = Pending::new(VIDEO_HISTORY / 2);
        assert_eq!(pending.due(Duration::ZERO), None);
        pending.push(1, false, start);
        pending.push(2, false, start + MS);
        assert_eq!(pending.due(Duration::ZERO), Some(start));
        assert_eq!(pending.due(5 * MS), Some(start + 5 * MS));
        pending.push(3, true, start + 2 * MS);
        assert_eq!(pending.due(5 * MS), Some(start));
        assert_eq!(pending.take(start + 2 * MS, &mut burst), Some(start));
        assert_eq!(burst, [1, 2, 3]);
        assert_eq!(pending.due(Duration::ZERO), None);
        pending.push(4, false, start + 9 * MS);
        assert_eq!(pending.due(5 * MS), Some(start + 14 * MS));
    }

    #[test]
    fn a_large_frame_goes_in_parts_and_the_largest_in_larger_ones() {
        let start = Instant::now();
        for (packets, parts) in [
            (32, vec![32]),
            (33, vec![32, 1]),
            (100, vec![32, 32, 32, 4]),
            (400, vec![50, 44, 39, 34, 32, 32, 32, 32, 32, 32, 32, 9]),
            (600, vec![600]),
        ] {
            let mut pending = Pending::new(VIDEO_HISTORY / 2);
            for seq in 0..packets {
                pending.push(seq, false, start);
            }
            let (mut now, mut burst, mut all) = (start, Vec::new(), Vec::new());
            for part in parts {
                let due = pending.due(Duration::ZERO);
                assert!(
                    due == Some(now) || now == start && due == Some(start),
                    "{packets}"
                );
                pending.take(now, &mut burst);
                assert_eq!(burst.len(), part, "{packets}");
                now += BURST_INTERVAL;
                all.extend_from_slice(&burst);
            }
            assert_eq!(pending.due(Duration::ZERO), None);
            assert_eq!(all, (0..packets).collect::<Vec<_>>());
        }
    }

    #[test]
    fn packets_that_come_one_by_one_are_paced_too() {
        let start = Instant::now();
        let (mut pending, mut burst) = (Pending::new(VIDEO_HISTORY / 2), Vec::new());
        for seq in 0..32 {
            pending.push(seq, false, start);
            pending.take(start, &mut burst);
        }
        pending.push(32, true, start);
        assert_eq!(pending.due(Duration::ZERO), Some(start + BURST_INTERVAL));
        pending.take(start + BURST_INTERVAL, &mut burst);
        pending.push(33, false, start + BURST_INTERVAL);
        assert_eq!(pending.due(Duration::ZERO), Some(start + BURST_INTERVAL));
    }

    #[test]
    fn one_request_in_half_a_second_however_many_ask() {
        let start = Instant::now();
        let mut demand = KeyframeDemand::default();
        assert!(!demand.ask(start));
        let mut asked = 0;
        for ms in 0..5000 {
            demand.want();
            asked += u32::from(demand.ask(start + Duration::from_millis(ms)));
        }
        assert_eq!(asked, 10);
    }

    #[test]
    fn a_request_without_answer_is_repeated_and_given_up() {
        let start = Instant::now();
        let mut demand = KeyframeDemand::default();
        demand.want();
        let asked: Vec<_> = (0..60_000)
            .filter(|ms| demand.ask(start + Duration::from_millis(*ms)))
            .collect();
        assert_eq!(asked[..3], [0, 1000, 2000]);
        assert_eq!(asked.len(), KEYFRAME_TRIES as usize);
        demand.satisfied();
        assert!(!demand.is_open());
    }
}
