//! Frames of the control socket: what a join, a second of statistics and a resync cost either plane.

use std::fmt::Debug;
use std::time::Duration;

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput};
use tokio_util::codec::{Decoder, Encoder};
use weever_benches::messages;
use weever_proto::{Command, ControlCodec, FrameError, ShardCodec, ToShard};

fn both_ways<M, E, D>(criterion: &mut Criterion, name: &str, message: &M, mut encoder: E, mut decoder: D)
where
    M: Clone + PartialEq + Debug,
    E: Encoder<M, Error = FrameError>,
    D: Decoder<Item = M, Error = FrameError>,
{
    let mut frame = BytesMut::new();
    encoder
        .encode(message.clone(), &mut frame)
        .expect("a message within its limits");
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(frame.len() as u64));
    group.bench_function("encode", |b| {
        let mut out = BytesMut::with_capacity(frame.len());
        b.iter_batched(
            || message.clone(),
            |message| {
                out.clear();
                encoder.encode(message, &mut out)
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("decode", |b| {
        b.iter_batched(
            || frame.clone(),
            |mut frame| decoder.decode(&mut frame),
            BatchSize::SmallInput,
        );
    });
    assert_eq!(
        decoder.decode(&mut frame).expect("our own frame").as_ref(),
        Some(message)
    );
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .sample_size(30)
        .configure_from_args();
    let create = ToShard::Command(Command::CreateSession(Box::new(messages::session())));
    both_ways(
        &mut criterion,
        "create session",
        &create,
        ControlCodec,
        ShardCodec,
    );
    both_ways(
        &mut criterion,
        "put route",
        &messages::put_route(),
        ControlCodec,
        ShardCodec,
    );
    both_ways(
        &mut criterion,
        "stats of 200 tracks",
        &messages::stats(),
        ShardCodec,
        ControlCodec,
    );
    both_ways(
        &mut criterion,
        "snapshot with 20 routes",
        &messages::snapshot(),
        ShardCodec,
        ControlCodec,
    );
    criterion.final_summary();
}
