//! The sockets between clients and the server.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token, Waker};
use serde::Serialize;
use socket2::{Domain, Socket, Type};

use super::Impairment;
use super::link::{Fate, Link};

const WAKER: Token = Token(usize::MAX);
const MAX_DATAGRAM: usize = 2048;
const SOCKET_BUFFER: usize = 2 * 1024 * 1024;
/// Datagrams that wait, of all routes: a second of a gigabit.
const WAITING_MAX: usize = 100_000;
/// The kernel's timer is coarser than what is to be measured: the last bit is waited for awake.
const AWAKE: Duration = Duration::from_millis(1);
/// How often it is looked whether a NAT is to forget, or a client gone.
const IDLE: Duration = Duration::from_millis(50);
/// A client that has said nothing for so long is gone: those that are there send reports each second.
const GONE: Duration = Duration::from_secs(60);

/// What happened to one direction's datagrams.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) lost: u64,
    pub(crate) overflowed: u64,
    pub(crate) repeated: u64,
    /// The other side's socket was full or closed.
    pub(crate) not_sent: u64,
}

#[derive(Debug, Default)]
struct Counters([AtomicU64; 5]);

impl Counters {
    fn add(&self, which: usize) {
        self.0[which].fetch_add(1, Ordering::Relaxed);
    }

    fn now(&self) -> Counts {
        let [passed, lost, overflowed, repeated, not_sent] =
            std::array::from_fn(|which| self.0[which].load(Ordering::Relaxed));
        Counts {
            passed,
            lost,
            overflowed,
            repeated,
            not_sent,
        }
    }
}

const PASSED: usize = 0;
const LOST: usize = 1;
const OVERFLOWED: usize = 2;
const REPEATED: usize = 3;
const NOT_SENT: usize = 4;

/// A running proxy. Dropped, it ends.
pub(crate) struct Proxy {
    new: Sender<Route>,
    waker: Arc<Waker>,
    stop: Arc<std::sync::atomic::AtomicBool>,
    thread: Option<JoinHandle<()>>,
    to_server: Impairment,
    to_client: Impairment,
    seed: u64,
    counters: Arc<[Counters; 2]>,
}

impl Proxy {
    pub(crate) fn start(to_server: Impairment, to_client: Impairment, seed: u64) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (new, routes) = mpsc::channel();
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let counters: Arc<[Counters; 2]> = Arc::default();
        let turn = Turn::new(poll, routes, stop.clone(), counters.clone());
        let thread = thread::Builder::new()
            .name("impairment".into())
            .spawn(move || turn.run())?;
        Ok(Self {
            new,
            waker,
            stop,
            thread: Some(thread),
            to_server,
            to_client,
            seed,
            counters,
        })
    }

    /// A way to `server` for the client with this number: the address to send to instead.
    pub(crate) fn route(&self, number: u32, server: SocketAddr) -> io::Result<SocketAddr> {
        let (address, route) = self.make_route(number, server)?;
        let _ = self.new.send(route);
        self.waker.wake()?;
        Ok(address)
    }

    fn make_route(&self, number: u32, server: SocketAddr) -> io::Result<(SocketAddr, Route)> {
        let client_side = bind(server)?;
        let address = match (client_side.local_addr()?, server.is_ipv4()) {
            (bound, true) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), bound.port()),
            (bound, false) => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), bound.port()),
        };
        let server_side = connect(server)?;
        let seed = |direction: u64| self.seed ^ (u64::from(number) << 20) ^ (direction << 60);
        let route = Route {
            server,
            client: None,
            sockets: [client_side, server_side],
            links: [
                Link::new(self.to_server, seed(1)),
                Link::new(self.to_client, seed(2)),
            ],
            media_only: [self.to_server.media_only, self.to_client.media_only],
            rebind: self.to_server.rebind.or(self.to_client.rebind),
            bound: Instant::now(),
            heard: Instant::now(),
            forgotten: None,
        };
        Ok((address, route))
    }

    /// To the server, and to clients.
    pub(crate) fn counts(&self) -> (Counts, Counts) {
        (self.counters[0].now(), self.counters[1].now())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn bind(like: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match like {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = Socket::new(Domain::for_address(like), Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.bind(&SocketAddr::new(any, 0).into())?;
    Ok(UdpSocket::from_std(socket.into()))
}

fn connect(server: SocketAddr) -> io::Result<UdpSocket> {
    let socket = bind(server)?;
    socket.connect(server)?;
    Ok(socket)
}

/// Index of a direction, of the socket that it comes in by, and of its link.
const FROM_CLIENT: usize = 0;
const FROM_SERVER: usize = 1;

struct Route {
    server: SocketAddr,
    client: Option<SocketAddr>,
    sockets: [UdpSocket; 2],
    links: [Link; 2],
    media_only: [bool; 2],
    rebind: Option<Duration>,
    bound: Instant,
    /// When the client last sent.
    heard: Instant,
    /// Open, so that the server isn't told that nobody listens there any more; never read, as behind a NAT that forgot.
    forgotten: Option<UdpSocket>,
}

/// A datagram that waits, ordered by when it goes, then by when it came.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due: Duration,
    number: u64,
    route: usize,
    direction: usize,
    datagram: Vec<u8>,
}

struct Turn {
    poll: Poll,
    new: Receiver<Route>,
    stop: Arc<std::sync::atomic::AtomicBool>,
    counters: Arc<[Counters; 2]>,
    start: Instant,
    /// By number; those whose client is gone leave a hole.
    routes: Vec<Option<Box<Route>>>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    count: u64,
    /// When routes were last looked through.
    looked: Instant,
}

impl Turn {
    fn new(
        poll: Poll,
        new: Receiver<Route>,
        stop: Arc<std::sync::atomic::AtomicBool>,
        counters: Arc<[Counters; 2]>,
    ) -> Self {
        Self {
            poll,
            new,
            stop,
            counters,
            start: Instant::now(),
            routes: Vec::new(),
            waiting: BinaryHeap::new(),
            count: 0,
            looked: Instant::now(),
        }
    }

    fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; MAX_DATAGRAM];
        while !self.stop.load(Ordering::Relaxed) {
            let wait = self.waiting.peek().map_or(IDLE, |Reverse(first)| {
                let left = first.due.saturating_sub(self.start.elapsed());
                left.saturating_sub(AWAKE).min(IDLE)
            });
            // Interrupted: the next turn will do.
            let _ = self.poll.poll(&mut events, Some(wait));
            for event in &events {
                let Token(token) = event.token();
                if event.token() != WAKER {
                    self.receive(token / 2, token % 2, &mut buffer);
                }
            }
            while let Ok(route) = self.new.try_recv() {
                self.add(route);
            }
            self.send_due();
            let now = Instant::now();
            if now.saturating_duration_since(self.looked) >= IDLE {
                self.looked = now;
                self.rebind();
                self.forget_silent(now);
            }
        }
    }

    fn add(&mut self, mut route: Route) {
        let number = self.routes.len();
        for (direction, socket) in route.sockets.iter_mut().enumerate() {
            let token = Token(number * 2 + direction);
            // A socket that can't be watched loses everything: its client will say so.
            let _ = self.poll.registry().register(socket, token, Interest::READABLE);
        }
        self.routes.push(Some(Box::new(route)));
        // What came before it was watched.
        for direction in [FROM_CLIENT, FROM_SERVER] {
            self.receive(number, direction, &mut vec![0; MAX_DATAGRAM]);
        }
    }

    fn receive(&mut self, number: usize, direction: usize, buffer: &mut [u8]) {
        let Some(Some(route)) = self.routes.get_mut(number) else {
            return;
        };
        loop {
            let (length, source) = match route.sockets[direction].recv_from(buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(_) => return,
            };
            if direction == FROM_CLIENT {
                route.client = Some(source);
                route.heard = Instant::now();
            }
            let Some(datagram) = buffer.get(..length) else {
                continue;
            };
            let now = self.start.elapsed();
            let is_media = matches!(datagram.first(), Some(128..=191));
            let fate = if route.media_only[direction] && !is_media {
                Fate::Goes(now)
            } else {
                route.links[direction].pass(now, length)
            };
            let counters = &self.counters[direction];
            let (due, copies) = match fate {
                Fate::Lost => {
                    counters.add(LOST);
                    continue;
                }
                Fate::Overflowed => {
                    counters.add(OVERFLOWED);
                    continue;
                }
                Fate::Goes(due) => (due, 1),
                Fate::GoesTwice(due) => {
                    counters.add(REPEATED);
                    (due, 2)
                }
            };
            for _ in 0..copies {
                if self.waiting.len() >= WAITING_MAX {
                    counters.add(OVERFLOWED);
                    continue;
                }
                self.count += 1;
                self.waiting.push(Reverse(Waiting {
                    due,
                    number: self.count,
                    route: number,
                    direction,
                    datagram: datagram.to_vec(),
                }));
            }
        }
    }

    fn send_due(&mut self) {
        while let Some(Reverse(first)) = self.waiting.peek() {
            let left = first.due.saturating_sub(self.start.elapsed());
            if left > AWAKE {
                return;
            }
            if !left.is_zero() {
                std::hint::spin_loop();
                continue;
            }
            let Some(Reverse(waiting)) = self.waiting.pop() else {
                return;
            };
            let Some(Some(route)) = self.routes.get(waiting.route) else {
                continue;
            };
            let counters = &self.counters[waiting.direction];
            let sent = match (waiting.direction, route.client) {
                (FROM_CLIENT, _) => route.sockets[FROM_SERVER].send(&waiting.datagram),
                (_, Some(client)) => route.sockets[FROM_CLIENT].send_to(&waiting.datagram, client),
                (_, None) => continue,
            };
            counters.add(if sent.is_ok() { PASSED } else { NOT_SENT });
        }
    }

    /// NATs forget: a new socket towards the server, and what comes to the old one is lost.
    fn rebind(&mut self) {
        for (number, route) in self.routes.iter_mut().enumerate() {
            let Some(route) = route else { continue };
            let due = route.rebind.is_some_and(|every| route.bound.elapsed() >= every);
            if !due {
                continue;
            }
            route.bound = Instant::now();
            let Ok(mut socket) = connect(route.server) else {
                continue;
            };
            let registry = self.poll.registry();
            let _ = registry.deregister(&mut route.sockets[FROM_SERVER]);
            let _ = registry.register(&mut socket, Token(number * 2 + FROM_SERVER), Interest::READABLE);
            route.forgotten = Some(std::mem::replace(&mut route.sockets[FROM_SERVER], socket));
        }
    }

    /// Closes the sockets of clients that are gone.
    fn forget_silent(&mut self, now: Instant) {
        for route in &mut self.routes {
            let silent = |route: &Route| now.saturating_duration_since(route.heard) > GONE;
            if route.as_deref().is_some_and(silent) {
                // Closed, they leave the poll by themselves.
                *route = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket as StdSocket;

    use super::*;

    fn socket() -> StdSocket {
        let socket = StdSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket
    }

    fn proxy(to_server: &str, to_client: &str) -> Proxy {
        Proxy::start(to_server.parse().unwrap(), to_client.parse().unwrap(), 1).unwrap()
    }

    fn receive(socket: &StdSocket) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 100];
        let (length, source) = socket.recv_from(&mut buffer).unwrap();
        (buffer[..length].to_vec(), source)
    }

    #[test]
    fn datagrams_go_both_ways_and_take_their_time() {
        let proxy = proxy("", "delay=50ms");
        let (server, client) = (socket(), socket());
        let way = proxy.route(1, server.local_addr().unwrap()).unwrap();
        client.send_to(b"there", way).unwrap();
        let (datagram, source) = receive(&server);
        assert_eq!(datagram, b"there");
        let sent = Instant::now();
        server.send_to(b"back", source).unwrap();
        assert_eq!(receive(&client), (b"back".to_vec(), way));
        let took = sent.elapsed().as_secs_f64() * 1e3;
        assert!(took >= 49.9, "{took} ms");
        // What was sent is counted a moment later.
        while proxy.counts().1.passed == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        let (there, back) = proxy.counts();
        assert_eq!((there.passed, back.passed), (1, 1));
    }

    #[test]
    fn what_is_lost_is_counted_and_handshakes_may_pass() {
        let proxy = proxy("loss=100%,on=media", "");
        let (server, client) = (socket(), socket());
        let way = proxy.route(1, server.local_addr().unwrap()).unwrap();
        client.send_to(&[0x80, 1], way).unwrap();
        client.send_to(&[22, 1], way).unwrap();
        assert_eq!(receive(&server).0, [22, 1]);
        assert_eq!(proxy.counts().0.lost, 1);
    }

    #[test]
    fn a_nat_that_forgets_gives_a_new_port() {
        let proxy = proxy("rebind=100ms", "");
        let (server, client) = (socket(), socket());
        let way = proxy.route(1, server.local_addr().unwrap()).unwrap();
        client.send_to(b"1", way).unwrap();
        let (_, first) = receive(&server);
        thread::sleep(Duration::from_millis(300));
        client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        // An answer may meet the next rebind on its way: it is lost then, as behind a NAT.
        let answered = (0..20).any(|_| {
            client.send_to(b"2", way).unwrap();
            let (datagram, source) = receive(&server);
            assert_eq!(datagram, b"2");
            assert_ne!(source.port(), first.port());
            server.send_to(b"back", source).unwrap();
            client.recv(&mut [0; 4]).is_ok()
        });
        assert!(answered);
    }

    #[test]
    fn who_is_silent_for_long_is_forgotten() {
        let proxy = proxy("", "");
        let (_sender, routes) = mpsc::channel();
        let mut turn = Turn::new(Poll::new().unwrap(), routes, Arc::default(), Arc::default());
        let server = socket();
        for number in 0..2 {
            let (_, route) = proxy.make_route(number, server.local_addr().unwrap()).unwrap();
            turn.add(route);
        }
        let now = Instant::now() + GONE;
        turn.routes[1].as_mut().unwrap().heard = now;
        turn.forget_silent(now + Duration::from_secs(1));
        assert!(turn.routes[0].is_none() && turn.routes[1].is_some());
    }

    #[test]
    fn a_clients_fate_does_not_depend_on_others() {
        let fates = |numbers: &[u32]| {
            let proxy = proxy("loss=50%", "");
            let server = socket();
            let mut got = Vec::new();
            for (already, number) in (0..).step_by(50).zip(numbers) {
                let client = socket();
                let way = proxy.route(*number, server.local_addr().unwrap()).unwrap();
                for count in 0..50u8 {
                    client
                        .send_to(&[u8::try_from(*number).unwrap(), count], way)
                        .unwrap();
                }
                let decided = || {
                    let Counts { passed, lost, .. } = proxy.counts().0;
                    passed + lost == already + 50
                };
                while !decided() {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            server.set_nonblocking(true).unwrap();
            let mut buffer = [0; 10];
            while let Ok(length) = server.recv(&mut buffer) {
                got.push(buffer[..length].to_vec());
            }
            got.retain(|datagram| datagram[0] == 2);
            got
        };
        let alone = fates(&[2]);
        assert_eq!(alone, fates(&[1, 2]));
        assert!((10..40).contains(&alone.len()));
    }
}
