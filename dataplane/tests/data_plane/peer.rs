//! Clients with a whole WebRTC stack of their own (str0m), on real sockets and the real clock.

use std::{
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use str0m::{
    Candidate, Event, IceCreds, Input, Output, Rtc, RtcConfig,
    channel::{ChannelConfig, ChannelId},
    crypto::Fingerprint,
    media::{MediaKind, Mid, Pt},
    net::{Protocol, Receive},
    rtp::{RtpWrite, SeqNo, Ssrc},
};
use weever_proto::{Hello, IceCredentials, Role, SessionSpec};

use crate::{PATIENCE, played_control_plane::spec};

pub(crate) const VP8: u8 = 96;
pub(crate) const VP8_RTX: u8 = 97;
const MID: &str = "v";

pub(crate) struct Peer {
    pub(crate) spec: SessionSpec,
    rtc: Rtc,
    socket: UdpSocket,
    server: SocketAddr,
    wake: Instant,
    pub(crate) connected: bool,
    channel: Option<ChannelId>,
    /// Datagrams on the way to it get lost: one in so many; 0: none.
    pub(crate) lossy: u32,
    came: u32,
    /// It was asked for one.
    pub(crate) keyframe_wanted: bool,
    /// Number within the stream and payload of all that came.
    pub(crate) packets: Vec<(u64, Vec<u8>)>,
}

impl Peer {
    /// A client of the worker that the hello lists under this number, and the session that it takes.
    pub(crate) fn new(session: u64, worker: u16, role: Role, hello: &Hello) -> Self {
        let server = hello.workers[usize::from(worker)].candidates[0];
        let socket = UdpSocket::bind((server.ip(), 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut rtc = RtcConfig::new().set_rtp_mode(true).build(Instant::now());
        let own = Candidate::host(socket.local_addr().unwrap(), Protocol::Udp).unwrap();
        rtc.add_local_candidate(own).unwrap();
        rtc.add_remote_candidate(Candidate::host(server, Protocol::Udp).unwrap());
        let mut spec = SessionSpec {
            role,
            ..spec(session, worker)
        };
        let mut api = rtc.direct_api();
        let IceCreds { ufrag, pass } = api.local_ice_credentials();
        spec.remote = IceCredentials {
            ufrag,
            password: pass,
        };
        let fingerprint = api.local_dtls_fingerprint().clone();
        spec.fingerprint = weever_proto::Fingerprint {
            hash: fingerprint.hash_func,
            value: fingerprint.bytes,
        };
        api.set_ice_controlling(true);
        let IceCredentials { ufrag, password } = spec.local.clone();
        api.set_remote_ice_credentials(IceCreds {
            ufrag,
            pass: password,
        });
        let weever_proto::Fingerprint { hash, value } = hello.fingerprint.clone();
        api.set_remote_fingerprint(Fingerprint {
            hash_func: hash,
            bytes: value,
        });
        api.start_dtls(true).unwrap();
        api.start_sctp(true);
        api.create_data_channel(ChannelConfig {
            label: "control".into(),
            ..Default::default()
        });
        api.declare_media(Mid::from(MID), MediaKind::Video);
        Self {
            spec,
            rtc,
            socket,
            server,
            wake: Instant::now(),
            connected: false,
            channel: None,
            lossy: 0,
            came: 0,
            keyframe_wanted: false,
            packets: Vec::new(),
        }
    }

    pub(crate) fn declare_send(&mut self, ssrc: u32) {
        self.rtc
            .direct_api()
            .declare_stream_tx(ssrc.into(), None, Mid::from(MID), None);
    }

    pub(crate) fn expect(&mut self, ssrc: u32) {
        self.rtc
            .direct_api()
            .expect_stream_rx(ssrc.into(), None, Mid::from(MID), None);
    }

    /// As [`Peer::expect`], with retransmissions.
    pub(crate) fn expect_with_rtx(&mut self, ssrc: u32, rtx_ssrc: u32) {
        self.rtc
            .direct_api()
            .expect_stream_rx(ssrc.into(), Some(rtx_ssrc.into()), Mid::from(MID), None);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.connected && self.channel.is_some()
    }

    pub(crate) fn say(&mut self, text: &str) {
        let mut channel = self.rtc.channel(self.channel.unwrap()).unwrap();
        assert!(channel.write(false, text.as_bytes()).unwrap());
        self.drain();
    }

    pub(crate) fn write(&mut self, ssrc: u32, number: u64, timestamp: u32, marker: bool, payload: Vec<u8>) {
        let now = Instant::now();
        let mut api = self.rtc.direct_api();
        let packet =
            RtpWrite::new(Pt::from(VP8), SeqNo::from(number), timestamp, now, payload).marker(marker);
        api.stream_tx(&Ssrc::from(ssrc)).unwrap().write_rtp(packet);
        self.rtc.handle_input(Input::Timeout(now)).unwrap();
        self.drain();
    }

    /// Takes what is on the socket and does what is due.
    pub(crate) fn turn(&mut self) {
        let mut buffer = [0; 2000];
        loop {
            match self.socket.recv_from(&mut buffer) {
                Ok((len, from)) => {
                    self.came += 1;
                    if self.lossy == 0 || !self.came.is_multiple_of(self.lossy) {
                        self.take(from, &buffer[..len]);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        if self.wake <= Instant::now() {
            self.rtc.handle_input(Input::Timeout(Instant::now())).unwrap();
            self.drain();
        }
    }

    fn take(&mut self, from: SocketAddr, bytes: &[u8]) {
        assert_eq!(from, self.server);
        let receive = Receive {
            proto: Protocol::Udp,
            source: from,
            destination: self.socket.local_addr().unwrap(),
            contents: bytes.try_into().unwrap(),
        };
        self.rtc
            .handle_input(Input::Receive(Instant::now(), receive))
            .unwrap();
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(at) => return self.wake = at,
                Output::Transmit(out) => _ = self.socket.send_to(&out.contents, out.destination).unwrap(),
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(Event::ChannelOpen(id, _)) => self.channel = Some(id),
                Output::Event(Event::KeyframeRequest(_)) => self.keyframe_wanted = true,
                Output::Event(Event::RtpPacket(packet)) => {
                    self.packets.push((*packet.seq_no, packet.payload.to_vec()));
                }
                Output::Event(_) => {}
            }
        }
    }
}

/// Has all peers live until something is so.
pub(crate) fn live_until(peers: &mut [Peer], what: &str, mut done: impl FnMut(&[Peer]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done(peers) {
        assert!(Instant::now() < deadline, "{what}: not in time");
        for peer in peers.iter_mut() {
            peer.turn();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn live_for(peers: &mut [Peer], time: Duration) {
    let end = Instant::now() + time;
    live_until(peers, "time passes", |_| Instant::now() >= end);
}
