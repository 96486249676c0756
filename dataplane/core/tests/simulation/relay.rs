//! Workers in processes of their own: what one hands over is written, sealed, lost or not, opened and read before the other has it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use weever_core::Handover;
use weever_core::relay::{Followers, Incoming, Key, Seals, Told, Wish};
use weever_proto::relay::{MAX_LEASE_MS, Message, Says, Stamp};
use weever_proto::{Kind, RELAY, TrackId, WorkerId};

use crate::network::Faults;
use crate::world::World;

/// The message bus and both of its ends.
pub struct Bridge {
    random: fastrand::Rng,
    seals: Seals,
    /// Messages of media that get lost, of 1000.
    pub lossy: u32,
    /// Largest message.
    pub most: usize,
    pub lost: u64,
    pub missed: u64,
    pub messages: u64,
    pub requests: u64,
    offered: HashMap<TrackId, Offered>,
    followed: HashMap<TrackId, (Incoming, Vec<WorkerId>)>,
}

struct Offered {
    worker: WorkerId,
    kind: Kind,
    number: u64,
    followers: Followers,
}

type Carried = Vec<(WorkerId, Handover)>;

impl Bridge {
    pub fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            seals: Seals::new(&[Key::new([3; 32])], seed.into()).unwrap(),
            lossy: 0,
            most: 4000,
            lost: 0,
            missed: 0,
            messages: 0,
            requests: 0,
            offered: HashMap::new(),
            followed: HashMap::new(),
        }
    }

    /// What comes of something that was handed to the relay.
    pub fn carry(&mut self, now: Instant, handover: &Handover) -> Carried {
        let (track, from) = (handover.track(), handover.from());
        match handover.told() {
            Told::Offered(kind) => {
                let offered = Offered {
                    worker: from,
                    kind,
                    number: 0,
                    followers: Followers::default(),
                };
                self.offered.insert(track, offered);
                Vec::new()
            }
            Told::Withdrawn => {
                self.offered.remove(&track);
                Vec::new()
            }
            Told::Follow(kind) => {
                let (_, workers) = self
                    .followed
                    .entry(track)
                    .or_insert_with(|| (Incoming::new(track, kind), Vec::new()));
                workers.push(from);
                let lease_ms = MAX_LEASE_MS;
                self.wish(now, track, from, Says::Follow { lease_ms })
            }
            Told::Unfollow => {
                self.followed.remove(&track);
                self.wish(now, track, from, Says::Unfollow)
            }
            Told::RequestKeyframe => self.wish(now, track, from, Says::RequestKeyframe),
            Told::Burst(burst) => {
                let (mut first, mut carried) = (0, Vec::new());
                while first < burst.packets() {
                    let mut emitted = 0;
                    let most = self.most;
                    carried.extend(self.cross(now, track, |stamp, out| {
                        emitted = burst.emit(first, stamp, 0, most, out);
                    }));
                    assert!(emitted > 0, "every packet has room in a message");
                    first += emitted;
                }
                carried
            }
            Told::SenderReport { ntp, timestamp } => self.cross(now, track, |stamp, out| {
                let says = Says::SenderReport { ntp, timestamp };
                Message { stamp, says }.emit(out);
            }),
        }
    }

    fn wish(&mut self, now: Instant, track: TrackId, from: WorkerId, says: Says<'_>) -> Carried {
        let Some(offered) = self.offered.get_mut(&track) else {
            return Vec::new();
        };
        self.requests += 1;
        let stamp = Stamp {
            track,
            source: from.0.into(),
            number: self.requests,
        };
        let handover = match offered.followers.take(now, stamp, &says).unwrap() {
            Wish::New => Handover::relay_follows(track, offered.kind),
            Wish::Keyframe => Handover::relay_requests_keyframe(track),
            Wish::Left => Handover::relay_unfollows(track),
            Wish::Renewed => return Vec::new(),
        };
        vec![(offered.worker, handover)]
    }

    fn cross(&mut self, now: Instant, track: TrackId, write: impl FnOnce(Stamp, &mut Vec<u8>)) -> Carried {
        let Some(offered) = self.offered.get_mut(&track) else {
            return Vec::new();
        };
        let (source, number) = (1, offered.number);
        offered.number += 1;
        let stamp = Stamp {
            track,
            source,
            number,
        };
        let (mut out, mut room) = (Vec::new(), Vec::new());
        self.seals.begin(&mut out);
        write(stamp, &mut out);
        self.seals.end("media", &mut out).unwrap();
        assert!(out.len() <= self.most + self.seals.overhead());
        self.messages += 1;
        if self.random.u32(0..1000) < self.lossy {
            self.lost += 1;
            return Vec::new();
        }
        let bytes = self.seals.open("media", &out, &mut room).unwrap();
        let message = Message::parse(bytes).unwrap();
        let Some((incoming, workers)) = self.followed.get_mut(&track) else {
            return Vec::new();
        };
        let taken = incoming.take(&message).unwrap();
        assert!(incoming.take(&message).is_err(), "once");
        self.missed += taken.lost;
        let mut carried: Carried = workers
            .iter()
            .map(|worker| (*worker, taken.handover.clone()))
            .collect();
        if taken.lost > 0 {
            let from = workers[0];
            carried.extend(self.wish(now, track, from, Says::RequestKeyframe));
        }
        carried
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// A publisher in one process, two viewers in another.
fn stage(seed: u64) -> (World, usize, u32, [usize; 2], [u32; 2]) {
    let mut world = World::new(seed, 2);
    let (publisher, track, ssrc) = world.publisher(0);
    let viewers = [world.viewer(1), world.viewer(1)];
    let ssrcs = viewers.map(|viewer| world.route(viewer, 1, track, RELAY.0, Kind::Video).ssrc);
    world.connect_all();
    (world, publisher, ssrc, viewers, ssrcs)
}

fn payloads(world: &World, viewer: usize, ssrc: u32) -> Vec<(u64, Vec<u8>)> {
    let got = world.clients[viewer]
        .got
        .get(&ssrc)
        .map_or(&[][..], Vec::as_slice);
    let mut got: Vec<_> = got.iter().map(|got| (got.seq, got.payload.to_vec())).collect();
    got.sort();
    got
}

#[test]
fn a_stream_crosses_whole_and_each_burst_once() {
    let (mut world, publisher, ssrc, viewers, ssrcs) = stage(31);
    let sent = world.film(publisher, ssrc, 1000, 90, 1000);
    world.run(SECOND);
    for (viewer, ssrc) in viewers.into_iter().zip(ssrcs) {
        let got = payloads(&world, viewer, ssrc);
        assert!(got.iter().map(|(_, payload)| payload).eq(&sent));
        assert!(got.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1));
        let got = &world.clients[viewer].got[&ssrc];
        assert!(
            got.iter().all(|got| got.rotation.is_some() == got.marker),
            "extensions travel with their packet"
        );
        assert!(
            !world.clients[viewer].reports.is_empty(),
            "and the publisher's clock"
        );
    }
    assert!(world.bridge.messages <= 3 * 90 + 10, "{}", world.bridge.messages);
    assert_eq!(world.bridge.missed, 0);
}

#[test]
fn what_the_network_loses_comes_again_from_the_process_where_its_viewer_is() {
    let (mut world, publisher, ssrc, viewers, ssrcs) = stage(32);
    world.film(publisher, ssrc, 1000, 5, 1000);
    world.network.down = Faults {
        lost: 50,
        ..Faults::default()
    };
    world.film(publisher, ssrc, 1015, 200, 1000);
    world.network.down = Faults::default();
    world.film(publisher, ssrc, 1615, 5, 1000);
    world.run(2 * SECOND);
    assert!(world.network.lost > 10, "the fault happened");
    for (viewer, ssrc) in viewers.into_iter().zip(ssrcs) {
        let mut got: Vec<u64> = payloads(&world, viewer, ssrc)
            .iter()
            .map(|(seq, _)| *seq)
            .collect();
        got.dedup();
        assert_eq!(got.len(), 3 * 210);
    }
    assert!(world.workers[1].stats().rtx_packets > 10);
    assert_eq!(world.workers[0].stats().nacked_packets, 0);
}

/// What it came to: messages lost, and packets that the first viewer got.
fn lossy(seed: u64) -> (u64, Vec<(u64, Vec<u8>)>) {
    let (mut world, publisher, ssrc, viewers, ssrcs) = stage(seed);
    let before = world.workers[0].stats().keyframe_requests;
    world.bridge.lossy = 20;
    let sent = world.film(publisher, ssrc, 1000, 300, 30);
    world.bridge.lossy = 0;
    let rest = world.film(publisher, ssrc, 1900, 31, 30);
    world.run(2 * SECOND);
    let asked = world.workers[0].stats().keyframe_requests - before;
    assert!(world.bridge.lost > 5, "the fault happened");
    assert_eq!(world.bridge.missed, world.bridge.lost, "every loss is seen");
    // Ten seconds of film, and half a second between two requests.
    assert!((1..=25).contains(&asked), "{asked} keyframe requests");
    let got = payloads(&world, viewers[0], ssrcs[0]);
    let all: Vec<&Vec<u8>> = sent.iter().chain(&rest).collect();
    assert!(got.len() > all.len() * 8 / 10 && got.len() < all.len());
    assert!(
        got.iter().all(|(_, payload)| all.contains(&payload)),
        "nothing else came"
    );
    let last: Vec<&Vec<u8>> = got[got.len() - rest.len()..]
        .iter()
        .map(|(_, payload)| payload)
        .collect();
    assert!(last.into_iter().eq(&rest), "afterwards nothing is missing");
    (world.bridge.lost, got)
}

#[test]
fn a_lossy_bus_costs_what_it_loses_and_no_more() {
    for seed in 33..36 {
        lossy(seed);
    }
}

#[test]
fn the_same_seed_loses_the_same() {
    let (once, twice) = (lossy(40), lossy(40));
    assert_eq!(once.0, twice.0);
    assert_eq!(once.1.len(), twice.1.len());
}
