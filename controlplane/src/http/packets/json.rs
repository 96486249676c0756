//! One JSON object for each thing that there is to tell.

use serde::Serialize;
use serde_json::{Map, Value};
use weever_proto::{Codec, PacketKind, RtpNote};

use super::Whose;
use super::header::{Header, extensions};
use super::rtcp;
use super::view::{Passed, Told};

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Object<'a> {
    /// The first one.
    Session {
        room: &'a str,
        role: &'a str,
        full_id: &'a str,
    },
    Rtp(Rtp<'a>),
    Rtcp {
        #[serde(flatten)]
        datagram: Datagram<'a>,
        /// `None`: not authentic, or no RTCP.
        packets: Option<Vec<Value>>,
    },
    LeftOut {
        packets: u64,
    },
    /// The last one.
    End {
        reason: &'a str,
    },
}

#[derive(Serialize)]
struct Datagram<'a> {
    /// Microseconds since 1970.
    unix_us: u64,
    /// `in` to the server or `out`.
    direction: &'static str,
    /// Bytes of UDP payload.
    size: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<&'a str>,
}

#[derive(Serialize)]
struct Rtp<'a> {
    #[serde(flatten)]
    datagram: Datagram<'a>,
    #[serde(flatten)]
    header: Option<Fixed>,
    publisher: Option<&'a str>,
    track: Option<&'a str>,
    codec: Option<&'static str>,
    rtx: bool,
    keyframe: bool,
    /// Bytes of the header.
    header_size: usize,
    /// Bytes of the payload with its padding.
    payload_size: u32,
    /// Of what a client sends it is sealed.
    padding: Option<u32>,
    extensions: Map<String, Value>,
}

#[derive(Serialize)]
struct Fixed {
    ssrc: u32,
    pt: u8,
    seq: u16,
    timestamp: u32,
    marker: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    csrcs: Vec<u32>,
}

fn text(object: &Object<'_>) -> String {
    // A tree of strings and numbers always has a JSON form.
    serde_json::to_string(object).unwrap_or_default()
}

pub(super) fn session(whose: &Whose) -> String {
    text(&Object::Session {
        room: &whose.room.to_string(),
        role: whose.role(),
        full_id: &whose.id.to_string(),
    })
}

pub(super) fn end(reason: &str) -> String {
    text(&Object::End { reason })
}

pub(super) fn told(told: &Told) -> String {
    match told {
        Told::Packet(passed) => packet(passed),
        Told::LeftOut(packets) => text(&Object::LeftOut { packets: *packets }),
        Told::End(reason) => end(reason),
    }
}

fn packet(passed: &Passed) -> String {
    let record = &passed.record;
    let datagram = Datagram {
        unix_us: passed.unix_us,
        direction: if record.sent { "out" } else { "in" },
        size: record.size,
        dropped: record.dropped.as_deref(),
    };
    match &record.kind {
        PacketKind::Rtp(note) => rtp(passed, note, datagram),
        PacketKind::Rtcp => text(&Object::Rtcp {
            datagram,
            packets: rtcp::packets(&record.header),
        }),
    }
}

fn rtp(passed: &Passed, note: &RtpNote, datagram: Datagram<'_>) -> String {
    let record = &passed.record;
    let bytes = &record.header;
    let header = Header::read(bytes);
    let extensions = header
        .as_ref()
        .map(|header| extensions(header, &note.extensions))
        .unwrap_or_default();
    let padded = bytes.first().is_some_and(|first| first & 0x20 != 0);
    let publisher = passed.track.as_ref().map(|(id, _)| id.to_string());
    text(&Object::Rtp(Rtp {
        datagram,
        header: header.map(|header| Fixed {
            ssrc: header.ssrc,
            pt: header.pt,
            seq: header.sequence,
            timestamp: header.timestamp,
            marker: header.marker,
            csrcs: header.csrcs,
        }),
        publisher: publisher.as_deref(),
        track: passed.track.as_ref().map(|(_, label)| label.as_str()),
        codec: note.codec.map(codec),
        rtx: note.rtx,
        keyframe: note.keyframe,
        header_size: bytes.len(),
        payload_size: note.payload,
        padding: (record.sent || !padded).then_some(note.padding),
        extensions,
    }))
}

/// As SDP calls it.
pub(super) fn codec(codec: Codec) -> &'static str {
    match codec {
        Codec::Opus => "opus",
        Codec::Pcmu => "PCMU",
        Codec::Pcma => "PCMA",
        Codec::Red => "red",
        Codec::Vp8 => "VP8",
        Codec::Vp9 => "VP9",
        Codec::H264 => "H264",
        Codec::H265 => "H265",
        Codec::Av1 => "AV1",
    }
}
