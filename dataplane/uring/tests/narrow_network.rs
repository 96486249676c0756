//! What loopback never does: a full send buffer and a small MTU. Each test runs itself again in a network namespace of
//! its own (`unshare`, as root or by a user namespace), where it may lay out such a network with `ip` and `tc`.
#![allow(clippy::unwrap_used, clippy::panic)] // all of this is test code

use std::{
    net::{SocketAddr, UdpSocket},
    process::Command,
    time::Duration,
};

use weever_uring::{IoChoice, Outbound, SocketIndex, bind, open};

const INSIDE: &str = "WEEVER_TEST_INSIDE_NAMESPACE";

/// True inside the namespace. Outside: runs the named test there and answers false.
fn inside_namespace(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    // Its output is shown when it matters only: it would be counted as tests of this run.
    let inside = Command::new("unshare")
        .args(["--map-root-user", "--net", "--"])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&inside.stdout);
    assert!(inside.status.success(), "{test} failed in its namespace: {said}");
    false
}

fn run(command: &str) {
    let mut words = command.split(' ');
    let status = Command::new(words.next().unwrap()).args(words).status().unwrap();
    assert!(status.success(), "{command}");
}

/// Way out of 80 kbit/s: the buffer fills, what comes on top is dropped at once and counted, in order.
fn full_buffer(choice: IoChoice) {
    let mut media = open(bind(&["10.99.0.1:0".parse().unwrap()]).unwrap(), choice).unwrap();
    let to: SocketAddr = "10.99.0.2:9".parse().unwrap();
    const BURSTS: u64 = 3000;
    for _ in 0..BURSTS {
        media.outbound.slot().unwrap()[..12_000].fill(1);
        media.outbound.send(SocketIndex(0), to, 12_000, 1200);
    }
    media.outbound.submit();
    let counters = media.counters();
    assert!(counters.sends > 10, "{counters:?}");
    assert!(counters.dropped_send_buffer > 1000, "{counters:?}");
    assert_eq!(
        counters.datagrams_out + counters.dropped_send_buffer,
        BURSTS * 10,
        "{counters:?}"
    );
    assert_eq!(counters.dropped_no_slot, 0, "{counters:?}");
}

fn slow_way() {
    run("ip link add slow type veth peer name far");
    run("ip address add 10.99.0.1/24 dev slow");
    run("ip link set slow up");
    run("ip link set far up");
    run("ip neighbour add 10.99.0.2 lladdr 02:00:00:00:00:02 dev slow nud permanent");
    run("tc qdisc add dev slow root tbf rate 80kbit burst 20kb limit 100mb");
}

#[test]
fn full_send_buffer_uring() {
    if inside_namespace("full_send_buffer_uring") {
        slow_way();
        full_buffer(IoChoice::Uring);
    }
}

#[test]
fn full_send_buffer_syscalls() {
    if inside_namespace("full_send_buffer_syscalls") {
        slow_way();
        full_buffer(IoChoice::Syscalls);
    }
}

/// Segments above the MTU: the burst can't be cut, its datagrams go out one by one and arrive.
fn small_mtu(choice: IoChoice) {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut media = open(bind(&["127.0.0.1:0".parse().unwrap()]).unwrap(), choice).unwrap();
    let mut buffer = [0; 2048];
    for (segment, fallbacks) in [(1400, 1), (1200, 1)] {
        media.outbound.slot().unwrap()[..3000].fill(5);
        media
            .outbound
            .send(SocketIndex(0), peer.local_addr().unwrap(), 3000, segment);
        media.outbound.submit();
        assert_eq!(media.counters().segmentation_fallbacks, fallbacks);
        for expected in [segment, segment, 3000 - 2 * segment] {
            assert_eq!(peer.recv(&mut buffer).unwrap(), expected);
        }
    }
    assert_eq!(media.counters().datagrams_out, 6);
}

#[test]
fn small_mtu_uring() {
    if inside_namespace("small_mtu_uring") {
        run("ip link set lo mtu 1280 up");
        small_mtu(IoChoice::Uring);
    }
}

#[test]
fn small_mtu_syscalls() {
    if inside_namespace("small_mtu_syscalls") {
        run("ip link set lo mtu 1280 up");
        small_mtu(IoChoice::Syscalls);
    }
}
