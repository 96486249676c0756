//! How threads talk: bounded queues without locks, and a wake-up.
//!
//! | queue | capacity | when full |
//! |---|---|---|
//! | orders to a worker | [`ORDERS`] | the sender, the control thread, waits; media doesn't |
//! | media handed over to a worker | [`MEDIA`] | the newest is dropped and counted |
//! | requests handed over to a worker | [`REQUESTS`] | fatal: that worker has stopped working |
//! | media handed over to the relay | [`MEDIA`] | the newest is dropped and counted |
//! | requests handed over to the relay | [`RELAY_REQUESTS`] | dropped, counted and told: local media never waits for a relay |
//! | reports of all workers | [`REPORTS`] | the report is dropped, and the control link starts over with a snapshot |
//! | headers of watched packets among them | [`HEADERS_UNTIL`] | they are left out and counted |

use std::{
    io,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use crossbeam::queue::ArrayQueue;
use tokio::sync::Notify;
use weever_core::Handover;
use weever_proto::{Command, Event, SessionSnapshot, TrackStats, WorkerId, WorkerStats};

/// A burst of commands: a room of a thousand viewers that gets one more track.
const ORDERS: usize = 4096;
/// Bursts of a hundred tracks for some seconds.
const MEDIA: usize = 8192;
/// Requests are made once a track, keyframes twice a second.
const REQUESTS: usize = 8192;
/// As many as all workers may have for a worker each, several times over.
const RELAY_REQUESTS: usize = 65_536;
/// Events of a room of thousands that comes up at once.
const REPORTS: usize = 16384;

/// With so many reports waiting, headers of watched packets don't add to them: nobody is to miss an event for them.
const HEADERS_UNTIL: usize = REPORTS / 8;

/// What the control thread wants of a worker.
#[derive(Debug)]
pub(crate) enum Order {
    Command(Command),
    /// Report all sessions; events from then on are news to whoever reads the snapshot.
    Snapshot,
    /// Report the counters.
    Stats,
    /// End the thread. Sessions end without a word.
    Stop,
}

/// What a worker tells the control thread.
#[derive(Debug)]
pub(crate) enum Report {
    Event(Event),
    Snapshot(Vec<SessionSnapshot>),
    Stats(Box<WorkerStats>, Vec<TrackStats>),
}

/// A worker's way in.
#[derive(Debug)]
pub(crate) struct Mailbox {
    orders: ArrayQueue<Order>,
    media: ArrayQueue<Handover>,
    media_dropped: AtomicU64,
    requests: ArrayQueue<Handover>,
    wake: Notify,
}

impl Mailbox {
    pub(crate) fn new() -> Self {
        Self {
            orders: ArrayQueue::new(ORDERS),
            media: ArrayQueue::new(MEDIA),
            media_dropped: AtomicU64::new(0),
            requests: ArrayQueue::new(REQUESTS),
            wake: Notify::new(),
        }
    }

    /// Gives it back when the queue is full.
    pub(crate) fn order(&self, order: Order) -> Result<(), Order> {
        self.orders.push(order)?;
        self.wake.notify_one();
        Ok(())
    }

    /// Fails when the worker takes no requests any more.
    pub(crate) fn hand_over(&self, handover: Handover) -> io::Result<()> {
        if !handover.is_media() {
            let full = |_| io::Error::other("another worker takes no requests any more");
            self.requests.push(handover).map_err(full)?;
        } else if self.media.push(handover).is_err() {
            self.media_dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.wake.notify_one();
        Ok(())
    }

    pub(crate) fn next_order(&self) -> Option<Order> {
        self.orders.pop()
    }

    pub(crate) fn next_handover(&self) -> Option<Handover> {
        self.requests.pop().or_else(|| self.media.pop())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.orders.is_empty() && self.requests.is_empty() && self.media.is_empty()
    }

    pub(crate) fn media_dropped(&self) -> u64 {
        self.media_dropped.load(Ordering::Relaxed)
    }

    /// Returns at once when something was put in since the last call.
    pub(crate) async fn filled(&self) {
        self.wake.notified().await;
    }
}

/// All workers' way to the relay.
#[derive(Debug)]
pub(crate) struct RelayMailbox {
    media: ArrayQueue<Handover>,
    media_dropped: AtomicU64,
    requests: ArrayQueue<Handover>,
    requests_dropped: AtomicU64,
    /// Nobody reads it any more.
    closed: AtomicBool,
    wake: Notify,
}

impl RelayMailbox {
    pub(crate) fn new() -> Self {
        Self {
            media: ArrayQueue::new(MEDIA),
            media_dropped: AtomicU64::new(0),
            requests: ArrayQueue::new(RELAY_REQUESTS),
            requests_dropped: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }

    pub(crate) fn hand_over(&self, handover: Handover) {
        if self.is_closed() {
            return;
        }
        let (queue, dropped) = match handover.is_media() {
            true => (&self.media, &self.media_dropped),
            false => (&self.requests, &self.requests_dropped),
        };
        if queue.push(handover).is_err() {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.wake.notify_one();
    }

    pub(crate) fn next(&self) -> Option<Handover> {
        self.requests.pop().or_else(|| self.media.pop())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.media.is_empty()
    }

    pub(crate) fn media_dropped(&self) -> u64 {
        self.media_dropped.load(Ordering::Relaxed)
    }

    pub(crate) fn requests_dropped(&self) -> u64 {
        self.requests_dropped.load(Ordering::Relaxed)
    }

    /// As if something were put in.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// The relay is to end, or has ended.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Returns at once when something was put in since the last call.
    pub(crate) async fn filled(&self) {
        self.wake.notified().await;
    }
}

/// All workers' way to the control thread.
#[derive(Debug)]
pub(crate) struct Reports {
    queue: ArrayQueue<(WorkerId, Report)>,
    overflowed: AtomicBool,
    wake: Notify,
}

impl Reports {
    pub(crate) fn new() -> Self {
        Self {
            queue: ArrayQueue::new(REPORTS),
            overflowed: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }

    pub(crate) fn report(&self, worker: WorkerId, report: Report) {
        let report = match report {
            Report::Event(Event::Packets(packets)) if self.queue.len() >= HEADERS_UNTIL => {
                Report::Event(Event::Packets(Box::new(packets.thinned())))
            }
            report => report,
        };
        if self.queue.push((worker, report)).is_err() {
            self.overflowed.store(true, Ordering::Relaxed);
        }
        self.wake.notify_one();
    }

    pub(crate) fn next(&self) -> Option<(WorkerId, Report)> {
        self.queue.pop()
    }

    /// Whether a report was lost since the last call.
    pub(crate) fn take_overflow(&self) -> bool {
        self.overflowed.swap(false, Ordering::Relaxed)
    }

    /// Returns at once when something was reported since the last call.
    pub(crate) async fn filled(&self) {
        self.wake.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use weever_proto::{PacketKind, PacketRecord, Packets, SessionId};

    use super::*;

    #[test]
    fn a_full_mailbox_gives_the_order_back() {
        let mailbox = Mailbox::new();
        for _ in 0..ORDERS {
            assert!(mailbox.order(Order::Stats).is_ok());
        }
        assert!(matches!(mailbox.order(Order::Stop), Err(Order::Stop)));
        assert!(mailbox.next_order().is_some());
        assert!(mailbox.order(Order::Stop).is_ok());
    }

    #[test]
    fn headers_of_packets_make_way_for_events() {
        let record = PacketRecord {
            age_us: 0,
            sent: true,
            size: 12,
            header: vec![0x80; 12],
            dropped: None,
            kind: PacketKind::Rtcp,
        };
        let packets = Packets {
            session: SessionId(1),
            at_unix_us: 0,
            records: vec![record; 3],
            left_out: 1,
        };
        let reports = Reports::new();
        let headers = |reports: &Reports| {
            reports.report(
                WorkerId(0),
                Report::Event(Event::Packets(Box::new(packets.clone()))),
            );
        };
        for _ in 0..=HEADERS_UNTIL {
            headers(&reports);
        }
        let taken = || match reports.next() {
            Some((_, Report::Event(Event::Packets(packets)))) => (packets.records.len(), packets.left_out),
            other => panic!("{other:?}"),
        };
        for _ in 0..HEADERS_UNTIL {
            assert_eq!(taken(), (3, 1));
        }
        assert_eq!(taken(), (0, 4));
    }

    #[test]
    fn lost_reports_are_noticed_once() {
        let reports = Reports::new();
        for _ in 0..REPORTS {
            reports.report(WorkerId(0), Report::Snapshot(Vec::new()));
        }
        assert!(!reports.take_overflow());
        reports.report(WorkerId(0), Report::Snapshot(Vec::new()));
        assert!(reports.take_overflow());
        assert!(!reports.take_overflow());
    }
}
