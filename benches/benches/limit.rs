//! The limit: seal and send, and nothing else. What a worker costs more than this is ours to save; what it can't get
//! below is the cipher's and the kernel's.
//!
//! A thousand viewers with keys and sockets of their own; each burst of ten packets is sealed side by side into a send slot and
//! handed to the kernel as one GSO send, or as ten single ones. The receiving sockets are never read: what doesn't fit is
//! dropped by the kernel after all the work of sending.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use criterion::{Criterion, Throughput};
use weever_benches::packets;
use weever_core::{Protect, SrtpProfile};
use weever_uring::{AnyOutbound, IoChoice, MediaSocket, Outbound, SocketIndex, bind, open};

const VIEWERS: usize = 1000;
const BURST: usize = 10;

struct Viewer {
    protect: Protect,
    address: SocketAddr,
    _socket: UdpSocket,
}

fn viewers() -> Vec<Viewer> {
    (0..VIEWERS)
        .map(|_| {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket for each viewer: raise `ulimit -n`");
            Viewer {
                protect: Protect::new(&packets::keys(SrtpProfile::AeadAes128Gcm)).expect("keys"),
                address: socket.local_addr().expect("bound"),
                _socket: socket,
            }
        })
        .collect()
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

fn bench(criterion: &mut Criterion, name: &str, io: IoChoice, gso: bool) {
    let sockets = bind(&["127.0.0.1:0".parse().expect("an address")]).expect("loopback");
    let MediaSocket { mut outbound, .. } = open(sockets, io).expect("a backend");
    let viewers = viewers();
    let payload = vec![0x5A; packets::VIDEO_PAYLOAD];
    let mut index = 0;
    let mut group = criterion.benchmark_group("limit: seal and send 10 packets to 1000 viewers");
    group.throughput(Throughput::Elements((VIEWERS * BURST) as u64));
    group.bench_function(name, |b| {
        b.iter(|| {
            for (number, viewer) in viewers.iter().enumerate() {
                send_burst(&mut outbound, viewer, &mut index, &payload, gso);
                if number % 32 == 31 {
                    outbound.submit();
                }
            }
            outbound.submit();
        });
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
    for (name, io, gso) in [
        ("system calls, GSO", IoChoice::Syscalls, true),
        ("io_uring, GSO", IoChoice::Uring, true),
        ("system calls, one by one", IoChoice::Syscalls, false),
        ("io_uring, one by one", IoChoice::Uring, false),
    ] {
        bench(&mut criterion, name, io, gso);
    }
    criterion.final_summary();
}
