//! One window's view of a session: what was asked for, in order, with what is missing and how it ends.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use weever_proto::{PacketKind as Kind, PacketRecord, Packets, RtpNote, TrackId, WatchEnd, limits};

use super::{Asked, Direction, PacketKind};
use crate::names::{FullId, RoomName};
use crate::rooms::{Action, Reply};
use crate::signalling::Signalling;
use crate::windows::{News, Window};

/// A tap is renewed three times in its lease.
const RENEW: Duration = Duration::from_secs(limits::WATCH_LEASE_SECS / 3);

/// What there is to tell.
#[derive(Debug)]
pub(super) enum Told {
    /// A packet passed.
    Packet(Box<Passed>),
    /// So many passed and are not told.
    LeftOut(u64),
    /// That was all, and why.
    End(String),
}

/// A packet that passed.
#[derive(Debug)]
pub(super) struct Passed {
    /// Microseconds since 1970.
    pub(super) unix_us: u64,
    pub(super) record: PacketRecord,
    /// Of RTP: whose track, and its label.
    pub(super) track: Option<(FullId, String)>,
}

pub(super) struct View {
    signalling: Signalling,
    window: Window,
    room: RoomName,
    tracks: HashMap<TrackId, Option<(FullId, String)>>,
    direction: Option<Direction>,
    kind: Option<PacketKind>,
    until: Option<Instant>,
    left: Option<u64>,
    renew: Interval,
    waiting: VecDeque<Told>,
    over: bool,
}

impl View {
    pub(super) fn new(
        signalling: Signalling,
        window: Window,
        room: RoomName,
        tracks: HashMap<TrackId, (FullId, String)>,
        asked: &Asked,
    ) -> Self {
        let now = Instant::now();
        let mut renew = interval_at(now + RENEW, RENEW);
        renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            signalling,
            window,
            room,
            tracks: tracks
                .into_iter()
                .map(|(track, name)| (track, Some(name)))
                .collect(),
            direction: asked.direction,
            kind: asked.kind,
            until: asked.seconds.map(|seconds| now + Duration::from_secs(seconds)),
            left: asked.packets,
            renew,
            waiting: VecDeque::new(),
            over: false,
        }
    }

    /// The next thing to tell; `None` after the end.
    pub(super) async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some(told) = self.waiting.pop_front() {
                return Some(told);
            }
            if self.over {
                return None;
            }
            let until = self.until;
            let deadline = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = deadline => self.end("the time that was asked for is over"),
                _ = self.renew.tick() => self.renew().await,
                news = self.window.next() => match news {
                    Some(News::Packets(packets, missed)) => self.take(&packets, missed).await,
                    Some(News::Closed(reason)) => self.end(format!("the session ended: {}", reason.as_str())),
                    Some(News::Ended(WatchEnd::Full)) => {
                        self.end("the session's worker is watched at as many sessions as it can be");
                    }
                    Some(News::Ended(WatchEnd::UnknownSession)) | None => self.end("the session ended"),
                    // Another window's end crossed our beginning, or a renewal was late.
                    Some(News::Ended(WatchEnd::Unwatched | WatchEnd::Expired)) => self.renew().await,
                },
            }
        }
    }

    fn end(&mut self, reason: impl Into<String>) {
        self.waiting.push_back(Told::End(reason.into()));
        self.over = true;
    }

    async fn renew(&mut self) {
        let session = self.window.session();
        let renewed = self
            .signalling
            .request(|request| Action::WatchPackets { request, session });
        match renewed.await {
            Reply::Done => {}
            Reply::Refused(refused) => self.end(refused.detail),
            other => self.end(format!("{other:?}")),
        }
    }

    async fn take(&mut self, packets: &Packets, missed: u64) {
        let left_out = packets.left_out + missed;
        if left_out > 0 {
            self.waiting.push_back(Told::LeftOut(left_out));
        }
        let (direction, kind) = (self.direction, self.kind);
        for record in packets
            .records
            .iter()
            .filter(|record| wanted(record, direction, kind))
        {
            let track = match &record.kind {
                Kind::Rtp(RtpNote {
                    track: Some(track), ..
                }) => Some(*track),
                _ => None,
            };
            let track = match track {
                Some(track) => self.name(track).await,
                None => None,
            };
            self.waiting.push_back(Told::Packet(Box::new(Passed {
                unix_us: packets.at_unix_us.saturating_sub(record.age_us.into()),
                record: record.clone(),
                track,
            })));
            if let Some(left) = &mut self.left {
                *left -= 1;
                if *left == 0 {
                    return self.end("as many packets were told as were asked for");
                }
            }
        }
    }

    /// What a track is called. One that has come since the beginning is asked for, once.
    async fn name(&mut self, track: TrackId) -> Option<(FullId, String)> {
        if !self.tracks.contains_key(&track) {
            let room = self.room.clone();
            let tracks = self.signalling.ask(move |rooms| rooms.tracks(&room)).await;
            let named = tracks.ok().and_then(|mut tracks| tracks.remove(&track));
            self.tracks.insert(track, named);
        }
        self.tracks.get(&track).cloned().flatten()
    }
}

fn wanted(record: &PacketRecord, direction: Option<Direction>, kind: Option<PacketKind>) -> bool {
    let this = if record.sent {
        Direction::Out
    } else {
        Direction::In
    };
    let sort = match record.kind {
        Kind::Rtp(_) => PacketKind::Rtp,
        Kind::Rtcp => PacketKind::Rtcp,
    };
    direction.is_none_or(|wanted| wanted == this) && kind.is_none_or(|wanted| wanted == sort)
}

impl Drop for View {
    /// The last who looks switches the tap off.
    fn drop(&mut self) {
        let (signalling, session) = (self.signalling.clone(), self.window.session());
        // Without an executor the process is ending.
        if self.window.close()
            && let Ok(executor) = tokio::runtime::Handle::try_current()
        {
            executor.spawn(async move { signalling.act(Action::UnwatchPackets { session }).await });
        }
    }
}
