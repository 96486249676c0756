//! Whole workers: what a burst costs with so many viewers, beside the sockets.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use weever_benches::packets;
use weever_benches::room::{self, Room};
use weever_core::probe::HeaderRewrite;
use weever_core::{Path, Protect, SrtpProfile, TimerWheel};
use weever_proto::SessionId;

/// A frame of 3 Mbit/s at 30 frames a second.
const BURST: u64 = 10;
/// Of a burst, by each viewer.
const LOST: usize = 10;
const VIEWERS: [u32; 5] = [1, 10, 100, 1000, 5000];

/// A burst to all viewers: header, cipher, send slot. The elements are packets that leave.
fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan-out of a burst of 10");
    group.sample_size(10);
    for viewers in VIEWERS {
        let mut room = None;
        group.throughput(Throughput::Elements(BURST * u64::from(viewers)));
        group.bench_function(format!("{viewers} routes"), |b| {
            let room = room.get_or_insert_with(|| Room::new(viewers, 0));
            b.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    room.push_burst(BURST);
                    let begin = Instant::now();
                    room.flush();
                    spent += begin.elapsed();
                }
                spent
            });
        });
    }
    group.finish();
}

/// What a publisher's worker pays for viewers elsewhere: a burst by reference to each worker that has some, however many
/// they are. The elements are workers.
fn hand_over(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hand-over of a burst of 10");
    for workers in [1u16, 4, 16, 64] {
        let mut room = None;
        group.throughput(Throughput::Elements(u64::from(workers)));
        group.bench_function(format!("{workers} workers"), |b| {
            let room = room.get_or_insert_with(|| {
                let mut room = Room::new(0, 0);
                room.share(workers);
                room
            });
            b.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    room.push_burst(BURST);
                    let begin = Instant::now();
                    room.forward();
                    let handed = room.hand_over();
                    spent += begin.elapsed();
                    assert!(handed >= usize::from(workers));
                }
                spent
            });
        });
    }
    group.finish();
}

/// The headers of one packet for a thousand viewers: sequence number, timestamp, names and extensions of their own.
fn header_rewrite(criterion: &mut Criterion) {
    const VIEWERS: u32 = 1000;
    let now = Instant::now();
    let mut group = criterion.benchmark_group("header rewrite");
    group.throughput(Throughput::Elements(u64::from(VIEWERS)));
    group.bench_function("1 packet for 1000 viewers", |b| {
        let rewrite = |number| {
            let protect = Protect::new(&packets::keys(SrtpProfile::AeadAes128Gcm)).expect("keys");
            let spec = room::route(number, SessionId(u64::from(number)));
            HeaderRewrite::new(&spec, room::path(number), protect, now)
        };
        let mut viewers: Vec<_> = (0..VIEWERS).map(rewrite).collect();
        let mut out = [0; 128];
        b.iter(|| {
            for viewer in &mut viewers {
                viewer.write(now, black_box(&mut out)).expect("room");
            }
        });
    });
    group.finish();
}

/// What a publisher's packet costs before it is forwarded: address look-up, str0m, history.
fn ingress(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ingress of a burst of 10");
    group.throughput(Throughput::Elements(BURST));
    for viewers in [1, 5000] {
        let mut room = None;
        group.bench_function(format!("{viewers} other sessions"), |b| {
            let room = room.get_or_insert_with(|| Room::new(viewers, 0));
            b.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    let datagrams = room.publish(BURST);
                    let begin = Instant::now();
                    room.take(&datagrams);
                    spent += begin.elapsed();
                    room.flush();
                }
                spent
            });
        });
    }
    group.finish();
}

/// Whose datagram is it: each of 5000 sessions sends a packet of a kind that nobody wants of it, so that finding the
/// session is all that is done.
fn demux(criterion: &mut Criterion) {
    const SESSIONS: u32 = 5000;
    let mut room = None;
    let mut group = criterion.benchmark_group("demux");
    group.throughput(Throughput::Elements(u64::from(SESSIONS)));
    group.bench_function("one datagram from each of 5000 sessions", |b| {
        let room = room.get_or_insert_with(|| Room::new(SESSIONS, 0));
        let datagram = packets::rtp(packets::AUDIO_PAYLOAD);
        let paths = room.viewers().to_vec();
        b.iter(|| {
            for path in &paths {
                room.take_from(*path, &datagram);
            }
        });
    });
    group.finish();
}

/// Retransmission: viewers miss every second packet of a burst and say so; opened, looked up in the shared history, sealed
/// anew. The elements are packets that leave again.
fn nack(criterion: &mut Criterion) {
    const TALKING: usize = 100;
    let mut room = None;
    let mut group = criterion.benchmark_group("nack to rtx");
    group.sample_size(10);
    group.throughput(Throughput::Elements((TALKING * LOST) as u64));
    group.bench_function("100 viewers miss 10 packets each", |b| {
        let room = room.get_or_insert_with(|| Room::new(1000, TALKING));
        b.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                let asked = room.lose(2 * LOST as u64 + 1, 2);
                let before = room.outbox.datagrams;
                let begin = Instant::now();
                for (from, datagram) in &asked {
                    room.take_from(*from, datagram);
                }
                spent += begin.elapsed();
                assert_eq!(room.outbox.datagrams - before, (TALKING * LOST) as u64);
            }
            spent
        });
    });
    group.finish();
}

/// RTCP of a thousand of 5000 viewers: reports after a frame, and each of them wanting a keyframe. The elements are
/// datagrams.
fn feedback(criterion: &mut Criterion) {
    const TALKING: usize = 1000;
    let mut room = None;
    let mut group = criterion.benchmark_group("feedback of 1000 of 5000 viewers");
    group.sample_size(10);
    type Say = fn(&mut Room) -> Vec<(Path, Vec<u8>)>;
    let kinds: [(&str, Say); 2] = [
        ("RR and transport-wide feedback", |room| room.report(BURST)),
        ("PLI", Room::plead),
    ];
    for (name, say) in kinds {
        let room = room.get_or_insert_with(|| Room::new(5000, TALKING));
        let datagrams = say(room).len();
        group.throughput(Throughput::Elements(datagrams as u64));
        group.bench_function(name, |b| {
            b.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    let said = say(room);
                    let begin = Instant::now();
                    for (from, datagram) in &said {
                        room.take_from(*from, datagram);
                    }
                    // As if each round had as many datagrams as the first one.
                    spent += begin.elapsed() * u32::try_from(datagrams).expect("few")
                        / u32::try_from(said.len()).expect("few");
                }
                spent
            });
        });
    }
    group.finish();
}

/// Thousands of sessions, each with one deadline.
fn timers(criterion: &mut Criterion) {
    const SESSIONS: u32 = 5000;
    let mut group = criterion.benchmark_group("timer wheel");
    group.throughput(Throughput::Elements(u64::from(SESSIONS)));
    group.bench_function("arm and expire 5000", |b| {
        let mut now = Instant::now();
        let mut wheel = TimerWheel::new(now);
        let mut due = Vec::with_capacity(SESSIONS as usize);
        b.iter(|| {
            for key in 0..SESSIONS {
                wheel.arm(key, now + Duration::from_millis(u64::from(key) % 1000));
            }
            now += Duration::from_secs(2);
            due.clear();
            wheel.expire(now, &mut due);
            due.len()
        });
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    fan_out(&mut criterion);
    hand_over(&mut criterion);
    header_rewrite(&mut criterion);
    ingress(&mut criterion);
    demux(&mut criterion);
    nack(&mut criterion);
    feedback(&mut criterion);
    timers(&mut criterion);
    criterion.final_summary();
}
