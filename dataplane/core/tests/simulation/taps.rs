//! What a tap tells of a session, and that it tells no more.

use std::net::SocketAddr;
use std::time::Duration;

use weever_core::wire::rtcp::{Compound, RtcpPacket};
use weever_core::wire::rtp::RtpView;
use weever_proto::{
    CloseReason, Codec, Command, Event, ExtensionKind, Kind, PacketKind, PacketRecord, RtpNote, SessionId,
    WatchEnd, limits,
};

use crate::network::Faults;
use crate::world::{World, server};

const SECOND: Duration = Duration::from_secs(1);

fn watch(world: &mut World, client: usize) -> SessionId {
    let session = world.clients[client].session;
    world.command(0, Command::Watch { session });
    session
}

/// All that was told of a session, and how many packets were left out.
fn told(world: &World, session: SessionId) -> (Vec<PacketRecord>, u64) {
    let (mut records, mut left_out) = (Vec::new(), 0);
    for (_, event) in &world.events {
        if let Event::Packets(packets) = event
            && packets.session == session
        {
            assert!(packets.records.len() <= limits::MAX_PACKET_RECORDS);
            records.extend(packets.records.clone());
            left_out += packets.left_out;
        }
    }
    (records, left_out)
}

fn rtp(records: &[PacketRecord], sent: bool) -> Vec<(&PacketRecord, &RtpNote)> {
    records
        .iter()
        .filter(|record| record.sent == sent)
        .filter_map(|record| match &record.kind {
            PacketKind::Rtp(note) => Some((record, note)),
            PacketKind::Rtcp => None,
        })
        .collect()
}

fn rtcp(records: &[PacketRecord], sent: bool, mut wanted: impl FnMut(&RtcpPacket<'_>) -> bool) -> usize {
    let of = records
        .iter()
        .filter(|record| record.kind == PacketKind::Rtcp && record.sent == sent);
    of.map(|record| Compound::parse(&record.header).filter(&mut wanted).count())
        .sum()
}

fn is_rtp(datagram: &[u8]) -> bool {
    datagram[0] >> 6 == 2 && !(192..=223).contains(&datagram[1])
}

#[test]
fn a_viewers_tap_tells_what_it_is_sent_and_what_it_answers() {
    let mut world = World::new(71, 1);
    let (publisher, track, ssrc) = world.publisher(0);
    let (viewer, other) = (world.viewer(0), world.viewer(0));
    let route = world.route(viewer, 0, track, 0, Kind::Video);
    world.route(other, 0, track, 0, Kind::Video);
    world.connect_all();
    world.tap = Some(Vec::new());
    let session = watch(&mut world, viewer);
    world.film(publisher, ssrc, 1000, 30, 10);
    world.network.down = Faults {
        lost: 100,
        ..Faults::default()
    };
    world.film(publisher, ssrc, 1090, 60, 10);
    world.network.down = Faults::default();
    world.command(0, Command::Unwatch { session });

    let (records, left_out) = told(&world, session);
    assert_eq!(left_out, 0);
    let address = world.clients[viewer].addr;
    let wire = world.tap.take().unwrap();
    let wire: Vec<_> = wire
        .iter()
        .filter(|(_, to, bytes)| *to == address && is_rtp(bytes))
        .collect();
    let sent = rtp(&records, true);
    assert!(sent.len() > 270 && sent.len() == wire.len(), "each datagram once");
    let mut retransmissions = 0;
    for ((record, note), (_, _, datagram)) in sent.iter().zip(&wire) {
        let view = RtpView::parse(datagram).unwrap();
        assert_eq!(
            record.header,
            view.header(),
            "the header as it went, and not a byte more"
        );
        assert_eq!(record.size as usize, datagram.len());
        assert_eq!(note.payload as usize, datagram.len() - view.header_len() - 16);
        assert_eq!((note.track, note.codec), (Some(track), Some(Codec::Vp8)));
        assert_eq!(note.rtx, view.ssrc() == route.ssrc + 1);
        assert!(note.extensions.iter().any(|e| e.kind == ExtensionKind::Mid));
        retransmissions += usize::from(note.rtx);
    }
    assert!(
        world.network.lost > 10 && retransmissions > 10,
        "the fault happened"
    );
    let keyframes = sent.iter().filter(|(_, note)| note.keyframe).count();
    assert_eq!(keyframes, 9, "the first packet of each");
    assert!(
        rtcp(
            &records,
            true,
            |p| matches!(p, RtcpPacket::SenderReport { ssrc, .. } if *ssrc == route.ssrc)
        ) > 0
    );
    assert!(rtcp(&records, true, |p| matches!(p, RtcpPacket::Sdes { .. })) > 0);
    assert!(rtcp(&records, false, |p| matches!(p, RtcpPacket::Nack { .. })) > 0);
    assert!(
        rtcp(&records, false, |p| matches!(
            p,
            RtcpPacket::ReceiverReport { .. }
        )) > 0
    );
    assert!(rtp(&records, false).is_empty());
    assert_eq!(
        told(&world, world.clients[other].session).0.len(),
        0,
        "nobody else is watched"
    );
}

#[test]
fn a_publishers_tap_tells_what_it_sends_and_what_it_is_told() {
    let mut world = World::new(72, 2);
    let (publisher, track, ssrc) = world.publisher(0);
    // On another worker: keyframes are asked for over there.
    let viewer = world.viewer(1);
    world.route(viewer, 1, track, 0, Kind::Video);
    world.connect_all();
    let session = watch(&mut world, publisher);
    world.film(publisher, ssrc, 1, 30, 10);
    world.network.up = Faults {
        lost: 100,
        ..Faults::default()
    };
    world.film(publisher, ssrc, 91, 60, 10);
    world.network.up = Faults::default();
    world.run(SECOND);
    world.command(0, Command::Unwatch { session });
    let (records, _) = told(&world, session);
    let received = rtp(&records, false);
    let mut sequences = Vec::new();
    for (record, note) in &received {
        let view = RtpView::parse(&record.header).unwrap();
        assert_eq!(view.header_len(), record.header.len());
        assert_eq!((note.track, note.codec), (Some(track), Some(Codec::Vp8)));
        assert_eq!(note.rtx, view.ssrc() == ssrc + 1);
        assert_eq!(record.dropped, None);
        if !note.rtx {
            sequences.push(u64::from(view.sequence()));
            assert_eq!(
                note.keyframe,
                (view.sequence() - 1).is_multiple_of(30),
                "{}",
                view.sequence()
            );
            // str0m says the mid in its first packets only.
            let kinds: Vec<_> = note.extensions.iter().map(|e| e.kind).collect();
            assert!(kinds.contains(&ExtensionKind::TransportCc), "{kinds:?}");
            assert_eq!(view.marker(), kinds.contains(&ExtensionKind::VideoOrientation));
        }
    }
    assert!(world.network.lost > 10, "the fault happened");
    sequences.dedup();
    assert!(sequences.len() > 200 && sequences.len() < 270 && sequences.is_sorted());
    assert!(received.iter().any(|(_, note)| note.rtx));
    assert!(rtp(&records, true).is_empty());
    assert!(rtcp(&records, false, |p| matches!(p, RtcpPacket::SenderReport { .. })) > 0);
    for wanted in [
        |p: &RtcpPacket<'_>| matches!(p, RtcpPacket::ReceiverReport { .. }),
        |p: &RtcpPacket<'_>| matches!(p, RtcpPacket::Nack { .. }),
        |p: &RtcpPacket<'_>| matches!(p, RtcpPacket::TransportCc { .. }),
    ] {
        assert!(rtcp(&records, true, wanted) > 0);
    }
    let before = rtcp(&records, true, |p| matches!(p, RtcpPacket::Pli { .. }));
    watch(&mut world, publisher);
    let newcomer = world.viewer(0);
    world.route(newcomer, 0, track, 0, Kind::Video);
    world.connect_all();
    world.film(publisher, ssrc, 271, 10, 10);
    let after = rtcp(&told(&world, session).0, true, |p| {
        matches!(p, RtcpPacket::Pli { .. })
    });
    assert!(after > before, "who comes needs a keyframe");
}

#[test]
fn times_tell_when_each_packet_passed() {
    let mut world = World::new(73, 1);
    let (publisher, _, ssrc) = world.publisher(0);
    world.connect_all();
    let session = watch(&mut world, publisher);
    world.film(publisher, ssrc, 1, 10, 10);
    world.run(SECOND);
    let mut frames = Vec::new();
    for (at, event) in &world.events {
        let Event::Packets(packets) = event else { continue };
        assert_eq!(packets.session, session);
        for record in &packets.records {
            assert!(record.age_us <= 60_000, "nothing waits long: {}", record.age_us);
            if let (PacketKind::Rtp(_), Ok(view)) = (&record.kind, RtpView::parse(&record.header)) {
                frames.push((view.sequence(), *at - Duration::from_micros(record.age_us.into())));
            }
        }
    }
    assert_eq!(frames.len(), 30);
    for pair in frames.windows(4) {
        let frame = pair[3].1 - pair[0].1;
        assert!(
            (Duration::from_millis(30)..Duration::from_millis(36)).contains(&frame),
            "{frame:?}"
        );
    }
}

#[test]
fn a_tap_that_nobody_renews_ends_by_itself() {
    let mut world = World::new(74, 1);
    let (publisher, _, ssrc) = world.publisher(0);
    world.connect_all();
    let session = watch(&mut world, publisher);
    let lease = Duration::from_secs(limits::WATCH_LEASE_SECS);
    world.run(lease * 6 / 10);
    watch(&mut world, publisher);
    world.run(lease * 6 / 10);
    let ended = |world: &World| {
        let end = Event::WatchEnded {
            session,
            reason: WatchEnd::Expired,
        };
        world.events.iter().filter(|(_, event)| *event == end).count()
    };
    assert_eq!(ended(&world), 0, "it was renewed");
    world.run(lease / 2);
    assert_eq!(ended(&world), 1);
    let before = told(&world, session).0.len();
    world.film(publisher, ssrc, 1, 10, 10);
    world.run(SECOND);
    assert_eq!(told(&world, session).0.len(), before);
}

#[test]
fn a_worker_has_few_taps_and_none_for_strangers() {
    let mut world = World::new(75, 1);
    for _ in 0..5 {
        world.viewer(0);
    }
    world.connect_all();
    for viewer in 0..5 {
        watch(&mut world, viewer);
    }
    let full = Event::WatchEnded {
        session: world.clients[4].session,
        reason: WatchEnd::Full,
    };
    let ends = |world: &World| {
        let is_end = |event: &Event| matches!(event, Event::WatchEnded { .. });
        let all = world.events.iter().map(|(_, event)| event.clone());
        all.filter(is_end).collect::<Vec<_>>()
    };
    assert_eq!(ends(&world), [full]);
    let session = world.clients[0].session;
    world.command(0, Command::Unwatch { session });
    watch(&mut world, 4);
    let session = SessionId(9_999_999);
    world.command(0, Command::Watch { session });
    let unknown = Event::WatchEnded {
        session,
        reason: WatchEnd::UnknownSession,
    };
    assert_eq!(ends(&world).len(), 3);
    assert_eq!(ends(&world).last(), Some(&unknown));
}

#[test]
fn more_than_the_limit_is_counted_and_rtcp_is_told_all_the_same() {
    let mut world = World::new(76, 1);
    let (publisher, _, ssrc) = world.publisher(0);
    world.connect_all();
    world.film(publisher, ssrc, 1, 1, 10);
    let session = watch(&mut world, publisher);
    let sizes = [30; 4500];
    world.shoot(publisher, ssrc, 4, true, &sizes, Duration::ZERO);
    world.run(SECOND * 2);
    let (records, left_out) = told(&world, session);
    let seen = rtp(&records, false).len();
    assert_eq!(seen as u64 + left_out, 4500);
    assert_eq!(seen, 4000);
    assert!(rtcp(&records, true, |_| true) > 0);
    world.shoot(publisher, ssrc, 4504, true, &[30; 10], Duration::ZERO);
    world.run(SECOND);
    assert_eq!(
        rtp(&told(&world, session).0, false).len(),
        4010,
        "and then it goes on"
    );
}

#[test]
fn what_is_thrown_away_is_told_with_the_reason() {
    let mut world = World::new(77, 1);
    let (publisher, _, ssrc) = world.publisher(0);
    world.connect_all();
    world.film(publisher, ssrc, 1, 3, 10);
    let session = watch(&mut world, publisher);
    let from: SocketAddr = world.clients[publisher].addr;
    // Of the right form, from the right address, without the key.
    let mut forged = vec![0x80, 96, 0, 50, 0, 0, 0, 1];
    forged.extend(ssrc.to_be_bytes());
    forged.extend(b"not sealed by anybody at all");
    let report = [
        0x80, 201, 0, 1, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20,
    ];
    for bytes in [&forged[..], &report, &[0x80, 96, 1]] {
        world.network.send(world.now, from, server(0), bytes, true);
    }
    world.run(SECOND);
    let (records, _) = told(&world, session);
    let dropped: Vec<_> = records
        .iter()
        .filter_map(|record| Some((record.dropped.as_deref()?, record.header.len())))
        .collect();
    assert_eq!(
        dropped,
        [("rtp_rejected", 12), ("rtcp_rejected", 8), ("rtp_malformed", 3)]
    );
}

#[test]
fn the_last_packets_are_told_before_the_end() {
    let mut world = World::new(78, 1);
    let (publisher, _, ssrc) = world.publisher(0);
    world.connect_all();
    let session = watch(&mut world, publisher);
    world.shoot(publisher, ssrc, 1, true, &[100; 5], Duration::from_millis(1));
    world.run(Duration::from_millis(20));
    world.command(0, Command::CloseSession { session });
    world.run(SECOND);
    let (records, _) = told(&world, session);
    assert_eq!(rtp(&records, false).len(), 5);
    let closed = Event::SessionClosed {
        session,
        reason: CloseReason::Requested,
    };
    assert_eq!(world.events.last().map(|(_, event)| event.clone()), Some(closed));
}
