//! One WebRTC client: a str0m `Rtc` on a socket of its own, joined by WHIP or WHEP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol as SocketProtocol, Socket, Type};
use str0m::change::SdpAnswer;
use str0m::crypto::dtls::DtlsCert;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcError};
use thiserror::Error;
use tokio::net::UdpSocket;
use tokio::task::yield_now;
use tokio::time::timeout_at;

use crate::http::{self, HttpError, Url};

/// Largest datagram on a path with Ethernet's MTU, with room.
const MAX_DATAGRAM: usize = 2048;
/// About a second of a busy stream.
const RECEIVE_BUFFER: usize = 1024 * 1024;
/// Datagrams that one client may take before the others of its thread get their turn.
const TURNS: u32 = 64;
/// How much of an error's body is shown.
const SHOWN: usize = 300;

#[derive(Debug, Error)]
pub(crate) enum ClientError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("POST {path} was answered {status}: {detail}")]
    Refused {
        path: String,
        status: u16,
        detail: String,
    },
    #[error("the answer has no {0}")]
    Missing(&'static str),
    #[error("the answer's SDP is not usable: {0}")]
    Sdp(String),
    #[error("UDP socket: {0} (if it says too many open files, raise `ulimit -n`)")]
    Socket(#[from] io::Error),
    #[error("WebRTC: {0}")]
    Rtc(#[from] RtcError),
}

/// What a client asks for.
pub(crate) struct Request<'a> {
    pub(crate) endpoint: &'a Url,
    pub(crate) token: Option<&'a str>,
    pub(crate) direction: Direction,
    pub(crate) audio: bool,
    pub(crate) certificate: &'a DtlsCert,
}

/// A joined client.
pub(crate) struct Client {
    pub(crate) rtc: Box<Rtc>,
    pub(crate) video: Mid,
    pub(crate) audio: Option<Mid>,
    /// Datagrams that the socket did not take.
    pub(crate) send_drops: u64,
    socket: UdpSocket,
    local: SocketAddr,
    remote: SocketAddr,
    session: Url,
    token: Option<String>,
    buffer: Box<[u8; MAX_DATAGRAM]>,
    turns: u32,
}

impl Client {
    /// POSTs an offer and takes the answer; ICE and DTLS follow in [`Self::next`].
    pub(crate) async fn join(request: &Request<'_>) -> Result<Self, ClientError> {
        let mut rtc = Box::new(
            Rtc::builder()
                .set_rtp_mode(true)
                .clear_codecs()
                .enable_vp8(true)
                .enable_opus(true, false)
                .set_dtls_cert(request.certificate.clone())
                .build(Instant::now()),
        );
        let mut changes = rtc.sdp_api();
        let stream = Some("loadgen".to_owned());
        let audio = request
            .audio
            .then(|| changes.add_media(MediaKind::Audio, request.direction, stream.clone(), None, None));
        let video = changes.add_media(MediaKind::Video, request.direction, stream, None, None);
        let (offer, pending) = changes.apply().ok_or(ClientError::Missing("offer"))?;

        let response = http::request(
            "POST",
            request.endpoint,
            request.token,
            Some(&offer.to_sdp_string()),
        )
        .await?;
        if !matches!(response.status, 200 | 201) {
            let detail = response.body.chars().take(SHOWN).collect();
            return Err(ClientError::Refused {
                path: request.endpoint.path.clone(),
                status: response.status,
                detail,
            });
        }
        let location = response
            .header("location")
            .ok_or(ClientError::Missing("Location"))?;
        let session = request.endpoint.join(location)?;
        let (answer, remote) = with_one_candidate(&response.body)?;
        let (socket, local) = open(remote).await?;
        let candidate = Candidate::host(local, "udp").map_err(|error| ClientError::Sdp(error.to_string()))?;
        rtc.add_local_candidate(candidate);
        let answer =
            SdpAnswer::from_sdp_string(&answer).map_err(|error| ClientError::Sdp(error.to_string()))?;
        rtc.sdp_api().accept_answer(pending, answer)?;
        Ok(Self {
            rtc,
            video,
            audio,
            send_drops: 0,
            socket,
            local,
            remote,
            session,
            token: request.token.map(str::to_owned),
            buffer: Box::new([0; MAX_DATAGRAM]),
            turns: 0,
        })
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
    pub(crate) async fn leave(self) -> Result<(), ClientError> {
        http::request("DELETE", &self.session, self.token.as_deref(), None).await?;
        Ok(())
    }
}

/// The answer with only its first UDP candidate, since one socket is connected to one address.
fn with_one_candidate(answer: &str) -> Result<(String, SocketAddr), ClientError> {
    let mut chosen: Option<(String, SocketAddr)> = None;
    let mut kept = String::with_capacity(answer.len());
    for line in answer.lines() {
        if let Some(candidate) = line.strip_prefix("a=candidate:") {
            let Some(address) = udp_address(candidate) else {
                continue;
            };
            match &chosen {
                Some((first, _)) if first != candidate => continue,
                Some(_) => {}
                None => chosen = Some((candidate.to_owned(), address)),
            }
        }
        kept.push_str(line);
        kept.push_str("\r\n");
    }
    let (_, address) = chosen.ok_or(ClientError::Missing("UDP candidate"))?;
    Ok((kept, address))
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

async fn open(remote: SocketAddr) -> io::Result<(UdpSocket, SocketAddr)> {
    let any: IpAddr = if remote.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = Socket::new(
        Domain::for_address(remote),
        Type::DGRAM,
        Some(SocketProtocol::UDP),
    )?;
    socket.set_nonblocking(true)?;
    // More than the system's limit is cut to it, silently.
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.bind(&SocketAddr::new(any, 0).into())?;
    let socket = UdpSocket::from_std(socket.into())?;
    socket.connect(remote).await?;
    // Until tokio has seen it writable, `try_send` refuses: the first check would be lost, and come again 250 ms later.
    socket.writable().await?;
    let local = socket.local_addr()?;
    Ok((socket, local))
}

/// How long a client may take from its POST to the end of its handshake.
pub(crate) const CONNECT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_udp_candidate_stays() {
        let answer = "v=0\r\na=candidate:1 1 tcp 1 10.0.0.1 9 typ host tcptype passive\r\n\
                      a=candidate:2 1 udp 9 127.0.0.1 8443 typ host\r\na=candidate:3 1 UDP 8 ::1 8443 typ host\r\n\
                      m=video\r\na=candidate:2 1 udp 9 127.0.0.1 8443 typ host\r\n";
        let (kept, address) = with_one_candidate(answer).unwrap();
        assert_eq!(address, "127.0.0.1:8443".parse().unwrap());
        assert_eq!(kept.matches("a=candidate:").count(), 2);
        assert!(!kept.contains("::1") && !kept.contains("tcp"));
        assert!(with_one_candidate("v=0\r\n").is_err());
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
