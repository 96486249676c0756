//! The program against a small server of the test's own, which loses and delays what it is told to.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Output as Finished};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::media::{Direction, KeyframeRequestKind, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpPacket, RtpWrite, SeqNo};
use str0m::{Candidate, Event, Input, Output, Rtc};

const TURN: Duration = Duration::from_millis(1);

/// What the server does to packets on their way to viewers.
#[derive(Debug, Clone, Copy, Default)]
struct Faults {
    /// Every so many packets one is lost.
    lose_every: Option<u64>,
    delay: Duration,
    /// Viewers after so many are refused.
    viewers_max: Option<usize>,
    /// From then on, since its start, it is as if the publisher sent nothing for so long.
    pause: Option<(Duration, Duration)>,
    /// Every so many datagrams of media one is sent twice.
    repeat_every: Option<u64>,
    /// Every so many datagrams of media one is sent after its successor.
    swap_every: Option<u64>,
    /// Players are answered 406 and an offer of its own.
    counter_offer: bool,
    /// POSTs are answered 200 with a relative Location, under another path after a redirect.
    odd_habits: bool,
    /// Nobody is let in without this token.
    token: Option<&'static str>,
    /// Media is sealed with a key that viewers don't have: they can't tell that from a changed byte.
    wrong_key: bool,
    /// Under `/whep2` it is as another node: these of its viewers' packets are lost.
    second_loses_every: Option<u64>,
    /// So many viewers it takes there.
    second_viewers_max: Option<usize>,
}

struct Session {
    rtc: Rtc,
    publisher: bool,
    /// It came under `/whep2`.
    second: bool,
    mid: Option<Mid>,
    pt: Option<Pt>,
    /// Of an offer that waits for its answer.
    pending: Option<SdpPendingOffer>,
}

struct Forwarder {
    socket: UdpSocket,
    address: SocketAddr,
    sessions: Vec<Session>,
    waiting: VecDeque<(Instant, RtpPacket)>,
    count: u64,
    began: Instant,
    /// Packets that the pause took out of the numbering.
    paused: u64,
    sent: u64,
    held: Option<(Vec<u8>, SocketAddr)>,
    faults: Faults,
}

type Question = (String, String, mpsc::Sender<String>);

/// A server that forwards one publisher's video, until it is dropped.
struct Server {
    port: u16,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    fn start(faults: Faults) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = Arc::new(AtomicBool::new(false));
        let (ask, questions) = mpsc::channel();
        let (stopped, stopped_too) = (stop.clone(), stop.clone());
        let http = thread::spawn(move || serve_http(&listener, &ask, &stopped));
        let media = thread::spawn(move || Forwarder::new(faults).run(&questions, &stopped_too));
        Self {
            port,
            stop,
            threads: vec![http, media],
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve_http(listener: &TcpListener, ask: &mpsc::Sender<Question>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                let ask = ask.clone();
                thread::spawn(move || answer(stream, &ask));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(TURN),
            Err(error) => panic!("{error}"),
        }
    }
}

fn answer(mut stream: TcpStream, ask: &mpsc::Sender<Question>) {
    let mut request = Vec::new();
    let mut part = [0; 4096];
    let (head, body) = loop {
        let length = stream.read(&mut part).unwrap();
        request.extend_from_slice(&part[..length]);
        let text = String::from_utf8(request.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let wanted = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .map_or(0, |n| n.parse().unwrap());
        if body.len() >= wanted {
            break (head.to_owned(), body.to_owned());
        }
    };
    let (reply, replied) = mpsc::channel();
    ask.send((head, body, reply)).unwrap();
    stream.write_all(replied.recv().unwrap().as_bytes()).unwrap();
}

impl Forwarder {
    fn new(faults: Faults) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(TURN)).unwrap();
        let address = socket.local_addr().unwrap();
        Self {
            socket,
            address,
            sessions: Vec::new(),
            waiting: VecDeque::new(),
            count: 0,
            began: Instant::now(),
            paused: 0,
            sent: 0,
            held: None,
            faults,
        }
    }

    fn run(mut self, questions: &mpsc::Receiver<Question>, stop: &AtomicBool) {
        let mut buffer = [0; 2000];
        while !stop.load(Ordering::Relaxed) {
            for (line, body, reply) in questions.try_iter() {
                let _ = reply.send(self.signal(&line, &body));
            }
            if let Ok((length, source)) = self.socket.recv_from(&mut buffer) {
                let receive = Receive::new(Protocol::Udp, source, self.address, &buffer[..length]).unwrap();
                let input = Input::Receive(Instant::now(), receive);
                if let Some(session) = self
                    .sessions
                    .iter_mut()
                    .find(|session| session.rtc.accepts(&input))
                {
                    session.rtc.handle_input(input).unwrap();
                }
            }
            self.turn();
            while self
                .waiting
                .front()
                .is_some_and(|(due, _)| *due <= Instant::now())
            {
                let (_, packet) = self.waiting.pop_front().unwrap();
                self.forward(&packet);
            }
        }
    }

    fn signal(&mut self, head: &str, body: &str) -> String {
        let empty =
            |status: &str| format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        if let Some(token) = self.faults.token
            && !head
                .to_lowercase()
                .contains(&format!("authorization: bearer {token}"))
        {
            return empty("401 Unauthorized");
        }
        if self.faults.odd_habits && head.starts_with("POST") && !head.starts_with("POST /moved") {
            let path = head.split(' ').nth(1).unwrap();
            let status = format!("307 Temporary Redirect\r\nLocation: /moved{path}");
            return empty(&status);
        }
        if head.starts_with("DELETE") {
            return empty("200 OK");
        }
        if let Some(number) = head.strip_prefix("PATCH /s/") {
            let number: usize = number.split(' ').next().unwrap().parse().unwrap();
            let session = &mut self.sessions[number - 1];
            let answer = SdpAnswer::from_sdp_string(body).unwrap();
            session
                .rtc
                .sdp_api()
                .accept_answer(session.pending.take().unwrap(), answer)
                .unwrap();
            let media = session.rtc.media(session.mid.unwrap()).unwrap();
            session.pt = media.remote_pts().first().copied();
            return empty("204 No Content");
        }
        self.join(head, body)
    }

    fn join(&mut self, head: &str, body: &str) -> String {
        let publisher = head.contains("/whip");
        let viewers = self.sessions.iter().filter(|session| !session.publisher).count();
        if !publisher && self.faults.viewers_max.is_some_and(|max| viewers >= max) {
            return "HTTP/1.1 503 Service Unavailable\r\n\r\nfull".into();
        }
        let second = head.contains("/whep2");
        let there = self.sessions.iter().filter(|session| session.second).count();
        if second && self.faults.second_viewers_max.is_some_and(|max| there >= max) {
            return "HTTP/1.1 503 Service Unavailable\r\n\r\nfull".into();
        }
        let mut rtc = Rtc::builder()
            .set_rtp_mode(true)
            .set_ice_lite(true)
            .build(Instant::now());
        rtc.add_local_candidate(Candidate::host(self.address, "udp").unwrap());
        let (mut mid, mut pending) = (None, None);
        let (status, sdp) = if self.faults.counter_offer && !publisher {
            let mut api = rtc.sdp_api();
            mid = Some(api.add_media(MediaKind::Video, Direction::SendOnly, None, None, None));
            let (offer, waits) = api.apply().unwrap();
            pending = Some(waits);
            ("406 Not Acceptable", offer.to_sdp_string())
        } else {
            let offer = SdpOffer::from_sdp_string(body).unwrap();
            let answer = rtc.sdp_api().accept_offer(offer).unwrap();
            let status = if self.faults.odd_habits {
                "200 OK"
            } else {
                "201 Created"
            };
            (status, answer.to_sdp_string())
        };
        self.sessions.push(Session {
            rtc,
            publisher,
            second,
            mid,
            pt: None,
            pending,
        });
        // Relative to `/moved/whip` and to `/moved/whep/1`.
        let base = match (self.faults.odd_habits, publisher) {
            (false, _) => "/",
            (true, true) => "../",
            (true, false) => "../../",
        };
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/sdp\r\nLocation: {base}s/{}\r\nConnection: close\r\n\r\n{sdp}",
            self.sessions.len(),
        )
    }

    fn turn(&mut self) {
        let now = Instant::now();
        let mut joined = false;
        let mut outgoing = Vec::new();
        for session in &mut self.sessions {
            session.rtc.handle_input(Input::Timeout(now)).unwrap();
            loop {
                match session.rtc.poll_output().unwrap() {
                    Output::Timeout(_) => break,
                    Output::Transmit(transmit) => {
                        let is_media = !session.publisher && is_rtp(&transmit.contents);
                        outgoing.push((transmit.contents.to_vec(), transmit.destination, is_media));
                    }
                    Output::Event(Event::MediaAdded(media)) => {
                        session.mid = Some(media.mid);
                        session.pt = session
                            .rtc
                            .media(media.mid)
                            .unwrap()
                            .remote_pts()
                            .first()
                            .copied();
                    }
                    Output::Event(Event::Connected) => joined |= !session.publisher,
                    Output::Event(Event::RtpPacket(packet)) => {
                        self.waiting.push_back((now + self.faults.delay, packet));
                    }
                    Output::Event(_) => {}
                }
            }
        }
        for (datagram, to, is_media) in outgoing {
            if is_media {
                self.send_media(datagram, to);
            } else {
                self.socket.send_to(&datagram, to).unwrap();
            }
        }
        if joined {
            self.ask_for_keyframe();
        }
    }

    fn send_media(&mut self, mut datagram: Vec<u8>, to: SocketAddr) {
        self.sent += 1;
        let now = |every: Option<u64>| every.is_some_and(|every| self.sent.is_multiple_of(every));
        if self.faults.wrong_key {
            *datagram.last_mut().unwrap() ^= 0x55;
        }
        if now(self.faults.swap_every) && self.held.is_none() {
            self.held = Some((datagram, to));
            return;
        }
        self.socket.send_to(&datagram, to).unwrap();
        if now(self.faults.repeat_every) {
            self.socket.send_to(&datagram, to).unwrap();
        }
        if let Some((datagram, to)) = self.held.take() {
            self.socket.send_to(&datagram, to).unwrap();
        }
    }

    fn ask_for_keyframe(&mut self) {
        for session in self.sessions.iter_mut().filter(|session| session.publisher) {
            let Some(mid) = session.mid else { continue };
            if let Some(stream) = session.rtc.direct_api().stream_rx_by_mid(mid, None) {
                stream.request_keyframe(KeyframeRequestKind::Pli);
            }
        }
    }

    fn forward(&mut self, packet: &RtpPacket) {
        self.count += 1;
        let since = self.began.elapsed();
        if self
            .faults
            .pause
            .is_some_and(|(from, length)| since >= from && since < from + length)
        {
            self.paused += 1;
            return;
        }
        if self
            .faults
            .lose_every
            .is_some_and(|every| self.count.is_multiple_of(every))
        {
            return;
        }
        for session in self.sessions.iter_mut().filter(|session| !session.publisher) {
            let (Some(mid), Some(pt)) = (session.mid, session.pt) else {
                continue;
            };
            let loses = self.faults.second_loses_every;
            if session.second && loses.is_some_and(|every| self.count.is_multiple_of(every)) {
                continue;
            }
            let mut api = session.rtc.direct_api();
            let Some(stream) = api.stream_tx_by_mid(mid, None) else {
                continue;
            };
            let time = packet.header.timestamp;
            let sequence = SeqNo::from(*packet.seq_no - self.paused);
            let write = RtpWrite::new(pt, sequence, time, Instant::now(), packet.payload.clone());
            stream.write_rtp(write.marker(packet.header.marker));
        }
    }
}

/// RFC 7983 and RFC 5761: media, not RTCP.
fn is_rtp(datagram: &[u8]) -> bool {
    matches!(datagram, [128..=191, second, ..] if !(64..=95).contains(&(second & 0x7F)))
}

fn broadcast(port: u16, more: &[&str]) -> Finished {
    Command::new(env!("CARGO_BIN_EXE_weever-loadgen"))
        .args(["broadcast", "--whip", &format!("http://127.0.0.1:{port}/whip")])
        .args(["--whep", &format!("http://127.0.0.1:{port}/whep/{{n}}")])
        .args(more)
        .output()
        .unwrap()
}

fn report(finished: &Finished) -> serde_json::Value {
    serde_json::from_slice(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

/// For what depends on the clock: a shared machine may stall for a moment, a fault of ours comes every time.
fn in_one_of_three(check: impl Fn() -> bool) {
    assert!((0..3).any(|_| check()), "three times in a row");
}

#[test]
fn nothing_is_lost_on_a_good_server() {
    let server = Server::start(Faults::default());
    let pid = std::process::id().to_string();
    let finished = broadcast(
        server.port,
        &["--json", "--viewers", "3", "--seconds", "2", "--server-pid", &pid],
    );
    assert!(finished.status.success(), "{finished:?}");
    let report = report(&finished);
    assert_eq!(report["viewers"]["with_media"], 3, "{report}");
    assert_eq!(
        (report["lost"].as_u64(), report["foreign_packets"].as_u64()),
        (Some(0), Some(0)),
        "{report}"
    );
    // 1 Mbit/s in packets of at most 1100 bytes is about 120 a second.
    assert!(report["packets"].as_u64().unwrap() > 3 * 100, "{report}");
    for name in ["join_ms", "first_packet_ms", "first_keyframe_ms"] {
        assert_eq!(report[name]["count"], 3, "{name}: {report}");
    }
    assert!(report["server_ns_per_packet"].as_f64().unwrap() > 0.0, "{report}");
}

#[test]
fn one_percent_loss_reads_as_one_percent() {
    let server = Server::start(Faults {
        lose_every: Some(100),
        ..Faults::default()
    });
    let finished = broadcast(server.port, &["--json", "--seconds", "5", "--bitrate", "4000"]);
    let report = report(&finished);
    let loss = report["loss_percent"].as_f64().unwrap();
    assert!(
        report["packets"].as_u64().unwrap() > 1000 && (0.9..=1.1).contains(&loss),
        "{report}"
    );
}

#[test]
fn fifty_milliseconds_read_as_fifty() {
    in_one_of_three(|| {
        let server = Server::start(Faults {
            delay: Duration::from_millis(50),
            ..Faults::default()
        });
        let finished = broadcast(server.port, &["--json", "--seconds", "2"]);
        let report = report(&finished);
        let delay = report["delay_ms"]["p50"].as_f64().unwrap();
        println!("{delay} ms");
        (50.0..80.0).contains(&delay)
    });
}

#[test]
fn a_frozen_publisher_reads_as_a_freeze() {
    in_one_of_three(|| {
        // In the middle of the measured seconds: they begin about three seconds after the server.
        let server = Server::start(Faults {
            pause: Some((Duration::from_secs(5), Duration::from_millis(900))),
            ..Faults::default()
        });
        let finished = broadcast(server.port, &["--json", "--viewers", "2", "--seconds", "6"]);
        let report = report(&finished);
        let frozen = report["frozen_seconds"].as_f64().unwrap();
        println!("{} freezes, {frozen} s", report["freezes"]);
        report["freezes"] == 2 && (1.6..2.6).contains(&frozen)
    });
}

#[test]
fn an_even_stream_has_no_freeze_and_nothing_out_of_order() {
    in_one_of_three(|| {
        let server = Server::start(Faults::default());
        let finished = broadcast(server.port, &["--json", "--seconds", "3", "--verify", "all"]);
        let report = report(&finished);
        for name in ["reordered", "duplicates", "auth_failures", "recovered"] {
            assert_eq!(report[name], 0, "{name}: {report}");
        }
        assert_eq!(report["verified_packets"], report["packets"], "{report}");
        println!("{} freezes", report["freezes"]);
        report["freezes"] == 0
    });
}

#[test]
fn a_wrong_key_reads_as_authentication_failures() {
    let server = Server::start(Faults {
        wrong_key: true,
        ..Faults::default()
    });
    let finished = broadcast(server.port, &["--json", "--seconds", "2"]);
    assert!(!finished.status.success());
    let report = report(&finished);
    assert!(report["auth_failures"].as_u64().unwrap() > 50, "{report}");
    assert_eq!(
        (
            report["packets"].as_u64(),
            report["viewers"]["with_media"].as_u64()
        ),
        (Some(0), Some(0)),
        "{report}"
    );
}

#[test]
fn an_impaired_way_reads_as_what_it_did() {
    let server = Server::start(Faults::default());
    let finished = broadcast(
        server.port,
        &[
            "--json",
            "--viewers",
            "3",
            "--seconds",
            "5",
            "--bitrate",
            "4000",
            "--no-nack",
            "--impair",
            "loss=1%,delay=50ms,on=media",
        ],
    );
    let report = report(&finished);
    let count = |name: &str| report["impaired_to_viewers"][name].as_f64().unwrap();
    // Since the run began, the joining with it: the share is the same.
    let injected = count("lost") / (count("lost") + count("passed")) * 100.0;
    let loss = report["loss_percent"].as_f64().unwrap();
    assert!((0.7..1.3).contains(&injected), "{report}");
    assert!((loss - injected).abs() < 0.25, "{loss} of {injected}: {report}");
    let delay = report["delay_ms"]["p50"].as_f64().unwrap();
    assert!((50.0..80.0).contains(&delay), "{report}");
    assert_eq!(
        report["about"]["impairment"]["to viewers"],
        "loss=0.01,delay=50ms,on=media"
    );
}

#[test]
fn packets_that_come_twice_or_late_are_counted() {
    let server = Server::start(Faults {
        repeat_every: Some(50),
        swap_every: Some(33),
        ..Faults::default()
    });
    let finished = broadcast(
        server.port,
        &["--json", "--seconds", "3", "--bitrate", "3000", "--no-nack"],
    );
    let report = report(&finished);
    let packets = report["packets"].as_u64().unwrap() as f64;
    let share = |name: &str| report[name].as_u64().unwrap() as f64 / packets * 100.0;
    assert!((1.5..2.5).contains(&share("duplicates")), "{report}");
    assert!((2.5..3.5).contains(&share("reordered")), "{report}");
    assert_eq!(report["lost"], 0, "{report}");
}

#[test]
fn a_bound_that_breaks_fails_the_run_and_says_so() {
    let server = Server::start(Faults {
        delay: Duration::from_millis(50),
        ..Faults::default()
    });
    let holds = broadcast(
        server.port,
        &["--seconds", "2", "--max-delay", "200", "--max-loss", "0.1"],
    );
    assert!(holds.status.success(), "{holds:?}");
    let breaks = broadcast(server.port, &["--seconds", "2", "--max-delay", "20"]);
    let table = String::from_utf8(breaks.stdout).unwrap();
    assert!(
        !breaks.status.success() && table.contains("BROKEN: p99 delay"),
        "{table}"
    );
}

#[test]
fn servers_may_have_habits_of_their_own() {
    let server = Server::start(Faults {
        odd_habits: true,
        ..Faults::default()
    });
    let finished = broadcast(server.port, &["--json", "--seconds", "2"]);
    assert!(finished.status.success(), "{finished:?}");
    assert_eq!(report(&finished)["viewers"]["with_media"], 1);
}

/// Asked once, with an answer that nobody can use, a client leaves the session that the server made.
#[test]
fn a_session_whose_answer_is_of_no_use_is_left() {
    for answer in ["v=0\r\n", "not SDP"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (ask, questions) = mpsc::channel::<Question>();
        let stop = Arc::new(AtomicBool::new(false));
        listener.set_nonblocking(true).unwrap();
        let stopped = stop.clone();
        let http = thread::spawn(move || serve_http(&listener, &ask, &stopped));
        let server = thread::spawn(move || {
            let mut asked = Vec::new();
            for (head, _, reply) in questions {
                let line = head.lines().next().unwrap();
                let response = match line.starts_with("POST") {
                    true => format!(
                        "HTTP/1.1 201 Created\r\nLocation: /session/7\r\nContent-Type: application/sdp\r\n\
                         Content-Length: {}\r\nConnection: close\r\n\r\n{answer}",
                        answer.len()
                    ),
                    false => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
                };
                let _ = reply.send(response);
                asked.push(line.to_owned());
            }
            asked
        });
        let finished = broadcast(port, &["--seconds", "2"]);
        stop.store(true, Ordering::Relaxed);
        http.join().unwrap();
        assert!(!finished.status.success(), "{finished:?}");
        assert_eq!(
            server.join().unwrap()[1..],
            ["DELETE /session/7 HTTP/1.1"],
            "{answer:?}"
        );
    }
}

#[test]
fn a_counter_offer_is_answered() {
    let server = Server::start(Faults {
        counter_offer: true,
        ..Faults::default()
    });
    let finished = broadcast(server.port, &["--json", "--seconds", "2", "--viewers", "2"]);
    assert!(finished.status.success(), "{finished:?}");
    let report = report(&finished);
    assert_eq!(
        (
            report["viewers"]["with_media"].as_u64(),
            report["first_keyframe_ms"]["count"].as_u64()
        ),
        (Some(2), Some(2)),
        "{report}"
    );
}

#[test]
fn a_token_lets_in_and_its_lack_is_told() {
    let server = Server::start(Faults {
        token: Some("s3cret"),
        ..Faults::default()
    });
    let refused = broadcast(server.port, &["--seconds", "2"]);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(
        !refused.status.success() && told.contains("401") && told.contains("--token"),
        "{told}"
    );
    let html = std::env::temp_dir().join(format!("loadgen-{}.html", server.port));
    let page = html.to_str().unwrap();
    let admitted = broadcast(
        server.port,
        &["--seconds", "2", "--json", "--token", "s3cret", "--html", page],
    );
    assert!(admitted.status.success(), "{admitted:?}");
    let page = std::fs::read_to_string(&html).unwrap();
    std::fs::remove_file(&html).unwrap();
    assert!(page.contains("<svg") && page.contains("--token ***"));
    // Reports travel; tokens must not.
    let json = String::from_utf8(admitted.stdout).unwrap();
    assert!(!json.contains("s3cret") && !page.contains("s3cret"));
}

fn run(scenario: &str, port: u16, more: &[&str]) -> serde_json::Value {
    let finished = Command::new(env!("CARGO_BIN_EXE_weever-loadgen"))
        .args([
            scenario,
            "--json",
            "--whip",
            &format!("http://127.0.0.1:{port}/whip?{{p}}"),
        ])
        .args(["--whep", &format!("http://127.0.0.1:{port}/whep/{{n}}")])
        .args(more)
        .output()
        .unwrap();
    assert!(finished.status.success(), "{finished:?}");
    report(&finished)
}

#[test]
fn capacity_is_where_the_server_refuses() {
    let server = Server::start(Faults {
        viewers_max: Some(7),
        ..Faults::default()
    });
    let report = run(
        "capacity",
        server.port,
        &[
            "--start",
            "3",
            "--step",
            "3",
            "--seconds",
            "2",
            "--confirm",
            "2",
            "--max-delay",
            "1000",
            "--viewers",
            "50",
        ],
    );
    let capacity = &report["capacity"];
    let found = capacity["viewers"].as_u64().unwrap();
    assert!(
        (3..=7).contains(&found) && capacity["confirmed"] == true,
        "{capacity}"
    );
    let limits = capacity["limited_by"].to_string();
    assert!(limits.contains("failed"), "{limits}");
    assert!(report["steps"].as_array().unwrap().len() >= 4);
}

#[test]
fn viewers_come_and_go() {
    let server = Server::start(Faults::default());
    let report = run(
        "churn",
        server.port,
        &["--viewers", "6", "--stay", "2", "--seconds", "5"],
    );
    // Six at the start; as many again come every two seconds.
    let joins = report["join_ms"]["count"].as_u64().unwrap();
    assert!((10..40).contains(&joins), "{report}");
    assert_eq!(
        (report["lost"].as_u64(), report["viewers"]["failed"].as_u64()),
        (Some(0), Some(0)),
        "{report}"
    );
}

#[test]
fn a_long_run_is_told_in_intervals() {
    let server = Server::start(Faults::default());
    let report = run(
        "soak",
        server.port,
        &["--viewers", "2", "--seconds", "6", "--interval", "2"],
    );
    let steps = report["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 3);
    assert!(
        steps.iter().all(|step| step["packets"].as_u64().unwrap() > 300),
        "{report}"
    );
    assert!(
        report["trend"]["server_mib_per_hour"].is_null(),
        "too short for a trend"
    );
}

/// Two nodes, of which the second is the same server under another path.
fn of_two_nodes(port: u16, more: &[&str]) -> Finished {
    let node = |path: &str| format!("http://127.0.0.1:{port}/{path}/{{n}}");
    Command::new(env!("CARGO_BIN_EXE_weever-loadgen"))
        .args(["broadcast", "--whip", &format!("http://127.0.0.1:{port}/whip")])
        .args(["--whep", &format!("{},{}", node("whep"), node("whep2"))])
        .args(more)
        .output()
        .unwrap()
}

#[test]
fn each_node_has_figures_of_its_own() {
    let server = Server::start(Faults {
        second_loses_every: Some(400),
        ..Faults::default()
    });
    let html = std::env::temp_dir().join(format!("loadgen-nodes-{}.html", server.port));
    let finished = of_two_nodes(
        server.port,
        &[
            "--json",
            "--viewers",
            "5",
            "--seconds",
            "6",
            "--bitrate",
            "3000",
            "--gop",
            "30",
            "--html",
            html.to_str().unwrap(),
        ],
    );
    let page = std::fs::read_to_string(&html).unwrap();
    std::fs::remove_file(&html).unwrap();
    let report = report(&finished);
    let nodes = report["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 2, "{report}");
    for (node, (path, viewers)) in nodes.iter().zip([("whep", 3), ("whep2", 2)]) {
        let name = format!("http://127.0.0.1:{}/{path}/{{n}}", server.port);
        assert_eq!(node["node"], name);
        assert_eq!(node["viewers"]["with_media"], viewers, "{node}");
        assert_eq!(node["viewers"]["asked"], viewers, "{node}");
        assert_eq!(node["join_ms"]["count"], viewers, "{node}");
        assert!(node["delay_ms"]["p99"].as_f64().unwrap() > 0.0, "{node}");
        assert!(page.contains(&format!("<td>{name}</td>")), "{page}");
    }
    assert_eq!(nodes[0]["lost"], 0, "{report}");
    let loss = nodes[1]["loss_percent"].as_f64().unwrap();
    assert!((0.1..0.5).contains(&loss), "{report}");
    // After a hole the picture stands until the next keyframe, a second away at most.
    assert!(nodes[1]["freezes"].as_u64() > Some(0), "{report}");
    for name in ["packets", "lost"] {
        let parts: u64 = nodes.iter().map(|node| node[name].as_u64().unwrap()).sum();
        assert_eq!(report[name].as_u64(), Some(parts), "{name}: {report}");
    }
}

#[test]
fn who_was_refused_is_told_with_the_node() {
    let server = Server::start(Faults {
        second_viewers_max: Some(1),
        ..Faults::default()
    });
    let finished = of_two_nodes(server.port, &["--viewers", "4", "--seconds", "2"]);
    let table = String::from_utf8(finished.stdout).unwrap();
    assert!(!finished.status.success());
    let second = format!("http://127.0.0.1:{}/whep2/{{n}}", server.port);
    let told = format!("viewer 4 at {second}: ");
    assert!(table.contains(&told) && table.contains("503: full"), "{table}");
    let row = |node: &str| -> Vec<String> {
        let found = table.lines().find(|line| line.starts_with(&format!("{node} ")));
        let words = found.unwrap_or_else(|| panic!("no row of {node}: {table}"));
        words.split_whitespace().map(str::to_owned).collect()
    };
    let first = row(&format!("http://127.0.0.1:{}/whep/{{n}}", server.port));
    assert_eq!(first[1..3], ["2", "0"], "{table}");
    assert_eq!(row(&second)[1..3], ["1", "1"], "{table}");
}

#[test]
fn of_one_server_nothing_is_said_twice() {
    let server = Server::start(Faults::default());
    let finished = broadcast(server.port, &["--seconds", "2", "--json"]);
    assert!(report(&finished).get("nodes").is_none(), "{finished:?}");
    let finished = broadcast(server.port, &["--seconds", "2"]);
    let table = String::from_utf8(finished.stdout).unwrap();
    assert!(
        !table.contains("node") && table.contains("1 connected"),
        "{table}"
    );
}

#[test]
fn viewers_that_are_refused_fail_the_run() {
    let server = Server::start(Faults {
        viewers_max: Some(1),
        ..Faults::default()
    });
    let finished = broadcast(server.port, &["--viewers", "3", "--seconds", "2"]);
    let table = String::from_utf8(finished.stdout).unwrap();
    assert!(!finished.status.success());
    assert!(
        table.contains("1 connected, 1 with media, 2 failed") && table.contains("503: full"),
        "{table}"
    );
}

#[test]
fn mistakes_are_told_plainly() {
    let told = |arguments: &[&str]| {
        let finished = Command::new(env!("CARGO_BIN_EXE_weever-loadgen"))
            .args(arguments)
            .output()
            .unwrap();
        assert!(!finished.status.success());
        String::from_utf8(finished.stderr).unwrap()
    };
    // The near end of a connection holds its port and does not listen on it.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let holder = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let closed = holder.local_addr().unwrap();
    let url = format!("http://{closed}/pub/room/x");
    let unreachable = told(&["broadcast", "--whip", &url, "--whep", &url]);
    assert!(
        unreachable.contains(&format!("can't reach {closed}")),
        "{unreachable}"
    );
    let same_name = told(&["broadcast", "--whip", &url, "--whep", &url, "--viewers", "2"]);
    assert!(same_name.contains("{n}"), "{same_name}");
    let no_url = told(&["broadcast", "--whip", "localhost", "--whep", &url]);
    assert!(
        no_url.contains("--whip") && no_url.contains("http://"),
        "{no_url}"
    );
    let no_process = told(&[
        "broadcast",
        "--whip",
        &url,
        "--whep",
        &url,
        "--server-pid",
        "4294967295",
    ]);
    assert!(no_process.contains("no such process"), "{no_process}");
}
