//! What a packet costs for each viewer before it is sent: its header, then the cipher straight from the shared payload.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use weever_benches::packets;
use weever_core::{Protect, SrtpProfile};

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

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30)
        .configure_from_args();
    egress(&mut criterion, packets::VIDEO_PAYLOAD);
    egress(&mut criterion, packets::AUDIO_PAYLOAD);
    fan_out(&mut criterion);
    criterion.final_summary();
}
