//! What a packet costs for each viewer before it is sent: its header, then the cipher straight from the shared payload.
//! And what viewers send back, opened.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use weever_benches::packets;
use weever_core::{Protect, SrtpProfile, UnprotectRtcp};

const PROFILES: [(&str, SrtpProfile); 3] = [
    ("aead-aes-128-gcm", SrtpProfile::AeadAes128Gcm),
    ("aead-aes-256-gcm", SrtpProfile::AeadAes256Gcm),
    ("aes128-cm-sha1-80", SrtpProfile::Aes128CmSha1_80),
];

fn egress(criterion: &mut Criterion, size: usize) {
    let mut group = criterion.benchmark_group(format!("header and seal, {size} bytes"));
    group.throughput(Throughput::Elements(1));
    let payload = vec![0x5A; size];
    let mut out = vec![0; size + 128];
    for (name, profile) in PROFILES {
        let protect = Protect::new(&packets::keys(profile)).expect("keys");
        let mut index = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                index += 1;
                let header = packets::write_header(&mut out);
                protect.rtp(&mut out, header, packets::HEADER.ssrc, index, black_box(&payload))
            });
        });
    }
    group.finish();
}

/// One packet to a thousand viewers: each has keys of its own, so that the cipher's tables leave the cache.
fn fan_out(criterion: &mut Criterion) {
    const VIEWERS: u64 = 1000;
    let mut group = criterion.benchmark_group("1 packet to 1000 viewers");
    group.throughput(Throughput::Elements(VIEWERS));
    let payload = vec![0x5A; packets::VIDEO_PAYLOAD];
    let mut out = vec![0; 1500];
    for (name, profile) in PROFILES {
        let viewers: Vec<_> = (0..VIEWERS)
            .map(|_| Protect::new(&packets::keys(profile)).expect("keys"))
            .collect();
        let mut index = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                index += 1;
                for protect in &viewers {
                    let header = packets::write_header(&mut out);
                    let sealed =
                        protect.rtp(&mut out, header, packets::HEADER.ssrc, index, black_box(&payload));
                    black_box(sealed).expect("room");
                }
            });
        });
    }
    group.finish();
}

/// A report with a NACK: protected, and opened with its index checked against replays. Each can be opened once only, so
/// they are made in batches.
fn rtcp(criterion: &mut Criterion) {
    const BATCH: u64 = 1000;
    let mut group = criterion.benchmark_group("srtcp, report with nack");
    group.throughput(Throughput::Elements(1));
    let plain = packets::receiver_report_with_nack();
    for (name, profile) in PROFILES {
        let seal = |protect: &mut Protect, out: &mut [u8; 512]| {
            out[..plain.len()].copy_from_slice(&plain);
            protect.rtcp(out, plain.len()).expect("room")
        };
        let mut peer = Protect::new(&packets::peer_keys(profile)).expect("keys");
        group.bench_function(format!("protect, {name}"), |b| {
            let mut out = [0; 512];
            b.iter(|| seal(&mut peer, black_box(&mut out)));
        });
        let mut ours = UnprotectRtcp::new(&packets::keys(profile)).expect("keys");
        group.bench_function(format!("unprotect, {name}"), |b| {
            let mut sealed = vec![[0; 512]; 1000];
            let mut out = [0; 512];
            b.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                let mut left = rounds;
                while left > 0 {
                    let batch = left.min(BATCH);
                    let mut len = 0;
                    for datagram in sealed.iter_mut().take(batch as usize) {
                        len = seal(&mut peer, datagram);
                    }
                    let begin = Instant::now();
                    for datagram in sealed.iter().take(batch as usize) {
                        ours.open(&datagram[..len], black_box(&mut out))
                            .expect("authentic");
                    }
                    spent += begin.elapsed();
                    left -= batch;
                }
                spent
            });
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30)
        .configure_from_args();
    egress(&mut criterion, packets::VIDEO_PAYLOAD);
    egress(&mut criterion, packets::AUDIO_PAYLOAD);
    fan_out(&mut criterion);
    rtcp(&mut criterion);
    criterion.final_summary();
}
