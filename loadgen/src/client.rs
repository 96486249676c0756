//! A publisher's WebRTC client: a str0m `Rtc` on a socket of its own, joined by WHIP.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use reqwest::Url;
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::crypto::dtls::DtlsCert;
use str0m::format::Codec as RtcCodec;
use str0m::media::{Direction, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig, RtcError};
use thiserror::Error;
use tokio::net::UdpSocket;
use tokio::task::yield_now;
use tokio::time::timeout_at;

use crate::media::Codec;
use crate::peer;
use crate::signal::{Reply, Session, Signal, SignalError};

/// Largest datagram on a path with Ethernet's MTU, with room.
const MAX_DATAGRAM: usize = 2048;
/// Datagrams that one client may take before the others of its thread get their turn.
const TURNS: u32 = 64;
/// How often str0m tells what was asked for again.
const STATS: Duration = Duration::from_millis(500);

#[derive(Debug, Error)]
pub(crate) enum ClientError {
    #[error(transparent)]
    Signal(#[from] SignalError),
    #[error("the answer has no {0}")]
    Missing(&'static str),
    #[error("the server does not take {0}")]
    Codec(&'static str),
    #[error("the answer's SDP is not usable: {0}")]
    Sdp(String),
    #[error("UDP socket: {0} (if it says too many open files, raise `ulimit -n`)")]
    Socket(#[from] io::Error),
    #[error("WebRTC: {0}")]
    Rtc(#[from] RtcError),
    #[error("no handshake within {seconds} s: do the server's candidates lead to it?", seconds = CONNECT.as_secs())]
    NotConnected,
    #[error("the server closed the session")]
    Closed,
}

/// What a client publishes.
pub(crate) struct Request<'a> {
    pub(crate) endpoint: &'a Url,
    /// An address of the server, to find our own by.
    pub(crate) towards: SocketAddr,
    pub(crate) video: Option<Codec>,
    pub(crate) audio: bool,
    /// Whole frames are written, and str0m makes packets of them; else packets are.
    pub(crate) frames: bool,
    pub(crate) certificate: &'a DtlsCert,
}

/// Our end, before the server's is known.
struct Local {
    rtc: Box<Rtc>,
    socket: std::net::UdpSocket,
    address: SocketAddr,
}

/// What was offered.
struct Medias {
    pending: SdpPendingOffer,
    audio: Option<Mid>,
    video: Option<Mid>,
}

/// A joined client.
pub(crate) struct Client {
    pub(crate) rtc: Box<Rtc>,
    pub(crate) video: Option<(Mid, Pt)>,
    pub(crate) audio: Option<(Mid, Pt)>,
    /// Datagrams that the socket did not take.
    pub(crate) send_drops: u64,
    socket: UdpSocket,
    local: SocketAddr,
    remote: SocketAddr,
    session: Session,
    buffer: Box<[u8; MAX_DATAGRAM]>,
    turns: u32,
}

impl Client {
    /// POSTs an offer and takes the answer, or leaves again if it can't be used; ICE and DTLS follow in [`Self::next`]. `via` is asked for the address to send
    /// to instead of the server's.
    pub(crate) async fn join(
        signal: &Signal,
        request: &Request<'_>,
        via: impl FnOnce(SocketAddr) -> io::Result<SocketAddr>,
    ) -> Result<Self, ClientError> {
        let mut rtc = Box::new(build(request));
        let (socket, local) = peer::open(request.towards)?;
        rtc.add_local_candidate(host(local)?);
        let mut changes = rtc.sdp_api();
        let stream = || Some("loadgen".to_owned());
        let direction = Direction::SendOnly;
        let audio = request
            .audio
            .then(|| changes.add_media(MediaKind::Audio, direction, stream(), None, None));
        let video = request
            .video
            .map(|_| changes.add_media(MediaKind::Video, direction, stream(), None, None));
        let (offer, pending) = changes.apply().ok_or(ClientError::Missing("offer"))?;

        let (reply, session) = signal.post(request.endpoint, offer.to_sdp_string()).await?;
        let here = Local {
            rtc,
            socket,
            address: local,
        };
        let medias = Medias {
            pending,
            audio,
            video,
        };
        let accepted = Self::accept(here, medias, request, reply, session.clone(), via).await;
        if accepted.is_err() {
            // The server has made a session that nobody will use. That it can't be left either changes nothing.
            let _ = signal.delete(&session).await;
        }
        accepted
    }

    async fn accept(
        here: Local,
        medias: Medias,
        request: &Request<'_>,
        reply: Reply,
        session: Session,
        via: impl FnOnce(SocketAddr) -> io::Result<SocketAddr>,
    ) -> Result<Self, ClientError> {
        let Local {
            mut rtc,
            socket,
            address: local,
        } = here;
        let Medias {
            pending,
            audio,
            video,
        } = medias;
        let Reply::Answer(answer) = reply else {
            return Err(ClientError::Sdp("the server offers instead of answering".into()));
        };
        let address = first_address(&answer)?;
        let remote = via(address)?;
        let answer = with_candidate(&answer, remote);
        // Media may live elsewhere than the server that was asked: then it knows us by another address.
        let here = SocketAddr::new(peer::local_ip(remote)?, local.port());
        if here != local {
            rtc.add_local_candidate(host(here)?);
        }
        let socket = UdpSocket::from_std(socket)?;
        socket.connect(remote).await?;
        // Until tokio has seen it writable, `try_send` refuses: the first check would be lost, and come again 250 ms later.
        socket.writable().await?;
        let answer =
            SdpAnswer::from_sdp_string(&answer).map_err(|error| ClientError::Sdp(error.to_string()))?;
        rtc.sdp_api().accept_answer(pending, answer)?;
        let mut client = Self {
            rtc,
            video: None,
            audio: None,
            send_drops: 0,
            socket,
            local: here,
            remote,
            session,
            buffer: Box::new([0; MAX_DATAGRAM]),
            turns: 0,
        };
        client.video = video
            .zip(request.video)
            .map(|(mid, codec)| client.pt(mid, codec))
            .transpose()?;
        client.audio = audio.map(|mid| client.pt(mid, Codec::Opus)).transpose()?;
        // Its first checks are made when it hears the time; else it would wait for the server's.
        client.flush()?;
        Ok(client)
    }

    /// The payload type that the server takes for a codec.
    fn pt(&self, mid: Mid, codec: Codec) -> Result<(Mid, Pt), ClientError> {
        let media = self.rtc.media(mid).ok_or(ClientError::Missing("m-line"))?;
        let params = self.rtc.codec_config().params();
        let is_wanted = |pt: &Pt| {
            let spec = params
                .iter()
                .find(|params| params.pt() == *pt)
                .map(|params| params.spec());
            spec.is_some_and(|spec| spec.codec == rtc_codec(codec))
        };
        let pt = media.remote_pts().iter().copied().find(is_wanted);
        Ok((mid, pt.ok_or(ClientError::Codec(codec.name()))?))
    }

    /// The next event, `None` when there is none before `until`.
    pub(crate) async fn next(&mut self, until: Instant) -> Result<Option<Event>, ClientError> {
        loop {
            let timer = match self.rtc.poll_output()? {
                Output::Transmit(transmit) => {
                    if self.socket.try_send(&transmit.contents).is_err() {
                        self.send_drops += 1;
                    }
                    continue;
                }
                Output::Event(event) => return Ok(Some(event)),
                Output::Timeout(timer) => timer,
            };
            if self.receive()? {
                self.turns = self.turns.wrapping_add(1);
                if self.turns.is_multiple_of(TURNS) {
                    yield_now().await;
                }
                continue;
            }
            let now = Instant::now();
            let deadline = timer.min(until);
            if deadline > now {
                let _ = timeout_at(deadline.into(), self.socket.readable()).await;
            } else if timer <= now {
                self.rtc.handle_input(Input::Timeout(now))?;
            }
            if until <= Instant::now() {
                return Ok(None);
            }
        }
    }

    /// Takes one datagram, if there is one.
    fn receive(&mut self) -> Result<bool, ClientError> {
        let length = match self.socket.try_recv(&mut self.buffer[..]) {
            Ok(length) => length,
            // The server's port may be closed for a moment, between two of its lives.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let datagram = &self.buffer[..length];
        // What str0m can't tell apart is not for it.
        if let Ok(received) = Receive::new(Protocol::Udp, self.remote, self.local, datagram) {
            self.rtc.handle_input(Input::Receive(Instant::now(), received))?;
        }
        Ok(true)
    }

    /// Lets the `Rtc` send what was written to it.
    pub(crate) fn flush(&mut self) -> Result<(), ClientError> {
        self.rtc.handle_input(Input::Timeout(Instant::now()))?;
        Ok(())
    }

    /// DELETEs the session. Whether the server still knows it does not matter.
    pub(crate) async fn leave(&self, signal: &Signal) -> Result<(), ClientError> {
        Ok(signal.delete(&self.session).await?)
    }
}

fn host(address: SocketAddr) -> Result<Candidate, ClientError> {
    Candidate::host(address, "udp").map_err(|error| ClientError::Sdp(error.to_string()))
}

fn rtc_codec(codec: Codec) -> RtcCodec {
    match codec {
        Codec::Vp8 => RtcCodec::Vp8,
        Codec::Vp9 => RtcCodec::Vp9,
        Codec::H264 => RtcCodec::H264,
        Codec::Av1 => RtcCodec::Av1,
        Codec::Opus => RtcCodec::Opus,
    }
}

fn build(request: &Request<'_>) -> Rtc {
    let config = RtcConfig::new()
        .set_rtp_mode(!request.frames)
        .set_stats_interval(Some(STATS))
        .set_dtls_cert(request.certificate.clone())
        .clear_codecs()
        .enable_opus(request.audio, false);
    let config = match request.video {
        Some(Codec::Vp8) => config.enable_vp8(true),
        Some(Codec::Vp9) => config.enable_vp9(true),
        Some(Codec::H264) => config.enable_h264(true),
        Some(Codec::Av1) => config.enable_av1(true),
        Some(Codec::Opus) | None => config,
    };
    config.build(Instant::now())
}

/// The first UDP candidate of an answer: one socket is connected to one address.
fn first_address(answer: &str) -> Result<SocketAddr, ClientError> {
    answer
        .lines()
        .filter_map(|line| line.strip_prefix("a=candidate:"))
        .find_map(udp_address)
        .ok_or(ClientError::Missing("UDP candidate"))
}

/// The answer with this candidate instead of its own, and without limits of bandwidth: what is sent is the command line's to
/// say, and str0m reads one `b=` of a section at most, where RFC 8866 §5.8 has any number.
fn with_candidate(answer: &str, address: SocketAddr) -> String {
    let mut kept = String::with_capacity(answer.len());
    let left_out = |line: &&str| line.starts_with("a=candidate:") || line.starts_with("b=");
    for line in answer.lines().filter(|line| !left_out(line)) {
        kept.push_str(line);
        kept.push_str("\r\n");
        if line.starts_with("a=ice-pwd:") {
            let (ip, port) = (address.ip(), address.port());
            kept.push_str(&format!(
                "a=candidate:1 1 udp 2130706431 {ip} {port} typ host\r\n"
            ));
        }
    }
    kept
}

/// RFC 8839 §5.1: foundation, component, transport, priority, address, port.
fn udp_address(candidate: &str) -> Option<SocketAddr> {
    let mut words = candidate.split_whitespace().skip(1);
    let (component, transport) = (words.next()?, words.next()?);
    if component != "1" || !transport.eq_ignore_ascii_case("udp") {
        return None;
    }
    let ip: IpAddr = words.nth(1)?.parse().ok()?;
    Some(SocketAddr::new(ip, words.next()?.parse().ok()?))
}

/// How long a client may take from its POST to the end of its handshake.
pub(crate) const CONNECT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_udp_candidate_is_taken() {
        let answer = "v=0\r\na=ice-pwd:x\r\na=candidate:1 1 tcp 1 10.0.0.1 9 typ host tcptype passive\r\n\
                      a=candidate:2 1 udp 9 127.0.0.1 8443 typ host\r\na=candidate:3 1 UDP 8 ::1 8443 typ host\r\n\
                      m=video\r\nb=AS:2500\r\nb=TIAS:2500000\r\na=candidate:2 1 udp 9 127.0.0.1 8443 typ host\r\n";
        assert_eq!(first_address(answer).unwrap(), "127.0.0.1:8443".parse().unwrap());
        let kept = with_candidate(answer, "127.0.0.1:9".parse().unwrap());
        assert_eq!(kept.matches("a=candidate:").count(), 1);
        assert!(!kept.contains("b=") && kept.contains("m=video"));
        assert!(kept.contains("127.0.0.1 9 typ host") && !kept.contains("::1") && !kept.contains("tcp"));
        assert!(first_address("v=0\r\n").is_err());
    }

    #[test]
    fn malformed_candidates_have_no_address() {
        for candidate in [
            "",
            "1",
            "1 1 udp",
            "1 1 udp 5 host 9 typ",
            "1 1 udp 5 1.2.3.4 x",
            "1 2 udp 5 1.2.3.4 9",
        ] {
            assert_eq!(udp_address(candidate), None, "{candidate}");
        }
    }
}
