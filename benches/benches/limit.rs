//! The limit: seal and send, and nothing else. What a worker costs more than this is ours to save; what it can't get
//! below is the cipher's and the kernel's.
//!
//! A thousand viewers with keys and sockets of their own; each burst of ten packets is sealed side by side into a send slot and
//! handed to the kernel as one GSO send, or as ten single ones. The receiving sockets are never read: what doesn't fit is
//! dropped by the kernel after all the work of sending. With `paced`, a frame goes thirty times a second, and another core
//! reads the sockets: keys, slots and the kernel's memory have then left the caches in part, as they have for a worker
//! that has time to sleep.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use weever_benches::packets;
use weever_core::{Protect, SrtpProfile};
use weever_uring::{AnyOutbound, Inbound, IoChoice, MediaSocket, Outbound, SocketIndex, bind, open};

const VIEWERS: usize = 1000;
const BURST: usize = 10;
/// 30 frames a second.
const FRAME_INTERVAL: Duration = Duration::from_millis(33);

/// The core of the reader; the bench itself is to be kept on another, by `taskset`.
const READERS_CORE: usize = 1;

struct Viewer {
    protect: Protect,
    address: SocketAddr,
}

/// What holds the receiving sockets.
enum Sinks {
    Unread(Vec<UdpSocket>),
    Read {
        stop: Arc<AtomicBool>,
        reader: Option<JoinHandle<()>>,
    },
}

impl Sinks {
    fn unread() -> (Self, Vec<SocketAddr>) {
        let sockets: Vec<_> = (0..VIEWERS)
            .map(|_| UdpSocket::bind("127.0.0.1:0").expect("a socket for each viewer: raise `ulimit -n`"))
            .collect();
        let addresses = sockets.iter().map(|socket| socket.local_addr().expect("bound"));
        let addresses = addresses.collect();
        (Self::Unread(sockets), addresses)
    }

    fn read() -> (Self, Vec<SocketAddr>) {
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, told) = mpsc::channel();
        let stopped = Arc::clone(&stop);
        let reader = std::thread::spawn(move || {
            weever_uring::pin_to_cpu(READERS_CORE).expect("two cores");
            let mut sockets: Vec<MediaSocket> = (0..VIEWERS)
                .map(|_| {
                    let bound = bind(&["127.0.0.1:0".parse().expect("an address")]).expect("loopback");
                    tell.send(bound.addresses()[0]).expect("the bench waits");
                    open(bound, IoChoice::Syscalls).expect("system calls")
                })
                .collect();
            drop(tell);
            while !stopped.load(Ordering::Relaxed) {
                for socket in &mut sockets {
                    socket.inbound.receive(256, |_| {}).expect("a socket");
                }
            }
        });
        let addresses = told.iter().collect();
        let reader = Some(reader);
        (Self::Read { stop, reader }, addresses)
    }
}

impl Drop for Sinks {
    fn drop(&mut self) {
        match self {
            Self::Unread(sockets) => sockets.clear(),
            Self::Read { stop, reader } => {
                stop.store(true, Ordering::Relaxed);
                if let Some(reader) = reader.take() {
                    reader.join().expect("the reader");
                }
            }
        }
    }
}

fn viewers(addresses: Vec<SocketAddr>) -> Vec<Viewer> {
    let viewer = |address| Viewer {
        protect: Protect::new(&packets::keys(SrtpProfile::AeadAes256Gcm)).expect("keys"),
        address,
    };
    addresses.into_iter().map(viewer).collect()
}

/// Seals a burst into a slot. Its length and that of one packet.
fn seal(protect: &Protect, slot: &mut [u8], index: &mut u64, payload: &[u8]) -> (usize, usize) {
    let (mut at, mut each) = (0, 0);
    for _ in 0..BURST {
        *index += 1;
        let out = &mut slot[at..];
        let header = packets::write_header(out);
        each = protect
            .rtp(out, header, packets::HEADER.ssrc, *index, payload)
            .expect("room");
        at += each;
    }
    (at, each)
}

/// How the bursts are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// One send for each packet.
    OneByOne,
    /// One send for each viewer.
    Gso,
    /// Likewise, thirty times a second, to sockets that another core reads: as media comes and goes.
    GsoPaced,
}

fn bench(criterion: &mut Criterion, name: &str, io: IoChoice, way: Way) {
    let sockets = bind(&["127.0.0.1:0".parse().expect("an address")]).expect("loopback");
    let MediaSocket { mut outbound, .. } = open(sockets, io).expect("a backend");
    let paced = way == Way::GsoPaced;
    let (_sinks, addresses) = if paced { Sinks::read() } else { Sinks::unread() };
    let viewers = viewers(addresses);
    let payload = vec![0x5A; packets::VIDEO_PAYLOAD];
    let mut index = 0;
    let mut group = criterion.benchmark_group("limit: seal and send 10 packets to 1000 viewers");
    group.throughput(Throughput::Elements((VIEWERS * BURST) as u64));
    group.bench_function(name, |b| {
        let mut send_frame = || {
            let begin = Instant::now();
            for viewer in &viewers {
                send_burst(&mut outbound, viewer, &mut index, &payload, way != Way::OneByOne);
            }
            outbound.submit();
            begin.elapsed()
        };
        if paced {
            b.iter_custom(|rounds| {
                let rest = |spent| std::thread::sleep(FRAME_INTERVAL.saturating_sub(spent));
                (0..rounds)
                    .map(|_| send_frame())
                    .inspect(|spent| rest(*spent))
                    .sum()
            });
        } else {
            b.iter(&mut send_frame);
        }
    });
    group.finish();
}

fn send_burst(outbound: &mut AnyOutbound, viewer: &Viewer, index: &mut u64, payload: &[u8], gso: bool) {
    let socket = SocketIndex(0);
    if gso {
        let Some(slot) = outbound.slot() else { return };
        let (length, each) = seal(&viewer.protect, slot, index, payload);
        outbound.send(socket, viewer.address, length, each);
        return;
    }
    for _ in 0..BURST {
        let Some(slot) = outbound.slot() else { return };
        *index += 1;
        let header = packets::write_header(slot);
        let length = viewer
            .protect
            .rtp(slot, header, packets::HEADER.ssrc, *index, payload)
            .expect("room");
        outbound.send(socket, viewer.address, length, length);
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(4))
        .sample_size(20)
        .configure_from_args();
    for (name, io, way) in [
        ("system calls, GSO", IoChoice::Syscalls, Way::Gso),
        ("io_uring, GSO", IoChoice::Uring, Way::Gso),
        ("system calls, GSO, paced", IoChoice::Syscalls, Way::GsoPaced),
        ("io_uring, GSO, paced", IoChoice::Uring, Way::GsoPaced),
        ("system calls, one by one", IoChoice::Syscalls, Way::OneByOne),
        ("io_uring, one by one", IoChoice::Uring, Way::OneByOne),
    ] {
        bench(&mut criterion, name, io, way);
    }
    criterion.final_summary();
}
