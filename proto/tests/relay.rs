//! Messages of the relay: golden bytes, properties, and whatever else may come.
#![allow(clippy::unwrap_used, clippy::panic)] // all of this is test code

use proptest::prelude::*;
use weever_proto::TrackId;
use weever_proto::relay::{
    BurstWriter, Form, MAX_EXTENSIONS, MAX_MESSAGE, MAX_PACKETS, MAX_PAYLOAD, Message, RelayError,
    RelayPacket, Says, Stamp, VERSION,
};

const STAMP: Stamp = Stamp {
    track: TrackId(0x0102_0304_0506_0708),
    source: 0x1112_1314_1516_1718,
    number: 0x21,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn emitted(says: Says<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    Message { stamp: STAMP, says }.emit(&mut out);
    out
}

fn packet(seq: u64) -> RelayPacket<'static> {
    RelayPacket {
        seq,
        timestamp: 0xa0a1_a2a3,
        pt: 96,
        marker: false,
        keyframe: false,
        extensions: &[],
        payload: b"xyz",
    }
}

fn burst(packets: &[RelayPacket<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = BurstWriter::new(&mut out, STAMP, 0x31, usize::MAX);
    for packet in packets {
        assert!(writer.push(packet));
    }
    assert_eq!(usize::from(writer.finish()), packets.len());
    out
}

/// If one of these changes, data planes of different builds no longer understand each other, and the version has to change too.
#[test]
fn golden_messages() {
    assert_eq!(VERSION, 1);
    assert_eq!(hex(&Form::plain_head()), "0100");
    assert_eq!(
        hex(&Form::sealed_head([1, 2, 3, 4], [9; 12])),
        "010101020304090909090909090909090909"
    );
    let stamp = "010203040506070811121314151617180000000000000021";
    let report = Says::SenderReport {
        ntp: 0x51,
        timestamp: 0x61,
    };
    for (says, golden) in [
        (report, format!("02{stamp}000000000000005100000061")),
        (Says::Follow { lease_ms: 6000 }, format!("03{stamp}1770")),
        (Says::Unfollow, format!("04{stamp}")),
        (Says::RequestKeyframe, format!("05{stamp}")),
    ] {
        assert_eq!(hex(&emitted(says)), golden);
    }
    let packets = [
        RelayPacket {
            keyframe: true,
            extensions: &[6, 1, 0x85],
            ..packet(0x41)
        },
        packet(0x42),
        RelayPacket {
            marker: true,
            ..packet(0x44)
        },
    ];
    let golden = format!(
        "01{stamp}00000000000000310003\
         3e0000000000000041a0a1a2a3600003060185000378797a\
         00000378797a\
         050000000000000044000378797a"
    );
    assert_eq!(hex(&burst(&packets)), golden);
}

#[test]
fn what_goes_beyond_a_limit_is_no_message() {
    let long = vec![0; MAX_PAYLOAD + 1];
    let mut out = vec![7];
    let mut writer = BurstWriter::new(&mut out, STAMP, 0, usize::MAX);
    assert!(!writer.push(&RelayPacket {
        payload: &long,
        ..packet(1)
    }));
    assert!(!writer.push(&RelayPacket { pt: 128, ..packet(1) }));
    assert_eq!(writer.finish(), 0);
    assert_eq!(out, [7], "a burst without packets is taken back");

    let mut writer = BurstWriter::new(&mut out, STAMP, 0, 100);
    assert!(writer.push(&packet(1)) && writer.push(&packet(2)));
    while writer.push(&packet(3)) {}
    assert!(writer.finish() >= 4);
    assert!(out.len() <= 101);

    let many: Vec<_> = (0..MAX_PACKETS as u64).map(packet).collect();
    let good = burst(&many);
    assert!(Message::parse(&good).is_ok());
    let mut bad = good.clone();
    bad[34] = 0x81;
    assert!(
        matches!(Message::parse(&bad), Err(RelayError::Limit(_))),
        "one packet more"
    );
    bad[34] = 0;
    assert!(matches!(Message::parse(&bad), Err(RelayError::Limit(_))), "none");
    let mut bad = burst(&[packet(1)]);
    bad[35] &= !8;
    assert!(
        Message::parse(&bad).is_err(),
        "the first packet can't leave anything unsaid"
    );
    assert_eq!(
        Form::parse(&vec![1; MAX_MESSAGE + 1]),
        Err(RelayError::Limit("larger than a message may be"))
    );
    assert_eq!(Form::parse(&[2, 0]), Err(RelayError::Version(2)));
    assert_eq!(Form::parse(&[1, 2]), Err(RelayError::Kind));
    assert_eq!(Form::parse(&[1]), Err(RelayError::Length));
    assert_eq!(
        Form::parse(&[1; 33]),
        Err(RelayError::Length),
        "no room for a tag"
    );
}

prop_compose! {
    fn any_packet()(
        seq in prop_oneof![0..20u64, any::<u64>()],
        timestamp in prop_oneof![0..3u32, any::<u32>()],
        pt in 0..128u8,
        marker: bool,
        keyframe: bool,
        extensions in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..255)), 0..5),
        payload in prop::collection::vec(any::<u8>(), 0..=MAX_PAYLOAD),
    ) -> (u64, u32, u8, bool, bool, Vec<u8>, Vec<u8>) {
        let extension = |(kind, data): (u8, Vec<u8>)| [vec![kind, u8::try_from(data.len()).unwrap()], data].concat();
        let extensions: Vec<u8> = extensions.into_iter().flat_map(extension).collect();
        assert!(extensions.len() <= MAX_EXTENSIONS);
        (seq, timestamp, pt, marker, keyframe, extensions, payload)
    }
}

proptest! {
    #[test]
    fn bursts_are_read_as_they_were_written(packets in prop::collection::vec(any_packet(), 1..12)) {
        let packets: Vec<RelayPacket<'_>> = packets
            .iter()
            .map(|(seq, timestamp, pt, marker, keyframe, extensions, payload)| RelayPacket {
                seq: *seq, timestamp: *timestamp, pt: *pt, marker: *marker, keyframe: *keyframe, extensions, payload,
            })
            .collect();
        let bytes = burst(&packets);
        let message = Message::parse(&bytes).unwrap();
        prop_assert_eq!(message.stamp, STAMP);
        let Says::Burst { came_us, packets: read } = message.says else { panic!("no burst") };
        prop_assert_eq!((came_us, read.len()), (0x31, packets.len()));
        prop_assert_eq!(read.collect::<Vec<_>>(), packets);
        let mut again = Vec::new();
        message.emit(&mut again);
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn no_cut_of_a_message_is_one(packets in prop::collection::vec(any_packet(), 1..4), cut in any::<prop::sample::Index>()) {
        let packets: Vec<RelayPacket<'_>> = packets
            .iter()
            .map(|(seq, timestamp, pt, marker, keyframe, extensions, payload)| RelayPacket {
                seq: *seq, timestamp: *timestamp, pt: *pt, marker: *marker, keyframe: *keyframe, extensions, payload,
            })
            .collect();
        let bytes = burst(&packets);
        let cut = cut.index(bytes.len());
        prop_assert!(Message::parse(&bytes[..cut]).is_err());
        let longer = [&bytes[..], &[0]].concat();
        prop_assert_eq!(Message::parse(&longer), Err(RelayError::Length));
    }

    #[test]
    fn whatever_comes_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600), kind in 0..7u8) {
        let _ = Form::parse(&bytes);
        let bytes = [vec![kind], bytes].concat();
        if let Ok(message) = Message::parse(&bytes) {
            let mut again = Vec::new();
            message.emit(&mut again);
            prop_assert_eq!(Message::parse(&again).map(|message| message.stamp), Ok(message.stamp));
        }
    }
}
