//! The relay: one more sibling of the workers, which speaks NATS. Tracks that are received here leave by it, once for each burst,
//! while another data plane follows them; tracks of other data planes come by it, once, and are handed to each worker that has
//! viewers for them.
//!
//! It has a thread of its own and holds nobody up: what the bus doesn't take is dropped and counted, and without a bus media
//! goes on as far as it is local.

mod bus;
mod counters;
mod followed;
mod offered;
pub(crate) mod settings;

use std::{
    collections::HashMap,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use async_nats::Event;
use bytes::Bytes;
use tokio::{
    sync::{mpsc, watch},
    time::MissedTickBehavior,
};
use weever_core::{
    Handover,
    relay::{RelayDrop, SealError, Seals, Told},
};
use weever_proto::{RelayStats, TrackId, WorkerId, relay::Message};

use self::{
    bus::{Bus, BusError, Delivery, Way},
    counters::Counters,
    followed::Followed,
    offered::Offered,
    settings::RelaySettings,
};
use crate::mailbox::{Mailbox, RelayMailbox};

/// What one turn of the loop takes on at most of each kind before the others get their turn.
const HANDOVERS_A_TURN: usize = 256;
const DELIVERIES_A_TURN: usize = 256;
/// How often leases, renewals and requests that wait are looked at.
const TICK: Duration = Duration::from_millis(100);
/// How long the end waits for the last words to be written.
const GOODBYE: Duration = Duration::from_millis(500);
/// Keys that differ are told of no more often.
const COMPLAIN: Duration = Duration::from_secs(60);
/// What servers complain of is told this often at most.
const COMPLAINTS: Duration = Duration::from_secs(10);

/// Why there is no relay any more.
#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error("random numbers: {0}")]
    Random(getrandom::Error),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("its executor: {0}")]
    Runtime(#[from] io::Error),
    #[error("NATS: {0}")]
    Bus(#[from] BusError),
}

/// The thread, from outside.
#[derive(Debug, Clone)]
pub(crate) struct RelayHandle {
    pub(crate) mailbox: Arc<RelayMailbox>,
    counters: Arc<Mutex<Counters>>,
    ended: watch::Receiver<bool>,
}

impl RelayHandle {
    /// Starts the thread.
    pub(crate) fn start(settings: RelaySettings, name: &str, mailboxes: Arc<[Mailbox]>) -> io::Result<Self> {
        let mailbox = Arc::new(RelayMailbox::new());
        let counters = Arc::new(Mutex::new(Counters::default()));
        let (end, ended) = watch::channel(false);
        let (own, shared) = (Arc::clone(&mailbox), Arc::clone(&counters));
        let name = format!("weever {name}");
        std::thread::Builder::new()
            .name("relay".to_owned())
            .spawn(move || {
                let mailbox = Arc::clone(&own);
                let run = AssertUnwindSafe(|| run(&settings, &name, mailboxes, own, Arc::clone(&shared)));
                match catch_unwind(run) {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        tracing::error!(%error, "the relay ended; media goes on as far as it is local");
                    }
                    Err(_) => tracing::error!("the relay panicked; media goes on as far as it is local"),
                }
                mailbox.close();
                shared.lock().unwrap_or_else(PoisonError::into_inner).connected = false;
                // Nobody waits any more.
                let _ = end.send(true);
            })?;
        Ok(Self {
            mailbox,
            counters,
            ended,
        })
    }

    pub(crate) fn stats(&self) -> RelayStats {
        self.counters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .report()
    }

    /// Has it say goodbye and end; returns when it has.
    pub(crate) async fn end(&mut self) {
        self.mailbox.close();
        // An error: it has ended.
        let _ = self.ended.wait_for(|ended| *ended).await;
    }
}

fn run(
    settings: &RelaySettings,
    name: &str,
    mailboxes: Arc<[Mailbox]>,
    mailbox: Arc<RelayMailbox>,
    shared: Arc<Mutex<Counters>>,
) -> Result<(), RelayError> {
    let start = (0..2).try_fold(0u128, |bits, _| {
        getrandom::u64().map(|more| (bits << 64) | u128::from(more))
    });
    let start = start.map_err(RelayError::Random)?;
    let seals = Seals::new(&settings.keys, start)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (bus, events) = Bus::open(settings, name).await?;
        let relay = Relay {
            bus,
            workers: Workers(mailboxes),
            mailbox,
            seals,
            offered: HashMap::new(),
            followed: HashMap::new(),
            counters: Counters::default(),
            shared,
            room: Vec::new(),
            complained: None,
            complaint: Complaint::default(),
        };
        relay.serve(events).await;
        Ok(())
    })
}

/// The workers' mailboxes.
struct Workers(Arc<[Mailbox]>);

impl Workers {
    fn hand_over(&self, to: WorkerId, handover: Handover) {
        let Some(mailbox) = self.0.get(usize::from(to.0)) else {
            return;
        };
        if let Err(error) = mailbox.hand_over(handover) {
            // Its siblings notice too, and end the process.
            tracing::error!(worker = %to, %error, "a worker has stopped working");
        }
    }
}

/// What was last complained of.
#[derive(Debug, Default)]
struct Complaint {
    text: String,
    at: Option<Instant>,
}

impl Complaint {
    /// Whether it is news. The same again is none, and not too many are.
    fn is_news(&mut self, text: &str) -> bool {
        let lately = self.at.is_some_and(|at| at.elapsed() < COMPLAINTS);
        if self.text == text || lately && !self.text.is_empty() {
            return false;
        }
        self.text = text.to_owned();
        self.at = Some(Instant::now());
        true
    }
}

struct Relay {
    bus: Bus,
    workers: Workers,
    mailbox: Arc<RelayMailbox>,
    seals: Seals,
    /// Tracks of publishers here.
    offered: HashMap<TrackId, Offered>,
    /// Tracks of publishers elsewhere that have viewers here.
    followed: HashMap<TrackId, Followed>,
    counters: Counters,
    shared: Arc<Mutex<Counters>>,
    /// Reused: what was opened.
    room: Vec<u8>,
    complaint: Complaint,
    /// When keys that differ were last told of.
    complained: Option<Instant>,
}

impl Relay {
    async fn serve(mut self, mut events: mpsc::Receiver<Event>) {
        let mailbox = Arc::clone(&self.mailbox);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !mailbox.is_closed() {
            tokio::select! {
                Some(event) = events.recv() => self.happened(&event).await,
                _ = tick.tick() => self.tick().await,
                delivery = self.bus.next() => self.take_deliveries(delivery).await,
                () = mailbox.filled() => {}
            }
            self.take_handovers().await;
            if !mailbox.is_empty() {
                // The connection's task gets its chance, and this loop another turn at once.
                mailbox.wake();
                tokio::task::yield_now().await;
            }
        }
        self.say_goodbye().await;
    }

    async fn take_handovers(&mut self) {
        for _ in 0..HANDOVERS_A_TURN {
            let Some(handover) = self.mailbox.next() else {
                return;
            };
            self.take(handover).await;
        }
    }

    async fn take(&mut self, handover: Handover) {
        let (track, worker) = (handover.track(), handover.from());
        match handover.told() {
            Told::Offered(kind) => self.offer(track, kind, worker).await,
            Told::Withdrawn => self.withdraw(track, worker),
            Told::Follow(kind) => self.follow(track, kind, worker).await,
            Told::Unfollow => self.unfollow(track, worker).await,
            Told::RequestKeyframe => self.want_keyframe(track).await,
            Told::Burst(burst) => self.send_burst(track, burst).await,
            Told::SenderReport { ntp, timestamp } => self.send_report(track, ntp, timestamp).await,
        }
    }

    async fn take_deliveries(&mut self, first: Delivery) {
        let mut next = Some(first);
        for _ in 0..DELIVERIES_A_TURN {
            let Some(delivery) = next.take() else { return };
            self.deliver(delivery).await;
            next = self.bus.next_now();
        }
        if let Some(last) = next {
            self.deliver(last).await;
        }
    }

    async fn deliver(&mut self, delivery: Delivery) {
        let Delivery { way, track, message } = delivery;
        self.counters.messages_in += 1;
        self.counters.bytes_in += message.payload.len() as u64;
        // Its room is taken and given back, so that the message may borrow it.
        let mut room = std::mem::take(&mut self.room);
        let opened = self.seals.open(&message.subject, &message.payload, &mut room);
        let parsed = opened.and_then(|bytes| Message::parse(bytes).map_err(|_| RelayDrop::Malformed));
        let taken = match parsed {
            Ok(message) if message.stamp.track != track => Err(RelayDrop::WrongTrack),
            Ok(message) => match way {
                Way::Media => self.arrived(track, &message).await,
                Way::Up => self.wished(track, &message),
            },
            Err(reason) => Err(reason),
        };
        if let Err(reason) = taken {
            self.counters.drop(reason);
            self.complain(reason);
        }
        self.room = room;
    }

    /// Of keys that differ nobody sees more than no picture.
    fn complain(&mut self, reason: RelayDrop) {
        let of_keys = matches!(
            reason,
            RelayDrop::Unsealed | RelayDrop::Sealed | RelayDrop::UnknownKey | RelayDrop::Forged
        );
        let is_due = |last: Instant| last.elapsed() >= COMPLAIN;
        if of_keys && self.complained.is_none_or(is_due) {
            self.complained = Some(Instant::now());
            let reason = reason.as_str();
            tracing::warn!(
                reason,
                "relayed messages are refused: do all data planes have the same --relay-key?"
            );
        }
    }

    /// Seals what `write` writes, and sends it.
    async fn publish(
        &mut self,
        way: Way,
        track: TrackId,
        write: impl FnOnce(&mut Vec<u8>, usize) -> usize,
    ) -> Result<usize, RelayDrop> {
        let subject = self.bus.subject(way, track);
        let most = self.bus.max_payload().min(weever_proto::relay::MAX_MESSAGE);
        let mut out = Vec::with_capacity(EXPECTED);
        self.seals.begin(&mut out);
        let written = write(&mut out, most.saturating_sub(self.seals.overhead()));
        if written == 0 {
            return Err(RelayDrop::Oversized);
        }
        // Nothing leaves unsealed; a library that can't seal is as good as no bus.
        self.seals
            .end(&subject, &mut out)
            .map_err(|_| RelayDrop::Disconnected)?;
        let len = out.len() as u64;
        self.bus.publish(subject, Bytes::from(out)).await?;
        self.counters.messages_out += 1;
        self.counters.bytes_out += len;
        Ok(written)
    }

    async fn happened(&mut self, event: &Event) {
        match event {
            Event::Connected => {
                self.counters.connects += 1;
                self.complaint = Complaint::default();
                tracing::info!("the relay is connected to NATS");
                self.refresh();
                self.tick().await;
            }
            Event::Disconnected => {
                tracing::warn!(
                    "the relay lost NATS; media goes on as far as it is local, connecting again until it is there"
                );
            }
            Event::SlowConsumer(_) => self.counters.drop(RelayDrop::SlowConsumer),
            Event::ServerError(_) | Event::ClientError(_) => {
                let text = event.to_string();
                if self.complaint.is_news(&text) {
                    tracing::warn!(error = %text, "NATS; trying again until it works");
                }
            }
            Event::LameDuckMode => tracing::info!("the NATS server will end soon"),
            Event::Draining | Event::Closed => {}
        }
    }

    /// The connection is new: subscriptions are the library's to make again, wishes are ours to say again.
    fn refresh(&mut self) {
        for followed in self.followed.values_mut() {
            followed.refresh();
        }
    }

    async fn tick(&mut self) {
        let now = Instant::now();
        self.tend_offered(now).await;
        self.tend_followed(now).await;
        let counters = &mut self.counters;
        counters.connected = self.bus.is_connected();
        counters.tracks_offered = self.offered.len();
        counters.tracks_out = self.offered.values().filter(|offered| offered.is_sent()).count();
        counters.tracks_in = self.followed.len();
        counters.cpu_ns = weever_uring::thread_cpu_ns();
        counters.dropped_in_all(
            RelayDrop::QueueFull,
            self.mailbox.media_dropped() + self.mailbox.requests_dropped(),
        );
        self.shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(counters);
    }

    async fn say_goodbye(&mut self) {
        let tracks: Vec<TrackId> = self.followed.keys().copied().collect();
        for track in tracks {
            self.leave(track).await;
        }
        self.bus.flush(GOODBYE).await;
    }
}

/// Room for a message of the usual size.
const EXPECTED: usize = 16 * 1024;

/// By the clock on the wall, microseconds since 1970.
fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
