//! Reading and writing what stands in datagrams: paid for each packet, or for each check.

use std::hint::black_box;
use std::time::Duration;

use aws_lc_rs::hmac::{Context, HMAC_SHA1_FOR_LEGACY_USE_ONLY, Key};
use criterion::Criterion;
use weever_benches::packets;
use weever_core::wire::payload::keyframe_start;
use weever_core::wire::red::primary_block;
use weever_core::wire::rtcp::{Compound, RtcpPacket};
use weever_core::wire::rtp::{Demux, RtpView};
use weever_core::wire::stun::{StunView, emit_binding_success};

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let mut context = Context::with_key(&Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, key));
    parts.iter().for_each(|part| context.update(part));
    context.sign().as_ref().try_into().expect("SHA-1 has 20 bytes")
}

fn rtp(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rtp");
    let packet = packets::rtp(packets::VIDEO_PAYLOAD);
    group.bench_function("demux", |b| b.iter(|| Demux::of(black_box(&packet))));
    group.bench_function("parse", |b| {
        b.iter(|| RtpView::parse(black_box(&packet)).map(|view| view.header_len()));
    });
    group.bench_function("parse, walk extensions", |b| {
        b.iter(|| {
            let view = RtpView::parse(black_box(&packet)).expect("our own packet");
            view.extensions()
                .map(|(id, data)| usize::from(id) + data.len())
                .sum::<usize>()
        });
    });
    let mut out = [0; 64];
    group.bench_function("write header, 4 extensions", |b| {
        b.iter(|| packets::write_header(black_box(&mut out)));
    });
    group.finish();
}

fn payloads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("keyframe");
    for (name, codec, payload) in packets::keyframes() {
        assert!(keyframe_start(codec, &payload), "{name}");
        group.bench_function(name, |b| b.iter(|| keyframe_start(codec, black_box(&payload))));
    }
    let red = packets::red();
    assert_eq!(
        primary_block(&red).map(|(_, data)| data.len()),
        Some(packets::AUDIO_PAYLOAD)
    );
    group.bench_function("red primary block", |b| {
        b.iter(|| primary_block(black_box(&red)).map(|(pt, _)| pt));
    });
    group.finish();
}

fn rtcp(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rtcp");
    let sender = packets::sender_report();
    group.bench_function("sr, sdes", |b| {
        b.iter(|| Compound::parse(black_box(&sender)).count());
    });
    let receiver = packets::receiver_report_with_nack();
    group.bench_function("rr, nack of 20", |b| {
        b.iter(|| {
            let items = |packet: RtcpPacket<'_>| match packet {
                RtcpPacket::ReceiverReport { reports, .. } => reports.count(),
                RtcpPacket::Nack { lost, .. } => lost.map(usize::from).sum(),
                _ => 0,
            };
            Compound::parse(black_box(&receiver)).map(items).sum::<usize>()
        });
    });
    group.finish();
}

fn stun(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stun");
    let request = packets::binding_request(hmac);
    group.bench_function("parse", |b| {
        b.iter(|| StunView::parse(black_box(&request)).is_ok());
    });
    group.bench_function("parse, verify, answer", |b| {
        let from = "192.0.2.1:50000".parse().expect("an address");
        let mut out = [0; 128];
        b.iter(|| {
            let view = StunView::parse(black_box(&request)).expect("our own request");
            assert!(view.verify_integrity(packets::PASSWORD, hmac));
            emit_binding_success(&mut out, &view.transaction_id(), from, packets::PASSWORD, hmac)
        });
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .sample_size(30)
        .configure_from_args();
    rtp(&mut criterion);
    payloads(&mut criterion);
    rtcp(&mut criterion);
    stun(&mut criterion);
    criterion.final_summary();
}
