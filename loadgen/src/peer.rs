//! One client's transport: ICE, DTLS and SCTP by a str0m `Rtc` without media, on a socket of its own.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdSocket};
use std::time::Instant;

use mio::net::UdpSocket;
use quinn_udp::{UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol as SocketProtocol, Socket, Type};
use str0m::channel::{ChannelConfig, ChannelId};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, IceConnectionState, IceCreds, Input, Output, Rtc, RtcConfig};
use thiserror::Error;

use crate::sdp::{self, Description, Local, SdpError, Wishes};

mod identity;
mod srtp;

pub(crate) use identity::Identity;
pub(crate) use srtp::{RTCP_OVERHEAD, Srtp};

use identity::KeySlot;

/// About a second of a busy stream.
const SOCKET_BUFFER: usize = 1024 * 1024;
const CONTROL: &str = "control";

#[derive(Debug, Error)]
pub(crate) enum PeerError {
    #[error("UDP socket: {0}")]
    Socket(#[from] io::Error),
    #[error(transparent)]
    Sdp(#[from] SdpError),
    #[error("the server's answer has no UDP candidate that can be reached from here")]
    NoCandidate,
    #[error("WebRTC: {0}")]
    Rtc(#[from] str0m::RtcError),
    #[error("the handshake made no keys")]
    Keys,
    #[error("no handshake within 20 s of the POST: do the server's candidates lead to it?")]
    NotConnected,
    #[error("the server closed the session")]
    Closed,
    #[error("the server stopped answering (ICE)")]
    Silent,
}

/// What came out of a peer.
pub(crate) enum Happening {
    Connected,
    /// Text on the control channel.
    Message(String),
}

/// A peer before it knows the server's end.
pub(crate) struct Prepared {
    rtc: Box<Rtc>,
    keys: KeySlot,
    socket: StdSocket,
    local: SocketAddr,
    ice: IceCreds,
    fingerprint: String,
    channel: bool,
}

impl Prepared {
    /// `towards`: an address of the server, to find our own by.
    pub(crate) fn new(identity: &Identity, towards: SocketAddr, wishes: Wishes) -> Result<Self, PeerError> {
        let (socket, local) = open(towards)?;
        let ice = IceCreds::new();
        let config = RtcConfig::new()
            .set_rtp_mode(true)
            .set_local_ice_credentials(ice.clone());
        let (rtc, keys) = identity.build(config);
        Ok(Self {
            rtc: Box::new(rtc),
            keys,
            socket,
            local,
            ice,
            fingerprint: identity.fingerprint().to_owned(),
            channel: wishes.channel_only,
        })
    }

    fn local(&self) -> Local<'_> {
        Local {
            ice: &self.ice,
            fingerprint: &self.fingerprint,
            address: self.local,
        }
    }

    pub(crate) fn offer(&self, wishes: Wishes) -> String {
        sdp::offer(&self.local(), wishes)
    }

    /// The answer to a server that offers.
    pub(crate) fn answer(&self, offer: &str) -> Result<String, SdpError> {
        sdp::answer(offer, &self.local(), true)
    }

    /// Goes on with what the server said. `via`: where to send instead of to its candidates.
    pub(crate) fn accept(self, server: &Description, via: Option<SocketAddr>) -> Result<Peer, PeerError> {
        let mut rtc = self.rtc;
        let host = |address| Candidate::host(address, Protocol::Udp).ok();
        let reachable = server
            .candidates
            .iter()
            .filter(|address| address.is_ipv4() == self.local.is_ipv4());
        let targets: Vec<SocketAddr> = match via {
            Some(proxy) => vec![proxy],
            None => reachable.copied().collect(),
        };
        let first = *targets.first().ok_or(PeerError::NoCandidate)?;
        // Media may live elsewhere than the server that was asked: then it knows us by another address.
        let local = SocketAddr::new(local_ip(first)?, self.local.port());
        rtc.add_local_candidate(host(local).ok_or(PeerError::NoCandidate)?);
        for candidate in targets.into_iter().filter_map(host) {
            rtc.add_remote_candidate(candidate);
        }
        let mut api = rtc.direct_api();
        api.set_ice_controlling(true);
        api.set_remote_ice_credentials(server.ice.clone());
        api.set_remote_fingerprint(server.fingerprint.clone());
        api.start_dtls(server.we_are_client)?;
        if self.channel {
            api.start_sctp(server.we_are_client);
            api.create_data_channel(ChannelConfig {
                label: CONTROL.into(),
                ..ChannelConfig::default()
            });
        }
        // Its first checks are made when it hears the time; else it would wait for the server's.
        rtc.handle_input(Input::Timeout(Instant::now()))?;
        let state = UdpSocketState::new(UdpSockRef::from(&self.socket))?;
        Ok(Peer {
            rtc,
            keys: self.keys,
            socket: UdpSocket::from_std(self.socket),
            state,
            local,
            remote: first,
            connected: false,
            client: server.we_are_client,
            channel: None,
            ice: self.ice,
            fingerprint: self.fingerprint,
            send_drops: 0,
        })
    }
}

/// A peer that talks to its server.
pub(crate) struct Peer {
    rtc: Box<Rtc>,
    keys: KeySlot,
    pub(crate) socket: UdpSocket,
    pub(crate) state: UdpSocketState,
    local: SocketAddr,
    remote: SocketAddr,
    connected: bool,
    client: bool,
    channel: Option<ChannelId>,
    ice: IceCreds,
    fingerprint: String,
    /// Datagrams that the socket did not take.
    pub(crate) send_drops: u64,
}

impl Peer {
    /// Hands in STUN or DTLS. What isn't either is dropped.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), PeerError> {
        let Ok(receive) = Receive::new(Protocol::Udp, source, self.local, datagram) else {
            return Ok(());
        };
        let taken = self.rtc.handle_input(Input::Receive(now, receive));
        // A stray datagram must not end the session.
        taken.or_else(|error| {
            if self.rtc.is_alive() {
                Ok(())
            } else {
                Err(error.into())
            }
        })
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Result<(), PeerError> {
        Ok(self.rtc.handle_input(Input::Timeout(now))?)
    }

    /// Sends what is to be sent, and tells what happened; then when it wants the time.
    pub(crate) fn poll(&mut self, happened: &mut Vec<Happening>) -> Result<Instant, PeerError> {
        loop {
            let event = match self.rtc.poll_output()? {
                Output::Timeout(at) => return Ok(at),
                Output::Transmit(transmit) => {
                    self.remote = transmit.destination;
                    self.send(&transmit.contents);
                    continue;
                }
                Output::Event(event) => event,
            };
            match event {
                Event::Connected => {
                    self.connected = true;
                    // From now on the kernel looks nowhere else, and the server finds us at one address.
                    self.socket.connect(self.remote)?;
                    happened.push(Happening::Connected);
                }
                Event::ChannelOpen(id, label) if label == CONTROL => self.channel = Some(id),
                Event::ChannelData(data) if Some(data.id) == self.channel && !data.binary => {
                    happened.push(Happening::Message(
                        String::from_utf8_lossy(&data.data).into_owned(),
                    ));
                }
                Event::Closed => return Err(PeerError::Closed),
                Event::IceConnectionStateChange(IceConnectionState::Disconnected) if self.connected => {
                    return Err(PeerError::Silent);
                }
                _ => {}
            }
        }
    }

    /// Sends a datagram to the server: now or never.
    pub(crate) fn send(&mut self, datagram: &[u8]) {
        let sent = if self.connected {
            self.socket.send(datagram)
        } else {
            self.socket.send_to(datagram, self.remote)
        };
        if sent.is_err() {
            self.send_drops += 1;
        }
    }

    /// The keys of the handshake.
    pub(crate) fn srtp(&self) -> Result<Srtp, PeerError> {
        self.keys.get().and_then(Srtp::new).ok_or(PeerError::Keys)
    }

    /// Writes to the control channel, if it is open.
    pub(crate) fn write(&mut self, text: &str) -> bool {
        let channel = self.channel.and_then(|id| self.rtc.channel(id));
        channel.is_some_and(|mut channel| matches!(channel.write(false, text.as_bytes()), Ok(true)))
    }

    /// The answer to an offer that came by the control channel.
    pub(crate) fn answer(&self, offer: &str) -> Result<String, SdpError> {
        let local = Local {
            ice: &self.ice,
            fingerprint: &self.fingerprint,
            address: self.local,
        };
        sdp::answer(offer, &local, self.client)
    }
}

/// A socket on every interface, and the address by which `towards` knows it.
pub(crate) fn open(towards: SocketAddr) -> io::Result<(StdSocket, SocketAddr)> {
    let any: IpAddr = match towards {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = Socket::new(
        Domain::for_address(towards),
        Type::DGRAM,
        Some(SocketProtocol::UDP),
    )?;
    socket.set_nonblocking(true)?;
    // More than the system's limit is cut to it, silently.
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.bind(&SocketAddr::new(any, 0).into())?;
    let port = StdSocket::from(socket.try_clone()?).local_addr()?.port();
    let ip = local_ip(towards)?;
    Ok((socket.into(), SocketAddr::new(ip, port)))
}

/// The source address that the routing table gives for a destination: connecting a UDP socket sends nothing.
pub(crate) fn local_ip(towards: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match towards {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let probe = StdSocket::bind((any, 0))?;
    probe.connect(towards)?;
    Ok(probe.local_addr()?.ip())
}
