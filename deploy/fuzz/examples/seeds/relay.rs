//! Messages of the relay.

use weever_core::relay::{Key, Seals};
use weever_proto::TrackId;
use weever_proto::relay::{BurstWriter, Form, Message, RelayPacket, Says, Stamp};

use crate::Seed;

const STAMP: Stamp = Stamp {
    track: TrackId(1),
    source: 2,
    number: 3,
};

fn plain(says: Says<'_>) -> Vec<u8> {
    let mut bytes = Form::plain_head().to_vec();
    Message { stamp: STAMP, says }.emit(&mut bytes);
    bytes
}

fn burst(packets: &[(u64, u32, &[u8], usize)]) -> Vec<u8> {
    let mut bytes = Form::plain_head().to_vec();
    let mut writer = BurstWriter::new(&mut bytes, STAMP, 1_700_000_000_000_000, usize::MAX);
    for (seq, timestamp, extensions, len) in packets {
        let payload = vec![0x10; *len];
        writer.push(&RelayPacket {
            seq: *seq,
            timestamp: *timestamp,
            pt: 96,
            marker: seq % 3 == 0,
            keyframe: seq % 5 == 0,
            extensions,
            payload: &payload,
        });
    }
    writer.finish();
    bytes
}

fn sealed(plain: &[u8]) -> Vec<u8> {
    let mut seals = Seals::new(&[Key::new([7; 32])], 1).expect("a good key");
    let mut bytes = Vec::new();
    seals.begin(&mut bytes);
    bytes.extend_from_slice(&plain[2..]);
    seals.end("weever.media.1", &mut bytes).expect("it seals");
    bytes
}

pub(crate) fn relay() -> Vec<Seed> {
    let one = burst(&[(70_000, 3000, &[], 40)]);
    let report = plain(Says::SenderReport {
        ntp: 0x1234_5678_9abc_def0,
        timestamp: 9000,
    });
    let mut unknown_flag = one.clone();
    unknown_flag[37] |= 0x80;
    vec![
        ("follow", plain(Says::Follow { lease_ms: 6000 })),
        ("unfollow", plain(Says::Unfollow)),
        ("keyframe-request", plain(Says::RequestKeyframe)),
        ("sender-report", report.clone()),
        ("sealed-sender-report", sealed(&report)),
        ("sealed-burst", sealed(&one)),
        (
            "frame",
            burst(&[(100, 3000, &[], 60), (101, 3000, &[], 60), (102, 3000, &[], 33)]),
        ),
        (
            "gaps-and-extensions",
            burst(&[
                (200, 3000, &[6, 1, 0x85], 9),
                (203, 6000, &[9, 3, 1, 2, 3, 10, 1, 0], 0),
                (201, 3000, &[], 5),
            ]),
        ),
        ("highest-number", burst(&[(u64::MAX, 0, &[], 1), (0, 0, &[], 1)])),
        ("unknown-flag", unknown_flag),
        ("no-packets", [&one[..35], &[0, 0]].concat()),
        ("other-version", [&[9], &one[1..]].concat()),
        ("one", one),
    ]
}
