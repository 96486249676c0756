//! A capture file: pcapng (draft-ietf-opsawg-pcapng), cut behind the headers.
//!
//! Each packet is one of Wireshark's "exported PDUs" (LINKTYPE_WIRESHARK_UPPER_PDU), which says by name that it is RTP or
//! RTCP: Wireshark then needs no hint and no port to tell by. Lengths are those of the packets without SRTP's tags and without
//! padding: its count is the last byte of what is cut off, and Wireshark leaves packets out of its statistics whose count it
//! misses. Addresses are those of documentation (RFC 5737): who is where is nobody's business who gets the file.

use weever_proto::PacketKind;

use super::json::codec;
use super::view::{Passed, Told};

/// Block types (§4).
mod block_type {
    pub(super) const SECTION: u32 = 0x0A0D_0D0A;
    pub(super) const INTERFACE: u32 = 1;
    pub(super) const INTERFACE_STATISTICS: u32 = 5;
    pub(super) const ENHANCED_PACKET: u32 = 6;
}

/// Options (§3.5, §4.1 to §4.3, §4.6).
mod option {
    pub(super) const END: u16 = 0;
    pub(super) const COMMENT: u16 = 1;
    pub(super) const USER_APPLICATION: u16 = 4;
    pub(super) const INTERFACE_NAME: u16 = 2;
    pub(super) const PACKET_FLAGS: u16 = 2;
    pub(super) const PACKETS_LEFT_OUT: u16 = 4;
    pub(super) const RECEIVED: u16 = 4;
    pub(super) const LEFT_OUT: u16 = 5;
}

/// Tags of exported PDUs (`epan/exported_pdu.h`).
mod tag {
    pub(super) const END: u16 = 0;
    pub(super) const DISSECTOR: u16 = 12;
    pub(super) const SOURCE: u16 = 20;
    pub(super) const DESTINATION: u16 = 21;
    pub(super) const PORT_TYPE: u16 = 24;
    pub(super) const SOURCE_PORT: u16 = 25;
    pub(super) const DESTINATION_PORT: u16 = 26;
}

const BYTE_ORDER: u32 = 0x1A2B_3C4D;
const LINKTYPE_WIRESHARK_UPPER_PDU: u16 = 252;
const UDP: u32 = 3;
/// Of an RTP header's first byte (RFC 3550 §5.1).
const PADDED: u8 = 0x20;
const SERVER: ([u8; 4], u32) = ([192, 0, 2, 1], 5004);
const CLIENT: ([u8; 4], u32) = ([198, 51, 100, 1], 5004);

/// How a file begins: what wrote it, and the one interface.
pub(super) fn begin(session: &str) -> Vec<u8> {
    let mut section = Vec::new();
    put(
        &mut section,
        &[&BYTE_ORDER.to_le_bytes(), &[1, 0, 0, 0], &u64::MAX.to_le_bytes()],
    );
    let software = concat!("Weever ", env!("CARGO_PKG_VERSION"));
    put_option(&mut section, option::USER_APPLICATION, software.as_bytes());
    put_option(&mut section, option::END, &[]);
    let mut interface = Vec::new();
    // No limit of length; timestamps are microseconds, which is what they are without an option.
    put(
        &mut interface,
        &[&LINKTYPE_WIRESHARK_UPPER_PDU.to_le_bytes(), &[0; 2], &[0; 4]],
    );
    put_option(&mut interface, option::INTERFACE_NAME, session.as_bytes());
    put_option(&mut interface, option::END, &[]);
    [
        whole(block_type::SECTION, &section),
        whole(block_type::INTERFACE, &interface),
    ]
    .concat()
}

/// How it goes on.
#[derive(Debug, Default)]
pub(super) struct Capture {
    written: u64,
    left_out: u64,
    /// Of those, what no packet has told yet.
    untold: u64,
    last_us: u64,
}

impl Capture {
    /// What there is to tell, as blocks.
    pub(super) fn blocks(&mut self, told: &Told) -> Vec<u8> {
        match told {
            Told::Packet(passed) => {
                self.written += 1;
                self.last_us = passed.unix_us;
                packet(passed, std::mem::take(&mut self.untold))
            }
            // The next packet says it.
            Told::LeftOut(packets) => {
                self.left_out += packets;
                self.untold += packets;
                Vec::new()
            }
            Told::End(_) => self.statistics(),
        }
    }

    fn statistics(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for word in [0, high(self.last_us), low(self.last_us)] {
            body.extend(word.to_le_bytes());
        }
        let all = self.written + self.left_out;
        put_option(&mut body, option::RECEIVED, &all.to_le_bytes());
        put_option(&mut body, option::LEFT_OUT, &self.left_out.to_le_bytes());
        put_option(&mut body, option::END, &[]);
        whole(block_type::INTERFACE_STATISTICS, &body)
    }
}

fn packet(passed: &Passed, left_out_before: u64) -> Vec<u8> {
    let record = &passed.record;
    let (dissector, payload) = match &record.kind {
        PacketKind::Rtp(note) => ("rtp", note.payload.saturating_sub(note.padding)),
        PacketKind::Rtcp => ("rtcp", 0),
    };
    let mut data = Vec::new();
    let (source, destination) = if record.sent {
        (SERVER, CLIENT)
    } else {
        (CLIENT, SERVER)
    };
    put_tag(&mut data, tag::DISSECTOR, dissector.as_bytes());
    put_tag(&mut data, tag::SOURCE, &source.0);
    put_tag(&mut data, tag::DESTINATION, &destination.0);
    put_tag(&mut data, tag::PORT_TYPE, &UDP.to_be_bytes());
    put_tag(&mut data, tag::SOURCE_PORT, &source.1.to_be_bytes());
    put_tag(&mut data, tag::DESTINATION_PORT, &destination.1.to_be_bytes());
    put_tag(&mut data, tag::END, &[]);
    let at = data.len();
    data.extend(&record.header);
    if let (PacketKind::Rtp(_), Some(first)) = (&record.kind, data.get_mut(at)) {
        *first &= !PADDED;
    }

    let captured = length(data.len());
    let time = passed.unix_us;
    let mut body = Vec::new();
    for word in [
        0,
        high(time),
        low(time),
        captured,
        captured.saturating_add(payload),
    ] {
        body.extend(word.to_le_bytes());
    }
    body.extend(&data);
    pad(&mut body);
    let comment = comment(passed);
    if !comment.is_empty() {
        put_option(&mut body, option::COMMENT, comment.as_bytes());
    }
    let flags: u32 = if record.sent { 2 } else { 1 };
    put_option(&mut body, option::PACKET_FLAGS, &flags.to_le_bytes());
    if left_out_before > 0 {
        put_option(
            &mut body,
            option::PACKETS_LEFT_OUT,
            &left_out_before.to_le_bytes(),
        );
    }
    put_option(&mut body, option::END, &[]);
    whole(block_type::ENHANCED_PACKET, &body)
}

/// What the header doesn't say.
fn comment(passed: &Passed) -> String {
    let mut words = Vec::new();
    if let PacketKind::Rtp(note) = &passed.record.kind {
        words.extend(passed.track.as_ref().map(|(id, label)| format!("{id} {label}")));
        words.extend(note.codec.map(|known| codec(known).to_owned()));
        words.extend(note.rtx.then(|| "retransmission".to_owned()));
        words.extend(note.keyframe.then(|| "keyframe".to_owned()));
        let padded = passed
            .record
            .header
            .first()
            .is_some_and(|first| first & PADDED != 0);
        words.extend(match note.padding {
            0 => padded.then(|| "padded".to_owned()),
            bytes => Some(format!("{bytes} bytes of padding")),
        });
    }
    let dropped = passed.record.dropped.as_ref();
    words.extend(dropped.map(|reason| format!("dropped: {reason}")));
    words.join(", ")
}

fn whole(kind: u32, body: &[u8]) -> Vec<u8> {
    let total = length(body.len() + 12).to_le_bytes();
    [&kind.to_le_bytes()[..], &total, body, &total].concat()
}

fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| out.extend(*part));
}

fn put_option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    put(
        out,
        &[&code.to_le_bytes(), &short(value.len()).to_le_bytes(), value],
    );
    pad(out);
}

/// In network byte order, unlike what is around it.
fn put_tag(out: &mut Vec<u8>, tag: u16, value: &[u8]) {
    let len = value.len().next_multiple_of(4);
    put(out, &[&tag.to_be_bytes(), &short(len).to_be_bytes(), value]);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn short(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

fn high(time: u64) -> u32 {
    u32::try_from(time >> 32).unwrap_or(u32::MAX)
}

fn low(time: u64) -> u32 {
    u32::try_from(time & 0xffff_ffff).unwrap_or(u32::MAX)
}
