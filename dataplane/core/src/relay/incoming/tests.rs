use weever_proto::relay::{BurstWriter, RelayPacket, Stamp};

use super::*;

const TRACK: TrackId = TrackId(7);

fn incoming() -> Incoming {
    Incoming::new(TRACK, Kind::Video)
}

/// A message of packets with these numbers, 3000 ticks apart.
fn burst(source: u64, number: u64, seqs: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    let stamp = Stamp {
        track: TRACK,
        source,
        number,
    };
    let mut writer = BurstWriter::new(&mut out, stamp, 5, usize::MAX);
    for seq in seqs {
        let payload = seq.to_be_bytes();
        assert!(writer.push(&RelayPacket {
            seq: *seq,
            timestamp: u32::try_from(seq % 10_000).unwrap() * 3000,
            pt: 96,
            marker: true,
            keyframe: false,
            extensions: &[6, 1, 0x85, 4, 1, 9],
            payload: &payload,
        }));
    }
    writer.finish();
    out
}

fn take(incoming: &mut Incoming, bytes: &[u8]) -> Result<(u64, Vec<(u64, u32)>), RelayDrop> {
    let taken = incoming.take(&Message::parse(bytes).unwrap())?;
    let Body::Burst(burst) = taken.handover.body else {
        panic!("no burst");
    };
    let counts = burst.packets.iter().map(|packet| (packet.seq, packet.timestamp));
    Ok((taken.lost, counts.collect()))
}

#[test]
fn packets_come_as_they_went_but_for_extensions_that_are_no_medias() {
    let mut incoming = incoming();
    let bytes = burst(1, 0, &[100, 101, 103]);
    let taken = incoming.take(&Message::parse(&bytes).unwrap()).unwrap();
    assert_eq!((taken.lost, taken.packets, taken.came_us), (0, 3, 5));
    assert!(taken.handover.is_media());
    let Body::Burst(burst) = &taken.handover.body else {
        panic!("no burst");
    };
    let packet = &burst.packets[2];
    assert_eq!((packet.seq, packet.timestamp, packet.pt), (103, 309_000, 96));
    assert_eq!(packet.payload[..], 103u64.to_be_bytes());
    assert_eq!(packet.extensions.bytes(), [6, 1, 0x85]);
}

#[test]
fn what_is_lost_is_counted_and_what_came_twice_is_not_taken() {
    let mut incoming = incoming();
    assert_eq!(take(&mut incoming, &burst(1, 10, &[1])).unwrap().0, 0);
    assert_eq!(take(&mut incoming, &burst(1, 11, &[2])).unwrap().0, 0);
    assert_eq!(take(&mut incoming, &burst(1, 15, &[6])).unwrap().0, 3);
    for number in [10, 12, 15] {
        assert_eq!(
            take(&mut incoming, &burst(1, number, &[9])),
            Err(RelayDrop::Old),
            "{number}"
        );
    }
}

#[test]
fn an_origin_that_begins_anew_goes_on_where_the_old_one_ended() {
    let mut incoming = incoming();
    take(&mut incoming, &burst(5, 0, &[1000, 1001])).unwrap();
    let (_, counts) = take(&mut incoming, &burst(6, 0, &[3, 4])).unwrap();
    assert_eq!(counts, [(1002, 3_006_000), (1003, 3_009_000)]);
    assert_eq!(
        take(&mut incoming, &burst(5, 9, &[1002])),
        Err(RelayDrop::Old),
        "the old one's"
    );
    let (_, counts) = take(&mut incoming, &burst(6, 1, &[5])).unwrap();
    assert_eq!(counts, [(1004, 3_012_000)]);
}

#[test]
fn counts_that_can_not_be_are_refused_and_change_nothing() {
    let mut incoming = incoming();
    take(&mut incoming, &burst(1, 0, &[1000])).unwrap();
    for seqs in [&[1001, u64::MAX][..], &[MAX_SEQ], &[1000 + MAX_JUMP + 1]] {
        assert_eq!(take(&mut incoming, &burst(1, 1, seqs)), Err(RelayDrop::Malformed));
    }
    assert_eq!(
        take(&mut incoming, &burst(2, u64::MAX, &[1])),
        Err(RelayDrop::Malformed)
    );
    assert_eq!(
        take(&mut incoming, &burst(1, 1, &[1001])).unwrap(),
        (0, vec![(1001, 3_003_000)])
    );
}

#[test]
fn other_tracks_and_wishes_are_no_media() {
    let mut incoming = incoming();
    let stamp = Stamp {
        track: TrackId(8),
        source: 1,
        number: 0,
    };
    let says = Says::SenderReport { ntp: 1, timestamp: 2 };
    assert_eq!(
        incoming.take(&Message { stamp, says }).unwrap_err(),
        RelayDrop::WrongTrack
    );
    let stamp = Stamp {
        track: TRACK,
        ..stamp
    };
    let says = Says::RequestKeyframe;
    assert_eq!(
        incoming.take(&Message { stamp, says }).unwrap_err(),
        RelayDrop::Malformed
    );
    assert!(!incoming.has_begun());
}
