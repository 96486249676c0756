//! Tracks of publishers elsewhere that have viewers here.

use std::time::{Duration, Instant};

use weever_core::relay::{Incoming, RelayDrop};
use weever_proto::{
    Kind, TrackId, WorkerId,
    relay::{MAX_LEASE_MS, Message, Says, Stamp},
};

use super::{
    Relay,
    bus::{Subscription, Way},
    unix_us,
};

/// How often the lease is renewed: two may get lost.
const RENEWAL: Duration = Duration::from_millis(MAX_LEASE_MS as u64 / 3);
/// How often while nothing has come yet: the origin may not have subscribed when the first wish was sent.
const EAGER_RENEWAL: Duration = Duration::from_millis(300);
/// So many times; then there is nobody, or nothing to be sent.
const EAGER: u32 = 10;
/// At most one keyframe request for a track in this time, however many want one.
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(500);

pub(super) struct Followed {
    incoming: Incoming,
    /// Those with viewers.
    workers: Vec<WorkerId>,
    /// Who we are to the origin.
    source: u64,
    /// Of the next message to it.
    number: u64,
    subscription: Option<Subscription>,
    renewal: Instant,
    eager: u32,
    wants_keyframe: bool,
    asked: Option<Instant>,
}

impl Followed {
    fn new(track: TrackId, kind: Kind) -> Self {
        Self {
            incoming: Incoming::new(track, kind),
            workers: Vec::new(),
            source: getrandom::u64().unwrap_or_else(|_| unix_us()),
            number: 0,
            subscription: None,
            renewal: Instant::now(),
            eager: EAGER,
            wants_keyframe: false,
            asked: None,
        }
    }

    /// The origin is to be told again.
    pub(super) fn refresh(&mut self) {
        self.renewal = Instant::now();
        self.eager = EAGER;
    }

    fn stamp(&mut self, track: TrackId) -> Stamp {
        let number = self.number;
        self.number += 1;
        Stamp {
            track,
            source: self.source,
            number,
        }
    }

    /// When the next request may go.
    fn may_ask(&self, now: Instant) -> bool {
        let since = |at| now.saturating_duration_since(at);
        self.wants_keyframe && self.asked.is_none_or(|at| since(at) >= KEYFRAME_INTERVAL)
    }
}

impl Relay {
    pub(super) async fn follow(&mut self, track: TrackId, kind: Kind, worker: WorkerId) {
        // It is received here: its worker is to be followed, not we.
        if self.offered.contains_key(&track) {
            return;
        }
        let followed = self
            .followed
            .entry(track)
            .or_insert_with(|| Followed::new(track, kind));
        if !followed.workers.contains(&worker) {
            followed.workers.push(worker);
        }
        // Its viewers need one; for the first ones the origin sends one by itself.
        followed.wants_keyframe |= followed.incoming.has_begun() && followed.incoming.kind() == Kind::Video;
        self.tend(track, Instant::now()).await;
    }

    pub(super) async fn unfollow(&mut self, track: TrackId, worker: WorkerId) {
        let Some(followed) = self.followed.get_mut(&track) else {
            return;
        };
        followed.workers.retain(|other| *other != worker);
        if followed.workers.is_empty() {
            self.leave(track).await;
        }
    }

    /// Tells the origin, and forgets the track.
    pub(super) async fn leave(&mut self, track: TrackId) {
        let Some(mut followed) = self.followed.remove(&track) else {
            return;
        };
        if self.bus.is_connected() {
            let stamp = followed.stamp(track);
            let says = Says::Unfollow;
            self.say(Way::Up, track, Message { stamp, says }).await;
        }
    }

    pub(super) async fn want_keyframe(&mut self, track: TrackId) {
        if let Some(followed) = self.followed.get_mut(&track) {
            followed.wants_keyframe = true;
            self.tend(track, Instant::now()).await;
        }
    }

    /// Something of a track came.
    pub(super) async fn arrived(&mut self, track: TrackId, message: &Message<'_>) -> Result<(), RelayDrop> {
        // Left while it was under way.
        let followed = self.followed.get_mut(&track).ok_or(RelayDrop::NotFollowing)?;
        let taken = followed.incoming.take(message)?;
        self.counters.packets_in += taken.packets as u64;
        self.counters.lost += taken.lost;
        self.counters.arrived(taken.came_us, unix_us());
        for worker in &followed.workers {
            self.workers.hand_over(*worker, taken.handover.clone());
        }
        if taken.lost > 0 && followed.incoming.kind() == Kind::Video {
            self.want_keyframe(track).await;
        }
        Ok(())
    }

    pub(super) async fn tend_followed(&mut self, now: Instant) {
        let tracks: Vec<TrackId> = self.followed.keys().copied().collect();
        for track in tracks {
            self.tend(track, now).await;
        }
    }

    /// Says what is due to be said about a track.
    async fn tend(&mut self, track: TrackId, now: Instant) {
        let Some(followed) = self.followed.get_mut(&track) else {
            return;
        };
        if !self.bus.is_connected() {
            return;
        }
        // First, so that nothing of what the wish brings is missed.
        if followed.subscription.is_none() {
            followed.subscription = self.bus.subscribe(Way::Media, track).await;
            if followed.subscription.is_none() {
                return;
            }
        }
        let renews = followed.renewal <= now;
        let asks = followed.may_ask(now);
        if renews {
            let is_eager = followed.eager > 0 && !followed.incoming.has_begun();
            followed.eager = followed.eager.saturating_sub(1);
            followed.renewal = now + if is_eager { EAGER_RENEWAL } else { RENEWAL };
            let stamp = followed.stamp(track);
            let lease_ms = MAX_LEASE_MS;
            let says = Says::Follow { lease_ms };
            self.say(Way::Up, track, Message { stamp, says }).await;
        }
        if let Some(followed) = self.followed.get_mut(&track)
            && asks
        {
            (followed.wants_keyframe, followed.asked) = (false, Some(now));
            let stamp = followed.stamp(track);
            let says = Says::RequestKeyframe;
            if self.say(Way::Up, track, Message { stamp, says }).await {
                self.counters.keyframe_requests += 1;
            }
        }
    }
}
