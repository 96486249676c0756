//! What a viewer tells the server, at a browser's rate: receiver reports, NACK, PLI, arrival times (TWCC).

use std::time::{Duration, Instant};

use rtcp_types::{
    Compound, Nack, NackBuilder, Packet, PayloadFeedback, Pli, ReceiverReport, ReportBlock, RtcpPacketWriter,
    RtcpPacketWriterExt, Sdes, SdesChunk, SdesItem, TransportFeedback, Twcc, TwccPacketStatus,
};

use super::stream::Stream;

/// Reports are this far apart, give or take a half (RFC 3550 §6.2 and browsers).
pub(super) const REPORT: Duration = Duration::from_secs(1);
/// Arrival times are sent as often as libwebrtc does at some Mbit/s.
pub(super) const TWCC_INTERVAL: Duration = Duration::from_millis(100);
/// A keyframe is asked for at most so often.
pub(super) const PLI_INTERVAL: Duration = Duration::from_millis(300);
/// RFC 3550 §6.4.2: what one report has room for.
const BLOCKS_MAX: usize = 31;
/// Units of RFC 3550 §6.4.1 (DLSR).
const DLSR_UNITS: u128 = 65_536;
/// Units of the draft's deltas: 250 µs; of its reference time: 64 ms.
const DELTA_US: u128 = 250;
const REFERENCE_US: u128 = 64_000;
/// Statuses in one feedback message.
const STATUSES_MAX: usize = 2000;

/// Serialises one packet or compound. `None`: it has no valid form.
fn emit(packet: &impl RtcpPacketWriter) -> Option<Vec<u8>> {
    let mut bytes = vec![0; packet.calculate_size().ok()?];
    let length = packet.write_into(&mut bytes).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

/// RR and SDES over all streams.
pub(super) fn report(ssrc: u32, cname: &str, streams: &mut [Stream], now: Instant) -> Option<Vec<u8>> {
    let mut report = ReceiverReport::builder(ssrc);
    for stream in streams.iter_mut().take(BLOCKS_MAX) {
        report = report.add_report_block(block(stream, now));
    }
    let sdes = Sdes::builder()
        .add_chunk(SdesChunk::builder(ssrc).add_item(SdesItem::builder(SdesItem::CNAME, cname)));
    emit(&Compound::builder().add_packet(report).add_packet(sdes))
}

fn block(stream: &mut Stream, now: Instant) -> rtcp_types::ReportBlockBuilder {
    let highest = stream.highest;
    let reception = &mut stream.reception;
    let expected = highest - reception.base.min(highest) + 1;
    let lost = expected.saturating_sub(reception.received);
    let expected_now = expected - reception.reported_expected.min(expected);
    let received_now = reception.received - reception.reported_received.min(reception.received);
    (reception.reported_expected, reception.reported_received) = (expected, reception.received);
    let lost_now = expected_now.saturating_sub(received_now);
    let fraction = (lost_now << 8).checked_div(expected_now).unwrap_or(0).min(255);
    let (lsr, dlsr) = reception.sender_report.map_or((0, 0), |(middle, at)| {
        let units = now.saturating_duration_since(at).as_micros() * DLSR_UNITS / 1_000_000;
        (middle, u32::try_from(units).unwrap_or(u32::MAX))
    });
    ReportBlock::builder(stream.ssrc)
        .fraction_lost(u8::try_from(fraction).unwrap_or(u8::MAX))
        .cumulative_lost(u32::try_from(lost.min(0x7F_FFFF)).unwrap_or(0))
        .extended_sequence_number(u32::try_from(highest & 0xFFFF_FFFF).unwrap_or(0))
        .interarrival_jitter(reception.jitter())
        .last_sender_report_timestamp(lsr)
        .delay_since_last_sender_report_timestamp(dlsr)
}

/// A generic NACK.
pub(super) fn nack(ssrc: u32, media: u32, indices: &[u64]) -> Option<Vec<u8>> {
    let low = |index: &u64| u16::try_from(index & 0xFFFF).unwrap_or(0);
    let fci = indices
        .iter()
        .map(low)
        .fold(Nack::builder(), NackBuilder::add_rtp_sequence);
    emit(
        &TransportFeedback::builder_owned(fci)
            .sender_ssrc(ssrc)
            .media_ssrc(media),
    )
}

/// A picture loss indication.
pub(super) fn pli(ssrc: u32, media: u32) -> Option<Vec<u8>> {
    emit(
        &PayloadFeedback::builder_owned(Pli::builder())
            .sender_ssrc(ssrc)
            .media_ssrc(media),
    )
}

/// The middle 32 bits of each sender report's NTP time, by SSRC.
pub(super) fn sender_reports(compound: &[u8]) -> Vec<(u32, u32)> {
    let Ok(compound) = Compound::parse(compound) else {
        return Vec::new();
    };
    compound
        .filter_map(|packet| match packet {
            Ok(Packet::Sr(report)) => {
                let middle = (report.ntp_timestamp() >> 16) & 0xFFFF_FFFF;
                Some((report.ssrc(), u32::try_from(middle).ok()?))
            }
            _ => None,
        })
        .collect()
}

/// Arrival times of a transport (draft-holmer-rmcat-transport-wide-cc-extensions-01).
#[derive(Debug)]
pub(super) struct Arrivals {
    /// Id of the extension that numbers packets.
    pub(super) extension: u8,
    start: Instant,
    /// The next one to report on.
    base: Option<u64>,
    highest: u64,
    seen: Vec<(u64, Instant)>,
    count: u8,
    pub(super) next: Instant,
}

impl Arrivals {
    pub(super) fn new(extension: u8, now: Instant) -> Self {
        Self {
            extension,
            start: now,
            base: None,
            highest: 0,
            seen: Vec::new(),
            count: 0,
            next: now + TWCC_INTERVAL,
        }
    }

    pub(super) fn add(&mut self, number: u16, now: Instant) {
        let low = u16::try_from(self.highest & 0xFFFF).unwrap_or(0);
        let index = match self.base {
            // Room below for what is late.
            None => u64::from(number) + 0x1_0000,
            Some(_) => {
                let ahead = i64::from(number.wrapping_sub(low).cast_signed());
                self.highest.saturating_add_signed(ahead)
            }
        };
        self.base.get_or_insert(index);
        self.highest = self.highest.max(index);
        if self.seen.len() < STATUSES_MAX {
            self.seen.push((index, now));
        }
    }

    /// A feedback message about all packets since the last one.
    pub(super) fn feedback(&mut self, ssrc: u32, media: u32, now: Instant) -> Option<Vec<u8>> {
        self.next = now + TWCC_INTERVAL;
        let base = self.base?;
        let mut seen = std::mem::take(&mut self.seen);
        seen.sort_unstable();
        seen.dedup_by_key(|(index, _)| *index);
        seen.retain(|(index, _)| *index >= base);
        // What lies behind a great leap is not reported on.
        let first = seen.first()?.0;
        let base = if first - base < STATUSES_MAX as u64 {
            base
        } else {
            first
        };
        seen.retain(|(index, _)| *index < base + STATUSES_MAX as u64);
        let us = |at: Instant| at.saturating_duration_since(self.start).as_micros();
        let reference = us(seen.first()?.1) / REFERENCE_US;
        let mut before = reference * REFERENCE_US / DELTA_US;
        let mut statuses = Vec::with_capacity(seen.len());
        let mut expected = base;
        for (index, at) in &seen {
            statuses.extend((expected..*index).map(|_| TwccPacketStatus::NotReceived));
            let ticks = us(*at) / DELTA_US;
            let delta = i128::try_from(ticks).ok()? - i128::try_from(before).ok()?;
            before = ticks;
            statuses.push(TwccPacketStatus::Received {
                delta: i16::try_from(delta).ok()?,
            });
            expected = index + 1;
        }
        self.base = Some(expected);
        let low = u16::try_from(base & 0xFFFF).ok()?;
        let time = u32::try_from(reference & 0xFF_FFFF).ok()?;
        let fci = Twcc::builder(low, time, self.count, &statuses, None);
        self.count = self.count.wrapping_add(1);
        emit(
            &TransportFeedback::builder_owned(fci)
                .sender_ssrc(ssrc)
                .media_ssrc(media),
        )
    }
}
