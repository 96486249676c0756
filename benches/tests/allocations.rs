//! Forwarding allocates nothing, however many watch.

use allocation_counter::measure;
use weever_benches::room::Room;

const BURST: u64 = 10;
/// Until every buffer has its size, and the shared history is full.
const WARM_UP: u32 = 300;
const BURSTS: u32 = 100;

/// Allocations of the bursts' way in and of their way out.
fn allocations(viewers: u32) -> (u64, u64) {
    let mut room = Room::new(viewers, 0);
    for _ in 0..WARM_UP {
        room.push_burst(BURST);
        room.flush();
    }
    let (mut taken, mut forwarded, mut sent) = (0, 0, 0);
    for _ in 0..BURSTS {
        let datagrams = room.publish(BURST);
        taken += measure(|| room.take(&datagrams)).count_total;
        let before = room.outbox.datagrams;
        forwarded += measure(|| room.flush()).count_total;
        sent += room.outbox.datagrams - before;
    }
    let media = u64::from(BURSTS) * BURST * u64::from(viewers);
    assert!(sent >= media, "everybody got everything: {sent} of {media}");
    // The bursts are three seconds' worth.
    let reports = 2 * u64::from(viewers);
    assert!(sent <= media + reports, "and nothing else but sender reports");
    (taken, forwarded)
}

#[test]
fn a_forwarded_packet_allocates_nothing() {
    for viewers in [1, 50, 200] {
        let (_, forwarded) = allocations(viewers);
        assert_eq!(forwarded, 0, "of {viewers} viewers");
    }
}

/// What str0m allocates for a publisher's packet is paid once, whoever watches.
#[test]
fn a_published_packet_allocates_the_same_for_one_and_for_many() {
    let (one, many) = (allocations(1).0, allocations(200).0);
    assert_eq!(one, many);
    let packets = u64::from(BURSTS) * BURST;
    assert!(one <= 20 * packets, "{one} for {packets} packets");
}

#[test]
fn the_counter_counts() {
    let counted = measure(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(100))));
    assert_eq!(counted.count_total, 1);
}
