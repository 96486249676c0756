//! What strangers may try at the UDP port.

use std::net::SocketAddr;
use std::time::Duration;

use weever_core::wire::stun::{BindingRequest, IceRole, StunView, emit_binding_request};
use weever_core::{DropReason, Path};
use weever_proto::Kind;

use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

fn stranger() -> Path {
    Path {
        socket: 0,
        remote: SocketAddr::from(([10, 66, 6, 6], 666)),
    }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let mut context = aws_lc_rs::hmac::Context::with_key(&key);
    parts.iter().for_each(|part| context.update(part));
    context.sign().as_ref().try_into().unwrap()
}

fn check(username: &str, password: &str, role: Option<IceRole>, priority: Option<u32>) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    let request = BindingRequest {
        transaction: [9; 12],
        username,
        password,
        priority,
        role,
        use_candidate: true,
    };
    let len = emit_binding_request(&mut bytes, &request, hmac).unwrap();
    bytes.truncate(len);
    bytes
}

/// Hands a datagram in as if from `path` and returns what is answered.
fn poke(world: &mut World, path: Path, datagram: &[u8]) -> Vec<(Path, Vec<u8>)> {
    let now = world.now;
    world.workers[0].handle_datagram(now, path, datagram, &mut world.outbox);
    std::mem::take(&mut world.outbox.sent)
}

#[test]
fn checks_without_the_password_are_not_answered_and_teach_nothing() {
    let mut world = World::new(1, 1);
    let viewer = world.viewer(0);
    let creds = world.clients[viewer].credentials();
    let right = format!("srv0000:{}", creds.ufrag);
    let password = "server-password-0000-0123456";
    // In the pause between POST and the client's first check.
    for (username, password) in [
        (right.as_str(), "not-the-password-at-all-00"),
        ("srv9999:somebody", password),
        ("srv0000:somebody", password),
        ("nonsense", password),
    ] {
        assert!(
            poke(&mut world, stranger(), &check(username, password, None, Some(1))).is_empty(),
            "{username}"
        );
    }
    let mut bare = check(&right, password, None, Some(1));
    let end = bare.len();
    bare[end - 20] ^= 1;
    assert!(
        poke(&mut world, stranger(), &bare).is_empty(),
        "FINGERPRINT or MESSAGE-INTEGRITY broken"
    );
    assert!(poke(&mut world, stranger(), &[22, 254, 253, 0, 0]).is_empty());
    assert_eq!(
        world.workers[0].drops(DropReason::UnknownAddress),
        1,
        "no address was learnt"
    );
    world.connect_all();
    assert!(
        poke(
            &mut world,
            stranger(),
            &check(&right, "not-the-password-at-all-00", None, Some(1))
        )
        .is_empty()
    );
    assert!(world.workers[0].drops(DropReason::StunIntegrity) >= 2);
}

#[test]
fn a_check_without_priority_or_role_is_answered() {
    let mut world = World::new(2, 1);
    let viewer = world.viewer(0);
    let creds = world.clients[viewer].credentials();
    let username = format!("srv0000:{}", creds.ufrag);
    let request = check(&username, "server-password-0000-0123456", None, None);
    let answers = poke(&mut world, stranger(), &request);
    let answer = StunView::parse(&answers[0].1).unwrap();
    assert!(answer.is_binding_success());
    assert_eq!(answer.mapped_address(), Some(stranger().remote));
    assert!(answer.verify_integrity("server-password-0000-0123456", hmac));
    assert_eq!(answer.fingerprint_ok(), Some(true));
}

#[test]
fn a_client_that_believes_to_be_controlled_is_told() {
    let mut world = World::new(3, 1);
    let viewer = world.viewer(0);
    let creds = world.clients[viewer].credentials();
    let username = format!("srv0000:{}", creds.ufrag);
    let request = check(
        &username,
        "server-password-0000-0123456",
        Some(IceRole::Controlled(5)),
        Some(1),
    );
    let answers = poke(&mut world, stranger(), &request);
    assert_eq!(StunView::parse(&answers[0].1).unwrap().error_code(), Some(487));
}

#[test]
fn nothing_from_a_stranger_is_answered_or_disturbs() {
    let mut world = World::new(4, 1);
    let (publisher, track, ssrc) = world.publisher(0);
    let viewer = world.viewer(0);
    let route = world.route(viewer, 0, track, 0, Kind::Video);
    world.connect_all();
    world.tap = Some(Vec::new());
    world.film(publisher, ssrc, 1, 10, 1000);
    let overheard: Vec<_> = world
        .tap
        .take()
        .unwrap()
        .into_iter()
        .map(|(_, _, bytes)| bytes)
        .collect();
    let mut random = fastrand::Rng::with_seed(4);
    let mut answered = 0;
    for n in 0..20_000usize {
        let mut datagram = overheard[n % overheard.len()].clone();
        match n % 4 {
            0 => {}
            1 => datagram.truncate(random.usize(..datagram.len())),
            2 => datagram.iter_mut().for_each(|byte| *byte = random.u8(..)),
            _ => {
                let at = random.usize(..datagram.len());
                datagram[at] ^= 1 << random.u8(..8);
            }
        }
        answered += poke(&mut world, stranger(), &datagram).len();
    }
    assert_eq!(answered, 0);
    let sent = world.film(publisher, ssrc, 31, 30, 1000);
    world.run(SECOND);
    assert_eq!(world.clients[viewer].got[&route.ssrc].len(), 30 + sent.len());
}

/// The same, but with the address of a client: what a spoofing neighbour, or the client itself, might send.
#[test]
fn noise_from_a_known_address_does_not_end_the_session() {
    let mut world = World::new(5, 1);
    let (publisher, track, ssrc) = world.publisher(0);
    let viewer = world.viewer(0);
    let route = world.route(viewer, 0, track, 0, Kind::Video);
    world.connect_all();
    world.film(publisher, ssrc, 1, 10, 1000);
    let mut random = fastrand::Rng::with_seed(5);
    for client in [publisher, viewer] {
        let path = Path {
            socket: 0,
            remote: world.clients[client].addr,
        };
        for n in 0..5000usize {
            let mut datagram: Vec<u8> = (0..random.usize(1..200)).map(|_| random.u8(..)).collect();
            datagram[0] = match n % 3 {
                0 => random.u8(20..64),
                1 => random.u8(128..192),
                _ => random.u8(..),
            };
            poke(&mut world, path, &datagram);
        }
        // DTLS alerts in the clear, epoch 0: handshake_failure and close_notify.
        for (level, kind) in [(2, 40), (1, 0)] {
            let alert = [21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 99, 0, 2, level, kind];
            poke(&mut world, path, &alert);
        }
    }
    let before = world.clients[viewer].got[&route.ssrc].len();
    world.film(publisher, ssrc, 31, 30, 1000);
    world.run(SECOND);
    assert_eq!(
        world.clients[viewer].got[&route.ssrc].len(),
        before + 90,
        "{:?}",
        world.events
    );
}

#[test]
fn replayed_media_and_feedback_is_dropped() {
    let mut world = World::new(6, 1);
    let (publisher, track, ssrc) = world.publisher(0);
    let viewer = world.viewer(0);
    let route = world.route(viewer, 0, track, 0, Kind::Video);
    world.connect_all();
    world.network.up.doubled = 1000;
    let sent = world.film(publisher, ssrc, 1, 90, 1000);
    world.run(SECOND);
    assert_eq!(world.clients[viewer].got[&route.ssrc].len(), sent.len());
    assert!(world.network.doubled > 200, "the fault happened");
    assert!(world.workers[0].drops(DropReason::RtcpReplayed) > 0);
}
