//! RTCP: reading compound packets (RFC 3550 §6.1, RFC 5506), feedback of RFC 4585 and RFC 5104, and writing our own.
//!
//! What isn't understood ends the iteration: packets before it still count.

mod emit;

pub use emit::{
    emit_bye, emit_fir, emit_nack, emit_pli, emit_receiver_report, emit_remb, emit_sdes_cname,
    emit_sender_report, emit_sender_report_with,
};

use super::cursor::Reader;

/// Packet types (RFC 3550 §12.1, RFC 4585 §6.1).
mod packet_type {
    pub(super) const SENDER_REPORT: u8 = 200;
    pub(super) const RECEIVER_REPORT: u8 = 201;
    pub(super) const SDES: u8 = 202;
    pub(super) const BYE: u8 = 203;
    pub(super) const TRANSPORT_FEEDBACK: u8 = 205;
    pub(super) const PAYLOAD_FEEDBACK: u8 = 206;
}

/// Feedback message types: RFC 4585 §6.2.1, §6.3.1; RFC 5104 §4.3.1; transport-wide-cc; application layer (REMB).
mod format {
    pub(super) const NACK: u8 = 1;
    pub(super) const TRANSPORT_CC: u8 = 15;
    pub(super) const PLI: u8 = 1;
    pub(super) const FIR: u8 = 4;
    pub(super) const APPLICATION: u8 = 15;
}

/// SDES item type of the canonical name (RFC 3550 §6.5.1).
pub const CNAME: u8 = 1;
/// Bytes of a report block (RFC 3550 §6.4.1).
const REPORT_BLOCK: usize = 24;

/// One packet of a compound.
#[derive(Debug, Clone)]
pub enum RtcpPacket<'a> {
    /// RFC 3550 §6.4.1
    SenderReport {
        /// Who sends.
        ssrc: u32,
        /// Wall clock of the report, NTP 32.32.
        ntp: u64,
        /// The same moment in the media clock.
        rtp: u32,
        /// Packets sent so far, wrapping.
        packets: u32,
        /// Payload bytes sent so far, wrapping.
        octets: u32,
        /// What the sender receives itself.
        reports: Reports<'a>,
    },
    /// RFC 3550 §6.4.2
    ReceiverReport {
        /// Who reports.
        ssrc: u32,
        /// One for each stream.
        reports: Reports<'a>,
    },
    /// RFC 3550 §6.5
    Sdes {
        /// All items of all chunks.
        items: SdesItems<'a>,
    },
    /// RFC 3550 §6.6
    Bye {
        /// Who leaves.
        sources: Sources<'a>,
    },
    /// RFC 4585 §6.2.1
    Nack {
        /// Who asks.
        sender: u32,
        /// The stream.
        media: u32,
        /// Each sequence number that is missing.
        lost: Lost<'a>,
    },
    /// RFC 4585 §6.3.1
    Pli {
        /// Who asks.
        sender: u32,
        /// The stream.
        media: u32,
    },
    /// RFC 5104 §4.3.1
    Fir {
        /// Who asks.
        sender: u32,
        /// The streams, each with a command sequence number.
        entries: FirEntries<'a>,
    },
    /// draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1
    TransportCc {
        /// Who reports.
        sender: u32,
        /// A stream of the transport.
        media: u32,
        /// From the base sequence number on, unparsed.
        feedback: &'a [u8],
    },
    /// draft-alvestrand-rmcat-remb-03 §2.2
    Remb {
        /// Who estimates.
        sender: u32,
        /// Bits per second.
        bitrate: u64,
        /// The streams that share it.
        sources: Sources<'a>,
    },
    /// Any other packet type, or feedback of another format.
    Other(u8),
}

/// Iterator over the packets of a datagram.
#[derive(Debug, Clone)]
pub struct Compound<'a> {
    rest: Reader<'a>,
}

impl<'a> Compound<'a> {
    /// Reduced-size packets (RFC 5506) are welcome: the first packet needn't be a report.
    #[must_use]
    pub fn parse(datagram: &'a [u8]) -> Self {
        Self {
            rest: Reader(datagram),
        }
    }

    /// Packet type, the five bits of count or format, body without padding.
    fn split(&mut self) -> Option<(u8, u8, &'a [u8])> {
        let [first, packet_type, high, low] = self.rest.array()?;
        if first >> 6 != 2 {
            return None;
        }
        let body = self.rest.take(4 * usize::from(u16::from_be_bytes([high, low])))?;
        let padding = if first & 0x20 == 0 {
            0
        } else {
            usize::from(*body.last()?)
        };
        // RFC 3550 §6.4.1: the count includes itself and is a multiple of four.
        if first & 0x20 != 0 && (padding == 0 || !padding.is_multiple_of(4)) {
            return None;
        }
        Some((
            packet_type,
            first & 0x1F,
            body.get(..body.len().checked_sub(padding)?)?,
        ))
    }
}

impl<'a> Iterator for Compound<'a> {
    type Item = RtcpPacket<'a>;

    fn next(&mut self) -> Option<RtcpPacket<'a>> {
        let packet = self
            .split()
            .and_then(|(packet_type, count, body)| parse(packet_type, count, body));
        if packet.is_none() {
            self.rest = Reader(&[]);
        }
        packet
    }
}

impl std::iter::FusedIterator for Compound<'_> {}

fn parse(packet_type: u8, count: u8, body: &[u8]) -> Option<RtcpPacket<'_>> {
    let mut body = Reader(body);
    match packet_type {
        packet_type::SENDER_REPORT => Some(RtcpPacket::SenderReport {
            ssrc: body.u32()?,
            ntp: body.u64()?,
            rtp: body.u32()?,
            packets: body.u32()?,
            octets: body.u32()?,
            reports: Reports(Reader(body.take(REPORT_BLOCK * usize::from(count))?)),
        }),
        packet_type::RECEIVER_REPORT => Some(RtcpPacket::ReceiverReport {
            ssrc: body.u32()?,
            reports: Reports(Reader(body.take(REPORT_BLOCK * usize::from(count))?)),
        }),
        packet_type::SDES => Some(RtcpPacket::Sdes {
            items: SdesItems {
                rest: body,
                chunks: count,
                within: None,
            },
        }),
        packet_type::BYE => Some(RtcpPacket::Bye {
            sources: Sources(Reader(body.take(4 * usize::from(count))?)),
        }),
        packet_type::TRANSPORT_FEEDBACK | packet_type::PAYLOAD_FEEDBACK => feedback(packet_type, count, body),
        other => Some(RtcpPacket::Other(other)),
    }
}

/// RFC 4585 §6.1.
fn feedback(packet_type: u8, format: u8, mut body: Reader<'_>) -> Option<RtcpPacket<'_>> {
    let (sender, media) = (body.u32()?, body.u32()?);
    Some(match (packet_type, format) {
        (packet_type::TRANSPORT_FEEDBACK, format::NACK) => RtcpPacket::Nack {
            sender,
            media,
            lost: Lost::new(body),
        },
        (packet_type::TRANSPORT_FEEDBACK, format::TRANSPORT_CC) => RtcpPacket::TransportCc {
            sender,
            media,
            feedback: body.0,
        },
        (packet_type::PAYLOAD_FEEDBACK, format::PLI) => RtcpPacket::Pli { sender, media },
        (packet_type::PAYLOAD_FEEDBACK, format::FIR) => RtcpPacket::Fir {
            sender,
            entries: FirEntries(body),
        },
        (packet_type::PAYLOAD_FEEDBACK, format::APPLICATION) => {
            remb(sender, body).unwrap_or(RtcpPacket::Other(packet_type))
        }
        _ => RtcpPacket::Other(packet_type),
    })
}

/// `REMB`, count of SSRCs, 6 bits of exponent, 18 bits of mantissa. Saturates where 64 bits don't suffice.
fn remb(sender: u32, mut body: Reader<'_>) -> Option<RtcpPacket<'_>> {
    if body.array()? != *b"REMB" {
        return None;
    }
    let [count, high, middle, low] = body.array()?;
    let mantissa = u64::from(u32::from_be_bytes([0, high & 0x03, middle, low]));
    let exponent = u32::from(high >> 2);
    let bitrate = if mantissa.leading_zeros() >= exponent {
        mantissa << exponent
    } else {
        u64::MAX
    };
    let sources = Sources(Reader(body.take(4 * usize::from(count))?));
    Some(RtcpPacket::Remb {
        sender,
        bitrate,
        sources,
    })
}

/// What a receiver says of one stream (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportBlock {
    /// The stream.
    pub ssrc: u32,
    /// Lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Lost since the beginning, signed 24 bits: duplicates make it negative.
    pub cumulative_lost: i32,
    /// Highest sequence number received, with the count of cycles above it.
    pub highest_sequence: u32,
    /// Interarrival jitter, in units of the media clock.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report; 0 for none.
    pub last_sr: u32,
    /// Delay since then, in 1/65536 s.
    pub delay_since_last_sr: u32,
}

/// Iterator over report blocks.
#[derive(Debug, Clone)]
pub struct Reports<'a>(Reader<'a>);

impl Iterator for Reports<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let ssrc = self.0.u32()?;
        let [fraction_lost, high, middle, low] = self.0.array()?;
        Some(ReportBlock {
            ssrc,
            fraction_lost,
            cumulative_lost: i32::from_be_bytes([high, middle, low, 0]) >> 8,
            highest_sequence: self.0.u32()?,
            jitter: self.0.u32()?,
            last_sr: self.0.u32()?,
            delay_since_last_sr: self.0.u32()?,
        })
    }
}

/// Iterator over SSRCs.
#[derive(Debug, Clone)]
pub struct Sources<'a>(Reader<'a>);

impl Iterator for Sources<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        self.0.u32()
    }
}

/// Iterator over the missing sequence numbers of a NACK: each PID, then the set bits of its BLP from the lowest
/// (RFC 4585 §6.2.1). At most 17 for each four bytes.
#[derive(Debug, Clone)]
pub struct Lost<'a> {
    rest: Reader<'a>,
    pid: u16,
    /// Bits still to be told.
    blp: u16,
}

impl<'a> Lost<'a> {
    fn new(rest: Reader<'a>) -> Self {
        Self { rest, pid: 0, blp: 0 }
    }
}

impl Iterator for Lost<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if self.blp != 0 {
            let bit = self.blp.trailing_zeros();
            self.blp &= self.blp - 1;
            return Some(self.pid.wrapping_add(u16::try_from(bit).ok()?).wrapping_add(1));
        }
        let [pid_high, pid_low, blp_high, blp_low] = self.rest.array()?;
        self.pid = u16::from_be_bytes([pid_high, pid_low]);
        self.blp = u16::from_be_bytes([blp_high, blp_low]);
        Some(self.pid)
    }
}

/// Iterator over the SSRCs of a full intra request with their command sequence numbers.
#[derive(Debug, Clone)]
pub struct FirEntries<'a>(Reader<'a>);

impl Iterator for FirEntries<'_> {
    type Item = (u32, u8);

    fn next(&mut self) -> Option<(u32, u8)> {
        let ssrc = self.0.u32()?;
        let [sequence, ..] = self.0.array::<4>()?;
        Some((ssrc, sequence))
    }
}

/// One source description item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SdesItem<'a> {
    /// Whom it describes.
    pub ssrc: u32,
    /// 1 is [`CNAME`].
    pub item_type: u8,
    /// UTF-8, if the peer is honest; not terminated.
    pub text: &'a [u8],
}

/// Iterator over all items of all chunks; stops at the first that runs past the end.
#[derive(Debug, Clone)]
pub struct SdesItems<'a> {
    rest: Reader<'a>,
    /// Chunks not begun yet.
    chunks: u8,
    /// The chunk begun: its SSRC and how much was left at its first item.
    within: Option<(u32, usize)>,
}

impl<'a> SdesItems<'a> {
    fn step(&mut self) -> Option<SdesItem<'a>> {
        loop {
            let Some((ssrc, begun_at)) = self.within else {
                self.chunks = self.chunks.checked_sub(1)?;
                self.within = Some((self.rest.u32()?, self.rest.0.len()));
                continue;
            };
            let item_type = self.rest.u8()?;
            if item_type != 0 {
                let len = self.rest.u8()?;
                return Some(SdesItem {
                    ssrc,
                    item_type,
                    text: self.rest.take(usize::from(len))?,
                });
            }
            // The list ends with a zero, and zeros up to the next 32-bit boundary.
            let used = begun_at - self.rest.0.len();
            self.rest.take(used.next_multiple_of(4) - used)?;
            self.within = None;
        }
    }
}

impl<'a> Iterator for SdesItems<'a> {
    type Item = SdesItem<'a>;

    fn next(&mut self) -> Option<SdesItem<'a>> {
        let item = self.step();
        if item.is_none() {
            (self.rest, self.chunks, self.within) = (Reader(&[]), 0, None);
        }
        item
    }
}

#[cfg(test)]
mod tests;
