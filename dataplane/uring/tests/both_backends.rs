//! One body of tests, run on either backend over real loopback.
#![allow(clippy::unwrap_used, clippy::panic)] // all of this is test code

use std::{
    collections::HashMap,
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use weever_uring::{
    Inbound, Io, IoChoice, MAX_SEGMENTS, MediaSocket, Outbound, SLOT_LEN, SocketIndex, bind, open,
};

const V4: &str = "127.0.0.1:0";
const V6: &str = "[::1]:0";
/// Far beyond what any of this takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn media(addresses: &[&str], choice: IoChoice) -> MediaSocket {
    let addresses: Vec<SocketAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
    open(bind(&addresses).unwrap(), choice).unwrap()
}

fn peer(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn send(media: &mut MediaSocket, socket: u8, to: SocketAddr, bytes: &[u8], segment: usize) {
    media.outbound.slot().unwrap()[..bytes.len()].copy_from_slice(bytes);
    media.outbound.send(SocketIndex(socket), to, bytes.len(), segment);
}

/// Waits for readiness, as an event loop would; false when nothing came.
fn wait(media: &MediaSocket, timeout: Duration) -> bool {
    use std::os::fd::AsFd;
    let mut poll = [socket_poll::entry(media.inbound.readiness().as_fd().as_raw_fd())];
    socket_poll::wait(&mut poll, timeout)
}

mod socket_poll {
    #![allow(unsafe_code)]
    use std::time::Duration;

    pub(super) fn entry(fd: i32) -> libc::pollfd {
        libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        }
    }

    pub(super) fn wait(entries: &mut [libc::pollfd], timeout: Duration) -> bool {
        let millis = i32::try_from(timeout.as_millis()).unwrap();
        // SAFETY: the kernel reads and writes as many `pollfd`s as the slice has.
        unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, millis) > 0 }
    }
}

type Datagram = (u8, SocketAddr, Vec<u8>);

/// Receives until `count` datagrams are there.
fn collect(media: &mut MediaSocket, count: usize, budget: usize) -> Vec<Datagram> {
    let mut all: Vec<Datagram> = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while all.len() < count && Instant::now() < deadline {
        wait(media, Duration::from_millis(200));
        loop {
            let before = all.len();
            let dealt = media
                .inbound
                .receive(budget, |r| all.push((r.socket.0, r.from, r.datagram.to_vec())))
                .unwrap();
            assert_eq!(all.len() - before, dealt);
            if dealt < budget {
                break;
            }
        }
    }
    all
}

fn round_trip(choice: IoChoice, io: Io) {
    let mut media = media(&[V4, V6, V4], choice);
    assert_eq!(media.io, io);
    assert!(media.fallback.is_none());
    let addresses = media.local_addresses().to_vec();
    for (index, &address) in addresses.iter().enumerate() {
        let index = u8::try_from(index).unwrap();
        let peer = peer(if address.is_ipv4() { V4 } else { V6 });
        assert!(!wait(&media, Duration::ZERO), "nothing has come yet");
        peer.send_to(b"ping", address).unwrap();
        let got = collect(&mut media, 1, 64);
        assert_eq!(got, [(index, peer.local_addr().unwrap(), b"ping".to_vec())]);

        send(&mut media, index, peer.local_addr().unwrap(), b"pong!", 5);
        media.outbound.submit();
        let mut buffer = [0; 64];
        let (len, from) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!(
            (&buffer[..len], from),
            (&b"pong!"[..], address),
            "the reply leaves from where the request came to"
        );
    }
    let counters = media.counters();
    assert_eq!((counters.datagrams_in, counters.bytes_in), (3, 12));
    assert_eq!(
        (counters.datagrams_out, counters.bytes_out, counters.sends),
        (3, 15, 3)
    );
    assert_eq!(counters.drops().map(|(_, count)| count), [0; 7]);
}

/// A burst sent as one leaves as datagrams of the right size, the last one shorter.
fn burst_is_cut(choice: IoChoice) {
    let mut media = media(&[V4, V6], choice);
    for (index, address) in [(0, V4), (1, V6)] {
        let peer = peer(address);
        let bytes: Vec<u8> = (0..9 * 1200 + 77u32).map(|i| (i % 251) as u8).collect();
        send(&mut media, index, peer.local_addr().unwrap(), &bytes, 1200);
        media.outbound.submit();
        let mut buffer = [0; 2048];
        for expected in bytes.chunks(1200) {
            let len = peer.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..len], expected);
        }
    }
    let counters = media.counters();
    assert_eq!((counters.sends, counters.datagrams_out), (2, 20));
    assert_eq!(counters.segmentation_fallbacks, 0);
}

/// Trains (one media socket's burst is another's train) are dealt out datagram by datagram.
fn train_is_split(choice: IoChoice) {
    let mut sender = media(&[V4, V6], IoChoice::Syscalls);
    let mut receiver = media(&[V4, V6], choice);
    for index in [0u8, 1] {
        let to = receiver.local_addresses()[usize::from(index)];
        for (len, segment) in [
            (MAX_SEGMENTS * 1000, 1000),
            (12_345, 1200),
            (2, 1),
            (65_000, 1200),
            (1201, 1200),
        ] {
            let bytes: Vec<u8> = (0..len).map(|i| u8::try_from(i % 253).unwrap()).collect();
            send(&mut sender, index, to, &bytes, segment);
            let expected: Vec<_> = bytes.chunks(segment).collect();
            let got = collect(&mut receiver, expected.len(), 256);
            assert_eq!(got.len(), expected.len());
            for ((socket, from, datagram), expected) in got.iter().zip(expected) {
                assert_eq!(
                    (*socket, *from),
                    (index, sender.local_addresses()[usize::from(index)])
                );
                assert_eq!(datagram, expected);
            }
        }
    }
    assert_eq!(receiver.counters().dropped_truncated, 0);
}

/// The largest datagrams go both ways; larger ones are dropped and counted, and so are those without a way.
fn sizes_and_ways(choice: IoChoice) {
    let mut media = media(&[V4, V6], choice);
    let address = media.local_addresses()[0];
    let peer = peer(V4);
    let largest = vec![7; 65_507];
    peer.send_to(&largest, address).unwrap();
    assert_eq!(collect(&mut media, 1, 8)[0].2, largest);
    peer.send_to(&[9], address).unwrap();
    assert_eq!(collect(&mut media, 1, 8)[0].2, [9]);

    let to = peer.local_addr().unwrap();
    send(&mut media, 0, to, &largest, SLOT_LEN);
    media.outbound.submit();
    let mut buffer = vec![0; 70_000];
    assert_eq!(peer.recv(&mut buffer).unwrap(), largest.len());

    send(&mut media, 0, to, &vec![7; 65_508], SLOT_LEN);
    // Wrong family, and an address to which there is never a route.
    send(&mut media, 1, "255.255.255.255:9".parse().unwrap(), b"lost", 4);
    send(&mut media, 0, "[2001:db8::1]:9".parse().unwrap(), b"lost", 4);
    send(&mut media, 0, to, b"after", 5);
    media.outbound.submit();
    assert_eq!(peer.recv(&mut buffer).unwrap(), 5);
    let counters = media.counters();
    assert_eq!(counters.dropped_too_big, 1);
    assert_eq!(counters.dropped_unreachable + counters.dropped_refused, 2);
    assert_eq!(counters.datagrams_out, 2);
}

/// ICMP "port unreachable" answers harm neither direction.
fn refused_peers_do_no_harm(choice: IoChoice) {
    let mut media = media(&[V4], choice);
    let gone = peer(V4).local_addr().unwrap();
    for _ in 0..200 {
        send(&mut media, 0, gone, b"anybody?", 8);
    }
    media.outbound.submit();
    let peer = peer(V4);
    peer.send_to(b"me", media.local_addresses()[0]).unwrap();
    assert_eq!(collect(&mut media, 1, 8).len(), 1);
    send(&mut media, 0, peer.local_addr().unwrap(), b"you", 3);
    media.outbound.submit();
    assert_eq!(peer.recv(&mut [0; 8]).unwrap(), 3);
}

/// Thousands each way, some of it in bursts: every datagram arrives or was dropped by the kernel, none twice, and each
/// flow stays in order.
fn thousands_each_way(choice: IoChoice) {
    const ROUNDS: u32 = 400;
    let (mut left, mut right) = (media(&[V4, V6], choice), media(&[V4, V6], choice));
    let (left_at, right_at) = (left.local_addresses().to_vec(), right.local_addresses().to_vec());
    let mut next: HashMap<(u8, bool), u32> = HashMap::new();
    let mut arrived = 0u64;
    for round in 0..ROUNDS {
        for socket in [0u8, 1] {
            let index = usize::from(socket);
            for (from, to) in [(&mut left, right_at[index]), (&mut right, left_at[index])] {
                let slot = from.outbound.slot().unwrap();
                for (part, bytes) in (0u32..).zip(slot[..10_000].chunks_mut(1000)) {
                    bytes[..4].copy_from_slice(&(round * 11 + part).to_be_bytes());
                }
                from.outbound.send(SocketIndex(socket), to, 10_000, 1000);
                send(from, socket, to, &(round * 11 + 10).to_be_bytes(), 4);
            }
        }
        left.outbound.submit();
        right.outbound.submit();
        for (is_left, media) in [(true, &mut left), (false, &mut right)] {
            let mut each = |r: weever_uring::Received<'_>| {
                let number = u32::from_be_bytes(*r.datagram.first_chunk().unwrap());
                let expected = next.entry((r.socket.0, is_left)).or_insert(0);
                assert!(number >= *expected, "{number} after {expected}");
                *expected = number + 1;
                arrived += 1;
            };
            while media.inbound.receive(32, &mut each).unwrap() >= 32 {}
        }
    }
    let deadline = Instant::now() + PATIENCE;
    let sent = u64::from(ROUNDS) * 2 * 2 * 11;
    let lost = |left: &MediaSocket, right: &MediaSocket| {
        left.counters().dropped_receive_queue + right.counters().dropped_receive_queue
    };
    while arrived + lost(&left, &right) < sent && Instant::now() < deadline {
        for media in [&mut left, &mut right] {
            wait(media, Duration::from_millis(10));
            media.inbound.receive(1000, |_| arrived += 1).unwrap();
        }
    }
    assert_eq!(arrived + lost(&left, &right), sent);
    let total = left.counters().merged(&right.counters());
    assert_eq!((total.datagrams_out, total.datagrams_in), (sent, arrived));
    assert_eq!(total.sends, u64::from(ROUNDS) * 2 * 2 * 2);
}

/// More datagrams than there are receive buffers, none read before all are there.
fn a_flood_waits_in_the_socket(choice: IoChoice) {
    let mut media = media(&[V4], choice);
    let peers = [peer(V4), peer(V4)];
    let count = 1500;
    for index in 0..count {
        // Changing peers and sizes keep the kernel from joining them to trains.
        let peer = &peers[index % 2];
        peer.send_to(&vec![1; 1 + index % 700], media.local_addresses()[0])
            .unwrap();
    }
    let got = collect(&mut media, count, 50);
    let lost = media.counters().dropped_receive_queue;
    assert_eq!(got.len() as u64 + lost, count as u64);
    assert!(
        got.len() > 256,
        "the ring went on after its buffers had been used up"
    );
    // And it still works.
    peers[0].send_to(b"again", media.local_addresses()[0]).unwrap();
    assert_eq!(collect(&mut media, 1, 50)[0].2, b"again");
}

/// The budget bounds a call, and what is left is there in the next one.
fn budget_is_kept(choice: IoChoice) {
    let mut media = media(&[V4, V4], choice);
    let peer = peer(V4);
    for round in 0..20 {
        for &address in &media.local_addresses().to_vec() {
            peer.send_to(&[round; 8], address).unwrap();
        }
    }
    assert!(wait(&media, PATIENCE));
    let mut per_socket = [0; 2];
    let mut total = 0;
    while total < 40 {
        let dealt = media
            .inbound
            .receive(3, |r| per_socket[usize::from(r.socket.0)] += 1)
            .unwrap();
        assert!(dealt > 0 && dealt < 3 + 2 * MAX_SEGMENTS);
        total += dealt;
    }
    assert_eq!(per_socket, [20, 20]);
    assert_eq!(
        media.inbound.receive(3, |_| panic!("nothing is left")).unwrap(),
        0
    );
    assert!(!wait(&media, Duration::ZERO), "readiness was consumed");
}

/// The end, in the middle of traffic, leaves nothing behind: the port is free at once, again and again.
fn ends_cleanly(choice: IoChoice) {
    let peer = peer(V4);
    let mut address: SocketAddr = V4.parse().unwrap();
    for round in 0..40 {
        let mut media = open(bind(&[address]).unwrap(), choice).unwrap();
        address = media.local_addresses()[0];
        for _ in 0..50 {
            peer.send_to(&[3; 1000], address).unwrap();
            send(&mut media, 0, peer.local_addr().unwrap(), &[4; 3000], 1000);
        }
        if round % 2 == 0 {
            media.inbound.receive(7, |_| {}).unwrap();
        }
        // A slot that was taken and never sent is no obstacle.
        media.outbound.slot().unwrap()[0] = 1;
    }
}

macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod uring {
            use super::*;
            $(#[test] fn $test() { super::$test(IoChoice::Uring); })*
            #[test] fn round_trip() { super::round_trip(IoChoice::Uring, Io::Uring); }
        }
        mod syscalls {
            use super::*;
            $(#[test] fn $test() { super::$test(IoChoice::Syscalls); })*
            #[test] fn round_trip() { super::round_trip(IoChoice::Syscalls, Io::Syscalls); }
        }
    };
}

on_both!(
    burst_is_cut,
    train_is_split,
    sizes_and_ways,
    refused_peers_do_no_harm,
    thousands_each_way,
    a_flood_waits_in_the_socket,
    budget_is_kept,
    ends_cleanly,
);
