//! A client: a stock str0m peer with a full ICE agent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::channel::{ChannelConfig, ChannelId};
use str0m::crypto::Fingerprint;
use str0m::format::Codec;
use str0m::media::{Frequency, KeyframeRequestKind, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, ExtensionMap, RtpPacket, RtpWrite, SeqNo, Ssrc};
use str0m::{Candidate, Event, IceCreds, Input, Output, Rtc, RtcConfig};
use weever_proto::{IceCredentials, SessionId};

pub const VP8: u8 = 96;
pub const VP8_RTX: u8 = 97;
pub const OPUS: u8 = 111;
/// Ids that clients give to extensions; the workers' own differ.
pub const MID_ID: u8 = 4;
pub const AUDIO_LEVEL_ID: u8 = 1;
pub const ROTATION_ID: u8 = 13;
pub const TWCC_ID: u8 = 3;

/// What a viewer's peer gave out.
#[derive(Debug, Clone)]
pub struct Got {
    pub seq: u64,
    pub timestamp: u32,
    pub marker: bool,
    pub payload: Arc<[u8]>,
    pub rotation: Option<str0m::rtp::VideoOrientation>,
    pub audio_level: Option<i8>,
    pub at: Instant,
}

pub struct Client {
    pub session: SessionId,
    pub rtc: Rtc,
    pub addr: SocketAddr,
    /// What the client itself believes its address to be: a NAT may have moved it.
    pub believed: SocketAddr,
    pub timeout: Instant,
    pub connected: bool,
    pub closed: bool,
    pub channel: Option<ChannelId>,
    pub texts: Vec<String>,
    /// A second channel, and what came on it.
    pub chat: Option<ChannelId>,
    pub chats: Vec<String>,
    pub got: BTreeMap<u32, Vec<Got>>,
    pub reports: Vec<str0m::media::SenderFeedback>,
    pub keyframe_requests: Vec<Instant>,
    pub out: Vec<Vec<u8>>,
}

fn codecs(config: &mut RtcConfig) {
    let codecs = config.codec_config();
    codecs.clear();
    let none = str0m::format::FormatParams::default;
    codecs.add_config(
        Pt::from(VP8),
        Some(Pt::from(VP8_RTX)),
        Codec::Vp8,
        Frequency::NINETY_KHZ,
        None,
        none(),
    );
    codecs.add_config(
        Pt::from(OPUS),
        None,
        Codec::Opus,
        Frequency::FORTY_EIGHT_KHZ,
        Some(2),
        none(),
    );
}

impl Client {
    pub fn new(session: SessionId, addr: SocketAddr, now: Instant, tag: &str) -> Self {
        let mut extensions = ExtensionMap::empty();
        extensions.set(MID_ID, Extension::RtpMid);
        extensions.set(AUDIO_LEVEL_ID, Extension::AudioLevel);
        extensions.set(ROTATION_ID, Extension::VideoOrientation);
        extensions.set(TWCC_ID, Extension::TransportSequenceNumber);
        let creds = IceCreds {
            ufrag: format!("client-{tag}"),
            pass: format!("password-of-client-{tag}-0123"),
        };
        let mut config = RtcConfig::new()
            .set_rtp_mode(true)
            .set_extension_map(extensions)
            .set_sctp_max_message_size(1 << 20)
            .set_sctp_max_buffered_amount(1 << 20)
            .set_local_ice_credentials(creds);
        codecs(&mut config);
        let rtc = config.build(now);
        Self {
            session,
            rtc,
            addr,
            believed: addr,
            timeout: now,
            connected: false,
            closed: false,
            channel: None,
            texts: Vec::new(),
            chat: None,
            chats: Vec::new(),
            got: BTreeMap::new(),
            reports: Vec::new(),
            keyframe_requests: Vec::new(),
            out: Vec::new(),
        }
    }

    pub fn credentials(&mut self) -> IceCredentials {
        let creds = self.rtc.direct_api().local_ice_credentials();
        IceCredentials {
            ufrag: creds.ufrag,
            password: creds.pass,
        }
    }

    pub fn fingerprint(&mut self) -> weever_proto::Fingerprint {
        let mine = self.rtc.direct_api().local_dtls_fingerprint().clone();
        weever_proto::Fingerprint {
            hash: mine.hash_func,
            value: mine.bytes,
        }
    }

    /// What the answer would have told it.
    pub fn accept(
        &mut self,
        server: SocketAddr,
        local: &IceCredentials,
        fingerprint: &weever_proto::Fingerprint,
        active: bool,
    ) {
        self.rtc
            .add_local_candidate(Candidate::host(self.believed, Protocol::Udp).unwrap());
        self.rtc
            .add_remote_candidate(Candidate::host(server, Protocol::Udp).unwrap());
        let mut api = self.rtc.direct_api();
        api.set_ice_controlling(true);
        api.set_remote_ice_credentials(IceCreds {
            ufrag: local.ufrag.clone(),
            pass: local.password.clone(),
        });
        api.set_remote_fingerprint(Fingerprint {
            hash_func: fingerprint.hash.clone(),
            bytes: fingerprint.value.clone(),
        });
        api.start_dtls(active).unwrap();
    }

    pub fn open_channel(&mut self, active: bool) {
        let mut api = self.rtc.direct_api();
        api.start_sctp(active);
        api.create_data_channel(ChannelConfig {
            label: "control".into(),
            ..Default::default()
        });
    }

    /// Opens another channel on the association that `control` began.
    pub fn open_another(&mut self, label: &str, now: Instant) {
        self.rtc.direct_api().create_data_channel(ChannelConfig {
            label: label.into(),
            ..Default::default()
        });
        self.tick(now);
    }

    pub fn close_chat(&mut self, now: Instant) {
        let id = self.chat.take().expect("open");
        self.rtc.direct_api().close_data_channel(id);
        self.tick(now);
    }

    pub fn chat(&mut self, binary: bool, data: &[u8], now: Instant) {
        let id = self.chat.expect("open");
        assert!(self.rtc.channel(id).unwrap().write(binary, data).unwrap());
        self.drain(now);
    }

    pub fn declare_send(&mut self, mid: &str, kind: MediaKind, ssrc: u32, rtx: Option<u32>) {
        let mut api = self.rtc.direct_api();
        let mid = Mid::from(mid);
        api.declare_media(mid, kind);
        api.declare_stream_tx(ssrc.into(), rtx.map(Into::into), mid, None);
    }

    pub fn expect(&mut self, mid: &str, kind: MediaKind, ssrc: u32, rtx: Option<u32>) {
        let mut api = self.rtc.direct_api();
        let mid = Mid::from(mid);
        api.declare_media(mid, kind);
        api.expect_stream_rx(ssrc.into(), rtx.map(Into::into), mid, None);
    }

    pub fn write(&mut self, ssrc: u32, packet: Outgoing, now: Instant) {
        let mut api = self.rtc.direct_api();
        let stream = api.stream_tx(&Ssrc::from(ssrc)).expect("declared");
        let mut values = str0m::rtp::ExtensionValues::default();
        values.video_orientation = packet.rotation;
        values.audio_level = packet.audio_level;
        values.voice_activity = packet.audio_level.map(|_| true);
        let write = RtpWrite::new(
            Pt::from(packet.pt),
            SeqNo::from(packet.seq),
            packet.timestamp,
            now,
            packet.payload,
        )
        .marker(packet.marker)
        .ext_vals(values)
        .nackable(true);
        stream.write_rtp(write);
        self.rtc.handle_input(Input::Timeout(now)).unwrap();
        self.drain(now);
    }

    pub fn request_keyframe(&mut self, ssrc: u32, now: Instant) {
        let mut api = self.rtc.direct_api();
        api.stream_rx(&Ssrc::from(ssrc))
            .unwrap()
            .request_keyframe(KeyframeRequestKind::Pli);
        self.rtc.handle_input(Input::Timeout(now)).unwrap();
        self.drain(now);
    }

    pub fn say(&mut self, text: &str, now: Instant) {
        let id = self.channel.expect("open");
        assert!(
            self.rtc
                .channel(id)
                .unwrap()
                .write(false, text.as_bytes())
                .unwrap()
        );
        self.drain(now);
    }

    pub fn receive(&mut self, from: SocketAddr, bytes: &[u8], now: Instant) {
        let Ok(contents) = bytes.try_into() else { return };
        let receive = Receive {
            proto: Protocol::Udp,
            source: from,
            destination: self.believed,
            contents,
        };
        let _ = self.rtc.handle_input(Input::Receive(now, receive));
        self.drain(now);
    }

    pub fn tick(&mut self, now: Instant) {
        let _ = self.rtc.handle_input(Input::Timeout(now));
        self.drain(now);
    }

    fn drain(&mut self, now: Instant) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.timeout = at.max(now + Duration::from_micros(100));
                    return;
                }
                Ok(Output::Transmit(transmit)) => self.out.push(transmit.contents.to_vec()),
                Ok(Output::Event(event)) => self.note(event, now),
                Err(_) => {
                    self.closed = true;
                    self.timeout = now + Duration::from_secs(3600);
                    return;
                }
            }
        }
    }

    fn note(&mut self, event: Event, now: Instant) {
        match event {
            Event::Connected => self.connected = true,
            Event::ChannelOpen(id, label) if label == "control" => self.channel = Some(id),
            Event::ChannelOpen(id, _) => self.chat = Some(id),
            Event::ChannelData(data) if Some(data.id) == self.chat => {
                self.chats.push(String::from_utf8(data.data).unwrap());
            }
            Event::ChannelData(data) => self.texts.push(String::from_utf8(data.data).unwrap()),
            Event::RtpPacket(packet) => self.note_packet(packet, now),
            Event::SenderFeedback(report) => self.reports.push(report),
            Event::KeyframeRequest(_) => self.keyframe_requests.push(now),
            Event::Closed => self.closed = true,
            _ => {}
        }
    }

    fn note_packet(&mut self, packet: RtpPacket, now: Instant) {
        let got = Got {
            seq: *packet.seq_no,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            payload: packet.payload,
            rotation: packet.header.ext_vals.video_orientation,
            audio_level: packet.header.ext_vals.audio_level,
            at: now,
        };
        self.got.entry(*packet.header.ssrc).or_default().push(got);
    }
}

/// A packet that a publisher sends.
#[derive(Debug, Clone, Default)]
pub struct Outgoing {
    pub seq: u64,
    pub timestamp: u32,
    pub pt: u8,
    pub marker: bool,
    pub payload: Vec<u8>,
    pub rotation: Option<str0m::rtp::VideoOrientation>,
    pub audio_level: Option<i8>,
}
