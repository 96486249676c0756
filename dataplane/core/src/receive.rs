//! The publisher's side: which packets feed which track, and each track's own unbroken count.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use str0m::RtcConfig;
use str0m::format::{Codec as RtcCodec, CodecConfig, CodecSpec, FormatParams, PayloadParams};
use str0m::media::{Frequency, KeyframeRequestKind, MediaKind, Mid, Pt, SenderFeedback};
use str0m::rtp::{Extension as RtcExtension, ExtensionMap, RtpPacket, Ssrc};
use weever_proto::{Codec, Extension, ExtensionKind, Kind, PayloadType, Receive};

use crate::packet::{Extensions, MAX_PAYLOAD, Packet};
use crate::track::{SenderReport, TrackKey};
use crate::transport::Transport;
use crate::wire::payload::keyframe_start;
use crate::wire::rtp::RtpView;

/// Where a track's count begins, so that packets reordered before the first have numbers too.
const FIRST_SEQ: u64 = 1 << 20;
/// SSRCs that a publisher may bring up without having announced them, per session.
const MAX_UNANNOUNCED: usize = 16;
/// NTP counts from 1900, Unix from 1970.
const NTP_TO_UNIX_SECS: u64 = 2_208_988_800;

/// What one publisher sends.
pub(crate) struct Receiver {
    pub(crate) streams: Vec<Stream>,
    /// What each extension id means, 0 unused.
    kinds: [Option<ExtensionKind>; 16],
    /// SSRCs that were let in by payload type.
    unannounced: Vec<u32>,
    /// Extensions of the datagram that is being received: str0m gives its payload back, not its header.
    current: Extensions,
}

/// One m-line of it.
pub(crate) struct Stream {
    pub(crate) spec: Receive,
    pub(crate) track: TrackKey,
    mid: Mid,
    /// Where its packets come from, once one came.
    source: Option<Source>,
    /// Packets came.
    pub(crate) live: bool,
}

/// The RTP stream behind an m-line: an SSRC and how its numbers become the track's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source {
    ssrc: u32,
    seq_offset: u64,
    timestamp_offset: u32,
    newest_seq: u64,
    newest_timestamp: u32,
    newest_at: Instant,
}

impl Receiver {
    /// What the `Rtc` must know before it is built.
    pub(crate) fn configure(receive: &[Receive], extensions: &[Extension]) -> RtcConfig {
        let mut config = RtcConfig::new().set_extension_map(extension_map(extensions));
        *config.codec_config() = CodecConfig::new_from_payload_params(payload_params(receive));
        config
    }

    /// Declares the m-lines to the `Rtc`. `track` finds or makes each one's track.
    pub(crate) fn new(
        receive: &[Receive],
        extensions: &[Extension],
        transport: &mut Transport,
        mut track: impl FnMut(&Receive) -> TrackKey,
    ) -> Self {
        let mut receiver = Self {
            streams: Vec::new(),
            kinds: kinds(extensions),
            unannounced: Vec::new(),
            current: Extensions::default(),
        };
        for spec in receive {
            receiver.add(spec, transport, &mut track);
        }
        transport.rtc.direct_api().enable_twcc_feedback();
        receiver
    }

    fn add(
        &mut self,
        spec: &Receive,
        transport: &mut Transport,
        track: &mut impl FnMut(&Receive) -> TrackKey,
    ) {
        let mid = Mid::from(spec.mid.as_str());
        let mut api = transport.rtc.direct_api();
        let kind = match spec.kind {
            Kind::Audio => MediaKind::Audio,
            Kind::Video => MediaKind::Video,
        };
        api.declare_media(mid, kind);
        expect(spec, mid, transport);
        self.streams.push(Stream {
            spec: spec.clone(),
            track: track(spec),
            mid,
            source: None,
            live: false,
        });
    }

    /// Replaces the m-lines after a renegotiation. Those that stay, by mid and track, keep flowing. Returns the tracks
    /// that ended.
    pub(crate) fn update(
        &mut self,
        receive: &[Receive],
        extensions: &[Extension],
        transport: &mut Transport,
        mut track: impl FnMut(&Receive) -> TrackKey,
    ) -> Vec<Stream> {
        self.kinds = kinds(extensions);
        let stays = |stream: &Stream| {
            receive
                .iter()
                .any(|spec| spec.mid == stream.spec.mid && spec.track == stream.spec.track)
        };
        let (kept, ended) = std::mem::take(&mut self.streams)
            .into_iter()
            .partition::<Vec<_>, _>(stays);
        self.streams = kept;
        for stream in &ended {
            transport.rtc.direct_api().remove_media(stream.mid);
        }
        for spec in receive {
            match self.streams.iter_mut().find(|stream| stream.spec.mid == spec.mid) {
                Some(stream) => {
                    if stream.spec.ssrc != spec.ssrc {
                        expect(spec, stream.mid, transport);
                    }
                    stream.spec = spec.clone();
                }
                None => self.add(spec, transport, &mut track),
            }
        }
        ended
    }

    /// Looks at an RTP datagram before it is authenticated: notes the extensions that will travel with it, and lets in
    /// an SSRC that only its payload type explains.
    pub(crate) fn prepare(&mut self, rtp: &RtpView<'_>, transport: &mut Transport) {
        let mut has_mid = false;
        let kinds = &self.kinds;
        self.current = Extensions::collect(rtp.extensions().filter_map(|(id, data)| {
            let kind = kinds.get(usize::from(id)).copied().flatten()?;
            has_mid |= kind == ExtensionKind::Mid;
            Extensions::travels(kind).then_some((kind, data))
        }));
        let ssrc = rtp.ssrc();
        let announced = |stream: &Stream| {
            stream.spec.ssrc == Some(ssrc)
                || stream.spec.rtx_ssrc == Some(ssrc)
                || stream.source.is_some_and(|source| source.ssrc == ssrc)
        };
        if has_mid || self.unannounced.len() >= MAX_UNANNOUNCED || self.streams.iter().any(announced) {
            return;
        }
        // RFC 9143 §9.2, last resort: the payload type, if only one m-line has it.
        let mut fitting = self.streams.iter().filter(|stream| {
            stream.spec.ssrc.is_none() && stream.spec.payload_types.iter().any(|p| p.pt == rtp.pt())
        });
        let (Some(stream), None) = (fitting.next(), fitting.next()) else {
            return;
        };
        if !self.unannounced.contains(&ssrc) {
            let mut api = transport.rtc.direct_api();
            api.expect_stream_rx(ssrc.into(), None, stream.mid, None)
                .suppress_nack(true);
            self.unannounced.push(ssrc);
        }
    }

    /// Turns an authentic packet into one of its track. `None`: of no stream that we know, or too large.
    pub(crate) fn packet(
        &mut self,
        rtp: RtpPacket,
        transport: &mut Transport,
        now: Instant,
    ) -> Option<(usize, Packet)> {
        let ssrc = *rtp.header.ssrc;
        let known = |stream: &Stream| stream.source.is_some_and(|source| source.ssrc == ssrc);
        let index = self.streams.iter().position(known).or_else(|| {
            let mid = transport.rtc.direct_api().stream_rx(&Ssrc::from(ssrc))?.mid();
            self.streams.iter().position(|stream| stream.mid == mid)
        })?;
        if rtp.payload.len() > MAX_PAYLOAD {
            return None;
        }
        let stream = &mut self.streams[index];
        let pt = *rtp.header.payload_type;
        // Payload types that came with a renegotiation are unknown to str0m, which then leaves those of
        // retransmissions as they are.
        let payload_type = stream
            .spec
            .payload_types
            .iter()
            .find(|p| p.pt == pt || p.rtx_pt == Some(pt))?;
        let pt = payload_type.pt;
        let (seq, timestamp) = Source::place(
            &mut stream.source,
            ssrc,
            *rtp.seq_no,
            rtp.header.timestamp,
            payload_type,
            now,
        );
        let packet = Packet {
            seq,
            timestamp,
            pt,
            marker: rtp.header.marker,
            keyframe: keyframe_start(payload_type.codec, &rtp.payload),
            extensions: std::mem::take(&mut self.current),
            payload: rtp.payload,
            padding: 0,
        };
        Some((index, packet))
    }

    /// The m-line that a packet belongs to, and whether it is a retransmission, as far as its header tells.
    pub(crate) fn stream_of(&self, rtp: &RtpView<'_>) -> Option<(&Stream, bool)> {
        let (ssrc, pt) = (rtp.ssrc(), rtp.pt());
        let is_rtx = |stream: &Stream| stream.spec.payload_types.iter().any(|p| p.rtx_pt == Some(pt));
        let mid = rtp.extensions().find_map(|(id, data)| {
            let kind = self.kinds.get(usize::from(id)).copied().flatten()?;
            (kind == ExtensionKind::Mid).then_some(data)
        });
        let by_ssrc = |stream: &&Stream| {
            [stream.spec.ssrc, stream.spec.rtx_ssrc].contains(&Some(ssrc))
                || stream.source.is_some_and(|source| source.ssrc == ssrc)
        };
        let by_mid = |stream: &&Stream| mid == Some(stream.spec.mid.as_bytes());
        let by_pt = |stream: &&Stream| is_rtx(stream) || stream.spec.payload_types.iter().any(|p| p.pt == pt);
        let streams = || self.streams.iter();
        let stream = streams().find(by_ssrc).or_else(|| streams().find(by_mid));
        let stream = stream.or_else(|| {
            streams()
                .find(by_pt)
                .filter(|_| streams().filter(by_pt).count() == 1)
        })?;
        Some((stream, is_rtx(stream)))
    }

    /// A sender report in its track's timestamps.
    pub(crate) fn report(&self, feedback: &SenderFeedback) -> Option<(TrackKey, SenderReport)> {
        let stream = self.streams.iter().find(|stream| stream.mid == feedback.mid)?;
        let source = stream
            .source
            .filter(|source| source.ssrc == *feedback.sender_info.ssrc)?;
        // RTP time is 32 bits wide; str0m counts further.
        #[allow(clippy::cast_possible_truncation)]
        let rtp = feedback.sender_info.rtp_time.numer() as u32;
        let timestamp = rtp.wrapping_add(source.timestamp_offset);
        Some((
            stream.track,
            SenderReport {
                ntp: ntp(feedback.sender_info.ntp_time),
                timestamp,
            },
        ))
    }

    /// Asks the publisher for a keyframe of `track`, by the means that it negotiated.
    pub(crate) fn request_keyframe(&self, track: TrackKey, transport: &mut Transport) -> bool {
        let Some(stream) = self.streams.iter().find(|stream| stream.track == track) else {
            return false;
        };
        let Some(source) = stream.source else { return false };
        let kind = match stream.spec.payload_types.first() {
            Some(p) if p.pli => KeyframeRequestKind::Pli,
            Some(p) if p.fir => KeyframeRequestKind::Fir,
            _ => return false,
        };
        let mut api = transport.rtc.direct_api();
        let Some(stream) = api.stream_rx(&Ssrc::from(source.ssrc)) else {
            return false;
        };
        stream.request_keyframe(kind);
        true
    }
}

impl Stream {
    /// The track's number of a packet that came not long ago.
    pub(crate) fn placed(&self, ssrc: u32, sequence: u16) -> Option<u64> {
        let source = self.source.filter(|source| source.ssrc == ssrc)?;
        let newest = source.newest_seq.wrapping_sub(source.seq_offset);
        // The cast cuts to the 16 bits that came over the wire; half of them lie behind.
        #[allow(clippy::cast_possible_truncation)]
        let back = (newest as u16).wrapping_sub(sequence).cast_signed();
        let index = newest.wrapping_add_signed(-i64::from(back));
        Some(index.wrapping_add(source.seq_offset))
    }
}

impl Source {
    /// Places a packet in its track's count. A new SSRC (the client changed its encoder) continues where the old one
    /// ended; what still comes from the old one is refused.
    fn place(
        source: &mut Option<Self>,
        ssrc: u32,
        seq: u64,
        timestamp: u32,
        payload_type: &PayloadType,
        now: Instant,
    ) -> (u64, u32) {
        let source = match *source {
            Some(current) if current.ssrc == ssrc => source.insert(current),
            Some(old) => {
                let elapsed = now.saturating_duration_since(old.newest_at).as_millis().max(1);
                let ticks = elapsed * u128::from(payload_type.clock_rate) / 1000;
                let ticks = u32::try_from(ticks & 0xffff_ffff).unwrap_or(1);
                let next = old.newest_timestamp.wrapping_add(ticks);
                source.insert(Self {
                    ssrc,
                    seq_offset: (old.newest_seq + 1).wrapping_sub(seq),
                    timestamp_offset: next.wrapping_sub(timestamp),
                    ..old
                })
            }
            None => source.insert(Self {
                ssrc,
                seq_offset: FIRST_SEQ.wrapping_sub(seq),
                timestamp_offset: 0,
                newest_seq: FIRST_SEQ,
                newest_timestamp: timestamp,
                newest_at: now,
            }),
        };
        let placed = (
            seq.wrapping_add(source.seq_offset),
            timestamp.wrapping_add(source.timestamp_offset),
        );
        if placed.0 >= source.newest_seq {
            (source.newest_seq, source.newest_timestamp) = placed;
            source.newest_at = now;
        }
        placed
    }
}

/// Tells the `Rtc` of an announced SSRC.
fn expect(spec: &Receive, mid: Mid, transport: &mut Transport) {
    let Some(ssrc) = spec.ssrc else { return };
    let mut api = transport.rtc.direct_api();
    let stream = api.expect_stream_rx(ssrc.into(), spec.rtx_ssrc.map(Into::into), mid, None);
    stream.suppress_nack(!nacks(spec));
}

fn kinds(extensions: &[Extension]) -> [Option<ExtensionKind>; 16] {
    let mut kinds = [None; 16];
    for extension in extensions {
        if let Some(slot) = kinds.get_mut(usize::from(extension.id)) {
            *slot = Some(extension.kind);
        }
    }
    kinds
}

fn nacks(spec: &Receive) -> bool {
    spec.payload_types.first().is_some_and(|p| p.nack)
}

fn ntp(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    (since.as_secs() + NTP_TO_UNIX_SECS) << 32 | fraction
}

/// Each payload type is described by its clock alone: in RTP mode str0m looks at nothing else.
fn payload_params(receive: &[Receive]) -> Vec<PayloadParams> {
    let mut params: Vec<PayloadParams> = Vec::new();
    for p in receive.iter().flat_map(|spec| &spec.payload_types) {
        let pt = Pt::from(p.pt);
        if params.iter().any(|known| known.pt() == pt) {
            continue;
        }
        let spec = CodecSpec {
            codec: rtc_codec(p.codec),
            clock_rate: Frequency::new(p.clock_rate).unwrap_or(Frequency::NINETY_KHZ),
            channels: None,
            format: FormatParams::default(),
        };
        let mut known = PayloadParams::new(pt, p.rtx_pt.map(Pt::from), spec);
        known.set_fb_nack(p.nack);
        known.set_fb_pli(p.pli);
        known.set_fb_fir(p.fir);
        known.set_fb_transport_cc(p.transport_cc);
        params.push(known);
    }
    params.extend(later_payload_types(&params));
    params
}

/// A renegotiation may bring payload types that were not offered at first, and str0m takes none later. So every free
/// one is known to it from the start, as video.
fn later_payload_types(taken: &[PayloadParams]) -> Vec<PayloadParams> {
    let is_free = |pt: &u8| {
        !taken
            .iter()
            .any(|p| *p.pt() == *pt || p.resend().is_some_and(|rtx| *rtx == *pt))
    };
    // 64 to 95 would be taken for RTCP (RFC 5761 §4).
    let free = (0..=63u8).chain(96..=127).filter(is_free);
    let spec = CodecSpec {
        codec: RtcCodec::Vp8,
        clock_rate: Frequency::NINETY_KHZ,
        channels: None,
        format: FormatParams::default(),
    };
    free.map(|pt| PayloadParams::new(Pt::from(pt), None, spec))
        .collect()
}

fn rtc_codec(codec: Codec) -> RtcCodec {
    match codec {
        // Redundant audio is passed on as it is; Opus has its clock.
        Codec::Opus | Codec::Red => RtcCodec::Opus,
        Codec::Pcmu => RtcCodec::PCMU,
        Codec::Pcma => RtcCodec::PCMA,
        Codec::Vp8 => RtcCodec::Vp8,
        Codec::Vp9 => RtcCodec::Vp9,
        Codec::H264 => RtcCodec::H264,
        Codec::H265 => RtcCodec::H265,
        Codec::Av1 => RtcCodec::Av1,
    }
}

/// Only what str0m itself needs: to find a stream's m-line and to report on transport-wide sequence numbers.
fn extension_map(extensions: &[Extension]) -> ExtensionMap {
    let mut map = ExtensionMap::empty();
    for extension in extensions {
        let known = match extension.kind {
            ExtensionKind::Mid => RtcExtension::RtpMid,
            ExtensionKind::Rid => RtcExtension::RtpStreamId,
            ExtensionKind::RepairedRid => RtcExtension::RepairedRtpStreamId,
            ExtensionKind::TransportCc => RtcExtension::TransportSequenceNumber,
            ExtensionKind::AbsSendTime => RtcExtension::AbsoluteSendTime,
            _ => continue,
        };
        map.set(extension.id, known);
    }
    map
}
