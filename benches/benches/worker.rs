//! Whole workers: what a burst costs with so many viewers, beside the sockets.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use weever_benches::room::Room;
use weever_core::TimerWheel;

/// A frame of 3 Mbit/s at 30 frames a second.
const BURST: u64 = 10;
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
    ingress(&mut criterion);
    timers(&mut criterion);
    criterion.final_summary();
}
