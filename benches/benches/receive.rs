//! Receiving, on both backends: datagrams one by one as viewers send them, and trains (`UDP_GRO`) as publishers' frames
//! arrive. CPU time of the receiving thread alone, its share of the kernel included.

use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use weever_benches::packets;
use weever_uring::{Inbound, IoChoice, MediaSocket, Outbound, SocketIndex, bind, open, thread_cpu_ns};

/// Fits any receive buffer, and is many times what one call takes.
const DATAGRAMS: usize = 128;
const TRAIN: usize = 16;

/// Sends `DATAGRAMS` to an address each time it is asked, so many at a time.
struct Peer {
    ask: Sender<()>,
    sent: Receiver<()>,
}

impl Peer {
    fn start(to: SocketAddr, train: usize) -> Self {
        let (ask, asked) = mpsc::channel();
        let (tell, sent) = mpsc::channel();
        thread::spawn(move || {
            let sockets = bind(&["127.0.0.1:0".parse().expect("an address")]).expect("loopback");
            let MediaSocket { mut outbound, .. } = open(sockets, IoChoice::Syscalls).expect("a backend");
            let datagram = packets::rtp(packets::VIDEO_PAYLOAD);
            let bytes = datagram.repeat(train);
            while asked.recv().is_ok() {
                for _ in 0..DATAGRAMS / train {
                    let slot = outbound.slot().expect("system calls have theirs back at once");
                    slot[..bytes.len()].copy_from_slice(&bytes);
                    outbound.send(SocketIndex(0), to, bytes.len(), datagram.len());
                    outbound.submit();
                }
                if tell.send(()).is_err() {
                    return;
                }
            }
        });
        Self { ask, sent }
    }

    fn send(&self) {
        self.ask.send(()).expect("the peer lives");
        self.sent.recv().expect("the peer lives");
    }
}

fn bench(criterion: &mut Criterion, name: &str, io: IoChoice, train: usize) {
    let sockets = bind(&["127.0.0.1:0".parse().expect("an address")]).expect("loopback");
    let mut media = open(sockets, io).expect("a backend");
    let peer = Peer::start(media.local_addresses()[0], train);
    let mut group = criterion.benchmark_group("receive 128 datagrams");
    group.throughput(Throughput::Elements(DATAGRAMS as u64));
    group.bench_function(name, |b| {
        b.iter_custom(|rounds| {
            let begin = thread_cpu_ns();
            for _ in 0..rounds {
                peer.send();
                let mut got = 0;
                while got < DATAGRAMS {
                    let taken = media.inbound.receive(DATAGRAMS, |received| {
                        assert_eq!(received.datagram[0] >> 6, 2, "RTP");
                    });
                    got += taken.expect("a socket that works");
                }
            }
            Duration::from_nanos(thread_cpu_ns() - begin)
        });
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20)
        .configure_from_args();
    for (name, io, train) in [
        ("system calls, GRO", IoChoice::Syscalls, TRAIN),
        ("io_uring, GRO", IoChoice::Uring, TRAIN),
        ("system calls, one by one", IoChoice::Syscalls, 1),
        ("io_uring, one by one", IoChoice::Uring, 1),
    ] {
        bench(&mut criterion, name, io, train);
    }
    criterion.final_summary();
}
