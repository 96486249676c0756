//! A door for benches to a step that has no public name. Nothing else goes through it.

use std::sync::Arc;
use std::time::Instant;

use weever_proto::{Kind, RouteSpec};

use crate::egress::Path;
use crate::forward::{Route, RtxBudget, Sender, Stream};
use crate::packet::{Extensions, Packet};
use crate::srtp::Protect;

/// One viewer's header on a track's packet, without payload and cipher.
pub struct HeaderRewrite {
    route: Route,
    sender: Sender,
    packet: Packet,
}

impl HeaderRewrite {
    /// A viewer as `spec` describes it, and a packet of the first payload type that it knows.
    pub fn new(spec: &RouteSpec, path: Path, protect: Protect, now: Instant) -> Self {
        let sender = Sender {
            path,
            protect,
            transport_cc: 0,
            rtx: RtxBudget::new(now),
        };
        let packet = Packet {
            seq: 0,
            timestamp: 0,
            pt: spec.payload_map.first().map_or(0, |map| map.from),
            marker: false,
            keyframe: spec.kind == Kind::Video,
            extensions: Extensions::default(),
            payload: Arc::from([0; 1150]),
            padding: 0,
        };
        let mut route = Route::new(spec, 0, 0, now);
        route.admit(&packet, now, &mut Vec::new());
        Self {
            route,
            sender,
            packet,
        }
    }

    /// Writes the next packet's header. `None` when `out` is too short or the payload type unknown.
    pub fn write(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        self.packet.seq += 1;
        let (map, _) = self.route.payload(&self.packet)?;
        let stream = Stream {
            pt: map.to,
            ssrc: self.route.ssrc,
            index: self.route.sequence(&self.packet),
            timestamp: self.route.timestamp(self.packet.timestamp),
        };
        self.route
            .write_header(&self.packet, stream, &mut self.sender, now, out)
            .ok()
    }
}
