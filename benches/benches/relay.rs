//! The relay's part of a burst at both ends: written and sealed once, opened and read once at each data plane that follows.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use weever_core::relay::{Incoming, Key, Seals, Told};
use weever_proto::relay::{BurstWriter, Form, MAX_MESSAGE, Message, RelayPacket, Stamp};
use weever_proto::{Kind, TrackId};

const PACKETS: usize = 10;
const PAYLOAD: usize = 1200;
const SUBJECT: &str = "weever.media.0123456789abcdef";
const TRACK: TrackId = TrackId(0x0123_4567_89ab_cdef);

fn stamp(number: u64) -> Stamp {
    Stamp {
        track: TRACK,
        source: 1,
        number,
    }
}

/// A plain message of one burst.
fn burst() -> Vec<u8> {
    let mut bytes = Form::plain_head().to_vec();
    let mut writer = BurstWriter::new(&mut bytes, stamp(0), 0, MAX_MESSAGE);
    let payload = [0x5a; PAYLOAD];
    for seq in 0..PACKETS as u64 {
        assert!(writer.push(&RelayPacket {
            seq,
            timestamp: 3000,
            pt: 96,
            marker: seq + 1 == PACKETS as u64,
            keyframe: false,
            extensions: &[],
            payload: &payload,
        }));
    }
    writer.finish();
    bytes
}

fn out(criterion: &mut Criterion, name: &str, keys: &[Key]) {
    let mut seals = Seals::new(keys, 1).expect("a good key");
    let bytes = burst();
    let message = Message::parse(&bytes[2..]).expect("our own");
    let taken = Incoming::new(TRACK, Kind::Video)
        .take(&message)
        .expect("the first");
    let Told::Burst(burst) = taken.handover.told() else {
        unreachable!("it is a burst")
    };
    let mut number = 0;
    let mut group = criterion.benchmark_group("relay, burst of 10");
    group.throughput(Throughput::Elements(PACKETS as u64));
    group.bench_function(format!("out, {name}"), |b| {
        b.iter(|| {
            number += 1;
            // As the relay does: the message is given away.
            let mut out = Vec::with_capacity(16 * 1024);
            seals.begin(&mut out);
            burst.emit(0, stamp(number), 0, MAX_MESSAGE, &mut out);
            seals.end(SUBJECT, &mut out).expect("it seals");
            black_box(out)
        });
    });
    group.finish();
}

fn coming(criterion: &mut Criterion, name: &str, keys: &[Key]) {
    let mut seals = Seals::new(keys, 1).expect("a good key");
    let mut bytes = Vec::new();
    seals.begin(&mut bytes);
    bytes.extend_from_slice(&burst()[2..]);
    seals.end(SUBJECT, &mut bytes).expect("it seals");
    let mut room = Vec::new();
    let mut group = criterion.benchmark_group("relay, burst of 10");
    group.throughput(Throughput::Elements(PACKETS as u64));
    group.bench_function(format!("in, {name}"), |b| {
        b.iter(|| {
            let bytes = seals.open(SUBJECT, &bytes, &mut room).expect("whole");
            let message = Message::parse(bytes).expect("our own");
            black_box(
                Incoming::new(TRACK, Kind::Video)
                    .take(&message)
                    .expect("the first"),
            )
        });
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let key = [Key::new([7; 32])];
    for (name, keys) in [("plain", &[][..]), ("sealed", &key)] {
        out(&mut criterion, name, keys);
        coming(&mut criterion, name, keys);
    }
    criterion.final_summary();
}
