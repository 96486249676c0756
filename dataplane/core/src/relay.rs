//! Tracks that cross from one process to another. Here is what their crossing comes to, without the bus that carries it: the
//! relay is one more sibling ([`weever_proto::RELAY`]), whose handovers are turned into messages and made of messages.
//!
//! - where a track's publisher is: [`Followers`] says who wants it, [`Outgoing`] writes its bursts;
//! - where viewers are: [`Incoming`] makes handovers of what comes, and says what was lost;
//! - between them: [`Seals`].

mod drops;
mod followers;
mod incoming;
mod seal;

pub use drops::RelayDrop;
pub use followers::{Followers, Wish};
pub use incoming::{Incoming, Taken};
pub use seal::{KEY, Key, SealError, Seals};

use std::time::Instant;

use weever_proto::relay::{BurstWriter, RelayPacket, Stamp};
use weever_proto::{Kind, RELAY, TrackId, WorkerId};

use crate::handover::{Body, Burst, Handover};
use crate::packet::{Extensions, Packet};

/// What a worker tells the relay.
#[derive(Debug, Clone, Copy)]
pub enum Told<'a> {
    /// It receives this track from a publisher: others may follow it there.
    Offered(Kind),
    /// It doesn't any more.
    Withdrawn,
    /// It has viewers for a track of another process.
    Follow(Kind),
    /// It has none any more.
    Unfollow,
    /// A viewer needs a keyframe of such a track.
    RequestKeyframe,
    /// Media of a track that the relay follows there.
    Burst(Outgoing<'a>),
    /// What its publisher said of its clock.
    SenderReport {
        /// 64-bit NTP time.
        ntp: u64,
        /// The RTP timestamp of the same moment.
        timestamp: u32,
    },
}

impl Handover {
    /// The worker whose it is.
    pub fn from(&self) -> WorkerId {
        self.from
    }

    /// What it is about.
    pub fn track(&self) -> TrackId {
        self.track
    }

    /// What it tells the relay.
    pub fn told(&self) -> Told<'_> {
        match &self.body {
            Body::Offered(kind) => Told::Offered(*kind),
            Body::Withdrawn => Told::Withdrawn,
            Body::Follow(kind) => Told::Follow(*kind),
            Body::Unfollow => Told::Unfollow,
            Body::RequestKeyframe => Told::RequestKeyframe,
            Body::Burst(burst) => Told::Burst(Outgoing(burst)),
            Body::SenderReport(report) => Told::SenderReport {
                ntp: report.ntp,
                timestamp: report.timestamp,
            },
        }
    }

    fn of_relay(track: TrackId, body: Body) -> Self {
        let from = RELAY;
        Self { from, track, body }
    }

    /// The relay → the publisher's worker: somebody elsewhere has viewers for it. The same again brings a keyframe and the
    /// latest sender report, for one who has just come.
    pub fn relay_follows(track: TrackId, kind: Kind) -> Self {
        Self::of_relay(track, Body::Follow(kind))
    }

    /// The relay → the publisher's worker: nobody elsewhere has.
    pub fn relay_unfollows(track: TrackId) -> Self {
        Self::of_relay(track, Body::Unfollow)
    }

    /// The relay → the publisher's worker: a viewer elsewhere needs one.
    pub fn relay_requests_keyframe(track: TrackId) -> Self {
        Self::of_relay(track, Body::RequestKeyframe)
    }
}

/// A burst on its way out.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a>(&'a Burst);

impl Outgoing<'_> {
    /// How many packets it has.
    pub fn packets(&self) -> usize {
        self.0.packets.len()
    }

    /// When the first of them came to this process.
    pub fn came(&self) -> Option<Instant> {
        self.0.came
    }

    /// Writes one message behind what is in `out`: packets from the one at `first` on, as many as have room in `most` bytes.
    /// How many that were; 0 if that packet has no room in any.
    pub fn emit(&self, first: usize, stamp: Stamp, came_us: u64, most: usize, out: &mut Vec<u8>) -> usize {
        let mut writer = BurstWriter::new(out, stamp, came_us, most);
        for packet in self.0.packets.iter().skip(first) {
            let packet = RelayPacket {
                seq: packet.seq,
                timestamp: packet.timestamp,
                pt: packet.pt,
                marker: packet.marker,
                keyframe: packet.keyframe,
                extensions: packet.extensions.bytes(),
                payload: packet.media(),
            };
            if !writer.push(&packet) {
                break;
            }
        }
        writer.finish().into()
    }
}

impl Packet {
    fn relayed(packet: &RelayPacket<'_>, seq: u64, timestamp: u32) -> Self {
        Self {
            seq,
            timestamp,
            pt: packet.pt,
            marker: packet.marker,
            keyframe: packet.keyframe,
            extensions: Extensions::relayed(packet.extensions),
            payload: packet.payload.into(),
            padding: 0,
        }
    }
}
