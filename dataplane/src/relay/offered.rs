//! Tracks of publishers here, and the data planes elsewhere that follow them.

use std::time::{Duration, Instant};

use weever_core::{
    Handover,
    relay::{Followers, Outgoing, RelayDrop, Wish},
};
use weever_proto::{
    Kind, TrackId, WorkerId,
    relay::{Message, Says, Stamp},
};

use super::{
    Relay,
    bus::{Subscription, Way},
    unix_us,
};

/// Media that is older when its turn comes is not worth sending any more.
const STALE: Duration = Duration::from_millis(500);
/// Bits of an incarnation below the time.
const RANDOM_BITS: u32 = 12;

pub(super) struct Offered {
    kind: Kind,
    worker: WorkerId,
    followers: Followers,
    /// Its worker hands us its media.
    sent: bool,
    /// Draws a line between this and what was sent under the same name before.
    incarnation: u64,
    /// Of the next message.
    number: u64,
    subscription: Option<Subscription>,
}

impl Offered {
    fn new(kind: Kind, worker: WorkerId, after: u64) -> Self {
        // Later ones are larger, as far as clocks go forward; within a process whatever they do.
        let random = getrandom::u64().unwrap_or(0) >> (u64::BITS - RANDOM_BITS);
        let drawn = (unix_us() << RANDOM_BITS) | random;
        Self {
            kind,
            worker,
            followers: Followers::default(),
            sent: false,
            incarnation: drawn.max(after + 1),
            number: 0,
            subscription: None,
        }
    }

    pub(super) fn is_sent(&self) -> bool {
        self.sent
    }

    fn stamp(&mut self, track: TrackId) -> Stamp {
        let number = self.number;
        self.number += 1;
        Stamp {
            track,
            source: self.incarnation,
            number,
        }
    }
}

impl Relay {
    pub(super) async fn offer(&mut self, track: TrackId, kind: Kind, worker: WorkerId) {
        let before = self.offered.remove(&track);
        let mut offered = Offered::new(kind, worker, before.map_or(0, |before| before.incarnation));
        offered.subscription = self.bus.subscribe(Way::Up, track).await;
        self.offered.insert(track, offered);
    }

    pub(super) fn withdraw(&mut self, track: TrackId, worker: WorkerId) {
        if self
            .offered
            .get(&track)
            .is_some_and(|offered| offered.worker == worker)
        {
            self.offered.remove(&track);
        }
    }

    /// A follower said something.
    pub(super) fn wished(&mut self, track: TrackId, message: &Message<'_>) -> Result<(), RelayDrop> {
        // Withdrawn while it was under way.
        let offered = self.offered.get_mut(&track).ok_or(RelayDrop::NotFollowing)?;
        let wish = offered
            .followers
            .take(Instant::now(), message.stamp, &message.says)?;
        match wish {
            Wish::New => {
                offered.sent = true;
                let follow = Handover::relay_follows(track, offered.kind);
                self.workers.hand_over(offered.worker, follow);
            }
            Wish::Keyframe => {
                let request = Handover::relay_requests_keyframe(track);
                self.workers.hand_over(offered.worker, request);
            }
            Wish::Renewed => {}
            Wish::Left => self.look_who_is_left(track),
        }
        Ok(())
    }

    fn look_who_is_left(&mut self, track: TrackId) {
        if let Some(offered) = self.offered.get_mut(&track)
            && offered.sent
            && offered.followers.count() == 0
        {
            offered.sent = false;
            let unfollow = Handover::relay_unfollows(track);
            self.workers.hand_over(offered.worker, unfollow);
        }
    }

    pub(super) async fn tend_offered(&mut self, now: Instant) {
        let tracks: Vec<TrackId> = self.offered.keys().copied().collect();
        for track in tracks {
            let Some(offered) = self.offered.get_mut(&track) else {
                continue;
            };
            offered.followers.expire(now);
            if offered.subscription.is_none() {
                offered.subscription = self.bus.subscribe(Way::Up, track).await;
            }
            self.look_who_is_left(track);
        }
    }

    pub(super) async fn send_burst(&mut self, track: TrackId, burst: Outgoing<'_>) {
        let waited = burst.came().map(|came| came.elapsed());
        let came_us = waited.map_or(0, |waited| {
            unix_us().saturating_sub(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX))
        });
        let mut first = 0;
        while first < burst.packets() {
            let Some(offered) = self.offered.get_mut(&track).filter(|offered| offered.sent) else {
                return;
            };
            // What isn't sent has a number too, so that it is missed.
            let stamp = offered.stamp(track);
            if waited.is_some_and(|waited| waited > STALE) {
                return self.counters.drop(RelayDrop::Stale);
            }
            if !self.bus.is_connected() {
                return self.counters.drop(RelayDrop::Disconnected);
            }
            let mut emitted = 0;
            let sent = self
                .publish(Way::Media, track, |out, most| {
                    emitted = burst.emit(first, stamp, came_us, most, out);
                    emitted
                })
                .await;
            match sent {
                Ok(packets) => self.counters.packets_out += packets as u64,
                Err(reason) => self.counters.drop(reason),
            }
            // A packet that has room in no message is left out.
            first += emitted.max(1);
        }
    }

    pub(super) async fn send_report(&mut self, track: TrackId, ntp: u64, timestamp: u32) {
        let Some(offered) = self.offered.get_mut(&track).filter(|offered| offered.sent) else {
            return;
        };
        let stamp = offered.stamp(track);
        let says = Says::SenderReport { ntp, timestamp };
        self.say(Way::Media, track, Message { stamp, says }).await;
    }

    /// Sends a message without packets.
    pub(super) async fn say(&mut self, way: Way, track: TrackId, message: Message<'_>) -> bool {
        let sent = self
            .publish(way, track, |out, _| {
                message.emit(out);
                1
            })
            .await;
        if let Err(reason) = sent {
            self.counters.drop(reason);
        }
        sent.is_ok()
    }
}
