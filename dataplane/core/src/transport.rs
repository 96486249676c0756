//! One session's DTLS, SCTP and, for publishers, RTP reception: a str0m `Rtc` that never sees the network.
//!
//! To the `Rtc`, every peer lives at one made-up address with one made-up password: ICE is done before it (`ice`), and
//! all it takes from a valid check is a canned one that keeps its candidate pair alive. So rebinding, restarts and
//! clients with habits of their own are none of its business, and it holds no state of them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use str0m::change::SdpOffer;
use str0m::channel::ChannelId;
use str0m::media::SenderFeedback;
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpPacket;
use str0m::{Candidate, Event, IceCreds, Input, Output, Rtc, RtcConfig, RtcError};
use weever_proto::{ChannelLabel, DtlsRole, Fingerprint, limits};

use crate::chat;
use crate::crypto::{Identity, KeySlot};
use crate::wire::stun::{BindingRequest, IceRole, emit_binding_request};

/// RFC 5737 addresses: they stand for "the server" and "the peer" inside the `Rtc`.
const INSIDE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);
const OUTSIDE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 9);
const UFRAG: &str = "weever";
const PASSWORD: &str = "inside-one-process-only";
/// The canned check is repeated at most this often.
const REFRESH: Duration = Duration::from_secs(2);
/// An `Rtc` that is alive but fails to say what it wants, this often in a row, is broken.
const POLL_ERRORS: u32 = 8;
/// Bytes of text that may wait on a data channel: four of the largest SDPs.
const CHANNEL_BUFFER: usize = 4 * limits::MAX_TEXT;
/// Channels that a client may open. Others are nobody's.
const CHANNELS: [ChannelLabel; 2] = [ChannelLabel::Control, ChannelLabel::Chat];

/// What came out of a transport.
pub(crate) enum Happening {
    /// The handshake is done; keys are there.
    Connected,
    /// The client opened a channel.
    ChannelOpen(ChannelLabel),
    /// The client closed a channel.
    ChannelClosed(ChannelLabel),
    /// A message on a channel. Not text if `binary`.
    Message {
        channel: ChannelLabel,
        binary: bool,
        data: Vec<u8>,
    },
    /// A publisher's packet, in clear.
    Rtp(Box<RtpPacket>),
    /// A publisher's sender report.
    Report(SenderFeedback),
    /// The peer closed.
    Closed,
}

/// Why a transport is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The certificate isn't the announced one.
    Fingerprint,
    /// The handshake failed.
    Dtls,
}

/// Whether a session has SCTP, and what it may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    /// It wasn't negotiated.
    None,
    /// Messages that we send stay below 64 KiB (RFC 8841 §6.1, the default).
    Small,
    /// We send up to [`limits::MAX_TEXT`]: an offer with hundreds of tracks. For sessions without media of their own.
    Large,
}

pub(crate) struct Transport {
    pub(crate) rtc: Rtc,
    keys: KeySlot,
    active: bool,
    channel: Channel,
    started: bool,
    refreshed: Option<Instant>,
    /// Those that are open, in the order of [`CHANNELS`].
    channels: [Option<ChannelId>; CHANNELS.len()],
    /// When the `Rtc` wants the time.
    pub(crate) timeout: Instant,
}

impl Transport {
    pub(crate) fn new(
        identity: &Identity,
        config: RtcConfig,
        role: DtlsRole,
        fingerprint: &Fingerprint,
        channel: Channel,
        now: Instant,
    ) -> Self {
        let creds = IceCreds {
            ufrag: UFRAG.into(),
            pass: PASSWORD.into(),
        };
        let config = config
            .set_rtp_mode(true)
            .set_ice_lite(true)
            .set_local_ice_credentials(creds.clone())
            .set_sctp_max_buffered_amount(CHANNEL_BUFFER)
            .set_sctp_max_message_size(u32::try_from(limits::MAX_TEXT).unwrap_or(u32::MAX));
        let (mut rtc, keys) = identity.build(config, now);
        if let Ok(candidate) = Candidate::host(INSIDE, Protocol::Udp) {
            rtc.add_local_candidate(candidate);
        }
        let mut api = rtc.direct_api();
        api.set_ice_controlling(false);
        api.set_remote_ice_credentials(creds);
        api.set_remote_fingerprint(str0m::crypto::Fingerprint {
            hash_func: fingerprint.hash.clone(),
            bytes: fingerprint.value.clone(),
        });
        Self {
            rtc,
            keys,
            active: role == DtlsRole::Client,
            channel,
            started: false,
            refreshed: None,
            channels: [None; CHANNELS.len()],
            timeout: now,
        }
    }

    pub(crate) fn keys(&self) -> &KeySlot {
        &self.keys
    }

    /// A valid check came: the peer is there. The first one starts the handshake; only then, so that a ClientHello of
    /// ours is not wasted on nobody.
    pub(crate) fn confirm(&mut self, identity: &Identity, now: Instant) -> Result<(), Broken> {
        if self
            .refreshed
            .is_some_and(|at| now.saturating_duration_since(at) < REFRESH)
        {
            return Ok(());
        }
        self.refreshed = Some(now);
        self.receive(canned_check(identity), now)?;
        if !self.started {
            self.started = true;
            self.start().map_err(|_| Broken::Dtls)?;
        }
        Ok(())
    }

    fn start(&mut self) -> Result<(), RtcError> {
        if self.channel == Channel::Large {
            // The size that the peer takes can be told to str0m by SDP alone.
            let offer = SdpOffer::from_sdp_string(&channel_offer(self.active))?;
            self.rtc.sdp_api().accept_offer(offer)?;
            return Ok(());
        }
        let mut api = self.rtc.direct_api();
        api.start_dtls(self.active)?;
        if self.channel == Channel::Small {
            api.start_sctp(self.active);
        }
        Ok(())
    }

    /// Hands in DTLS, SRTP or SRTCP. What the association refuses is `Ok(false)`: a stranger with the peer's address
    /// must not be able to end the session.
    pub(crate) fn receive(&mut self, datagram: &[u8], now: Instant) -> Result<bool, Broken> {
        let Ok(contents) = datagram.try_into() else {
            return Ok(false);
        };
        let receive = Receive {
            proto: Protocol::Udp,
            source: OUTSIDE,
            destination: INSIDE,
            contents,
        };
        let taken = self.rtc.handle_input(Input::Receive(now, receive));
        self.judge(&taken)
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Result<bool, Broken> {
        let taken = self.rtc.handle_input(Input::Timeout(now));
        self.judge(&taken)
    }

    fn judge(&self, result: &Result<(), RtcError>) -> Result<bool, Broken> {
        match result {
            Ok(()) => Ok(true),
            Err(_) if self.rtc.is_alive() => Ok(false),
            Err(RtcError::RemoteSdp(_)) => Err(Broken::Fingerprint),
            Err(_) => Err(Broken::Dtls),
        }
    }

    /// Takes the next thing out. `None`: nothing until [`Transport::timeout`] or more input.
    pub(crate) fn poll(&mut self, mut datagram: impl FnMut(&[u8])) -> Result<Option<Happening>, Broken> {
        let mut patience = POLL_ERRORS;
        loop {
            let output = match self.rtc.poll_output() {
                Ok(output) => output,
                Err(RtcError::RemoteSdp(_)) => return Err(Broken::Fingerprint),
                Err(_) if self.rtc.is_alive() && patience > 0 => {
                    patience -= 1;
                    continue;
                }
                Err(_) => return Err(Broken::Dtls),
            };
            let event = match output {
                Output::Timeout(at) => {
                    self.timeout = at;
                    return Ok(None);
                }
                Output::Transmit(transmit) => {
                    // Its answers to canned checks stay inside (RFC 7983 §7: 0 to 3 is STUN).
                    if transmit.contents.first().is_some_and(|first| *first > 3) {
                        datagram(&transmit.contents);
                    }
                    continue;
                }
                Output::Event(event) => event,
            };
            return Ok(Some(match event {
                Event::Connected => Happening::Connected,
                Event::ChannelOpen(id, label) => {
                    let Some(at) = CHANNELS.iter().position(|known| known.as_str() == label) else {
                        continue;
                    };
                    self.channels[at] = Some(id);
                    Happening::ChannelOpen(CHANNELS[at])
                }
                Event::ChannelData(data) => {
                    let Some(at) = self.channels.iter().position(|open| *open == Some(data.id)) else {
                        continue;
                    };
                    Happening::Message {
                        channel: CHANNELS[at],
                        binary: data.binary,
                        data: data.data,
                    }
                }
                Event::ChannelClose(id) => {
                    let Some(at) = self.channels.iter().position(|open| *open == Some(id)) else {
                        continue;
                    };
                    self.channels[at] = None;
                    Happening::ChannelClosed(CHANNELS[at])
                }
                Event::RtpPacket(packet) => Happening::Rtp(Box::new(packet)),
                Event::SenderFeedback(report) => Happening::Report(report),
                Event::Closed => Happening::Closed,
                _ => continue,
            }));
        }
    }

    fn channel(&self, label: ChannelLabel) -> Option<ChannelId> {
        let at = CHANNELS.iter().position(|known| *known == label)?;
        self.channels[at]
    }

    pub(crate) fn is_open(&self, label: ChannelLabel) -> bool {
        self.channel(label).is_some()
    }

    /// Writes to a channel. False: not open, or its buffer is full; try again later.
    pub(crate) fn write(&mut self, label: ChannelLabel, text: &str) -> bool {
        let Some(id) = self.channel(label) else {
            return false;
        };
        let Some(mut channel) = self.rtc.channel(id) else {
            return false;
        };
        if label == ChannelLabel::Chat && channel.buffered_amount() > chat::BACKLOG {
            return false;
        }
        matches!(channel.write(false, text.as_bytes()), Ok(true))
    }

    /// Starts closing: the next polls bring the close_notify.
    pub(crate) fn close(&mut self) {
        // A transport that can't say goodbye is gone all the same.
        let _ = self.rtc.close();
    }
}

/// An offer of nothing but a data channel, from the made-up peer. Its fingerprint is not looked at: the real one is set.
fn channel_offer(active: bool) -> String {
    let setup = if active { "passive" } else { "active" };
    let fingerprint = ["00"; 32].join(":");
    let max = limits::MAX_TEXT;
    format!(
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE channel\r\n\
         m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n\
         a=ice-ufrag:{UFRAG}\r\na=ice-pwd:{PASSWORD}\r\na=fingerprint:sha-256 {fingerprint}\r\n\
         a=setup:{setup}\r\na=mid:channel\r\na=sctp-port:5000\r\na=max-message-size:{max}\r\n"
    )
}

/// One Binding request, made once for all sessions.
fn canned_check(identity: &Identity) -> &'static [u8] {
    static CHECK: OnceLock<Vec<u8>> = OnceLock::new();
    CHECK.get_or_init(|| {
        let mut bytes = vec![0; 256];
        let username = format!("{UFRAG}:{UFRAG}");
        let hmac = |key: &[u8], parts: &[&[u8]]| identity.hmac_sha1(key, parts);
        let request = BindingRequest {
            transaction: [7; 12],
            username: &username,
            password: PASSWORD,
            priority: Some(1),
            role: Some(IceRole::Controlling(1)),
            use_candidate: true,
        };
        let len = emit_binding_request(&mut bytes, &request, hmac);
        bytes.truncate(len.expect("a check fits in 256 bytes"));
        bytes
    })
}
