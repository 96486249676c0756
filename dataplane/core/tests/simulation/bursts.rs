//! How packets travel together, and what is shed when a core is full.

use std::time::Duration;

use weever_core::DropReason;
use weever_proto::{DtlsRole, Event, Kind, Refusal, Role};

use crate::client::Got;
use crate::world::World;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A publisher with one viewer, connected, on a core in use by so many thousandths.
struct Cinema {
    world: World,
    publisher: usize,
    ssrc: u32,
    viewer: usize,
    shown_as: u32,
    next: u64,
    sent: Vec<Vec<u8>>,
}

impl Cinema {
    fn new(seed: u64, busy: u32) -> Self {
        let mut world = World::new(seed, 1);
        let (publisher, track, ssrc) = world.publisher(0);
        let viewer = world.viewer(0);
        let route = world.route(viewer, 0, track, 0, Kind::Video);
        world.connect_all();
        let mut cinema = Self {
            world,
            publisher,
            ssrc,
            viewer,
            shown_as: route.ssrc,
            next: 1000,
            sent: Vec::new(),
        };
        cinema.show(true, &[200], MS);
        cinema.keep_busy(busy);
        cinema
    }

    /// Long enough for a measurement of the load.
    fn keep_busy(&mut self, permille: u32) {
        self.world.busy[0] = permille;
        for _ in 0..60 {
            self.show(false, &[200], 50 * MS);
        }
    }

    /// Sends a frame and lets it arrive. Returns how many datagrams each send held.
    fn show(&mut self, keyframe: bool, sizes: &[usize], gap: Duration) -> Vec<usize> {
        self.world.outbox.trains.clear();
        let frame = self
            .world
            .shoot(self.publisher, self.ssrc, self.next, keyframe, sizes, gap);
        self.next += sizes.len() as u64;
        self.sent.extend(frame);
        self.world.run(30 * MS);
        self.world.outbox.trains.clone()
    }

    fn got(&self) -> &[Got] {
        &self.world.clients[self.viewer].got[&self.shown_as]
    }

    fn assert_all_came(&mut self) {
        self.world.run(SECOND);
        let mut got = self.got().to_vec();
        got.sort_by_key(|got| got.seq);
        assert!(
            got.iter()
                .map(|got| &got.payload[..])
                .eq(self.sent.iter().map(|sent| &sent[..]))
        );
    }
}

#[test]
fn a_calm_core_sends_at_once_and_a_busy_one_by_the_frame() {
    let mut calm = Cinema::new(41, 50);
    let mut busy = Cinema::new(41, 700);
    for _ in 0..20 {
        let trains = calm.show(false, &[900; 5], MS);
        assert!(trains.iter().all(|count| *count == 1), "{trains:?}");
        let trains = busy.show(false, &[900; 5], MS);
        assert!(trains.contains(&5), "{trains:?}");
    }
    calm.assert_all_came();
    busy.assert_all_came();
}

#[test]
fn nothing_waits_longer_than_the_window() {
    let mut busy = Cinema::new(42, 700);
    // A frame whose packets trickle in.
    for _ in 0..10 {
        let trains = busy.show(false, &[900; 12], 2 * MS);
        // 5 ms hold three packets that come every 2 ms.
        assert!(trains.iter().all(|count| *count <= 4), "{trains:?}");
        assert!(
            trains.iter().filter(|count| **count >= 3).count() >= 3,
            "{trains:?}"
        );
    }
    busy.assert_all_came();
}

#[test]
fn a_keyframe_is_spread_over_a_viewers_link() {
    let mut cinema = Cinema::new(43, 700);
    cinema.show(true, &[1000; 100], Duration::ZERO);
    cinema.assert_all_came();
    let got = cinema.got();
    let first = got[got.len() - 100].at;
    let within = |time: Duration| {
        got.iter()
            .filter(|got| got.at >= first && got.at <= first + time)
            .count()
    };
    assert_eq!(
        [4, 9, 14, 19].map(|ms| within(ms * MS)),
        [32, 64, 96, 100],
        "so many packets after so many milliseconds"
    );
}

#[test]
fn packets_of_a_frame_get_one_size() {
    let mut cinema = Cinema::new(44, 700);
    let nearly_equal = [1001, 1000, 1001, 1000, 1000, 1001, 1000];
    let trains = cinema.show(false, &nearly_equal, Duration::ZERO);
    assert_eq!(trains.iter().max(), Some(&7), "{trains:?}");
    // The peer takes the padding off.
    cinema.assert_all_came();
}

#[test]
fn a_full_core_lets_nobody_in_and_repairs_less_until_it_has_room() {
    let mut cinema = Cinema::new(45, 1000);
    let refused = |world: &World| {
        let full = |event: &Event| {
            matches!(
                event,
                Event::CommandRefused {
                    reason: Refusal::Full,
                    ..
                }
            )
        };
        world.events.iter().filter(|(_, event)| full(event)).count()
    };
    cinema.world.viewer(0);
    assert_eq!(refused(&cinema.world), 1);
    assert_eq!(cinema.world.workers[0].stats().refused, 1);
    // Publishers are few, and what is there goes on.
    let receive = cinema.world.video("v", Some((0x3000_0000, 0x3000_0001)));
    cinema
        .world
        .join(0, Role::Publisher, DtlsRole::Server, vec![receive], |_| {});
    assert_eq!(refused(&cinema.world), 1);
    cinema.show(false, &[900; 5], MS);
    cinema.assert_all_came();

    cinema.keep_busy(500);
    cinema.world.viewer(0);
    assert_eq!(refused(&cinema.world), 1);
}

#[test]
fn a_strained_core_repairs_less() {
    let budget_refusals = |busy| {
        let mut cinema = Cinema::new(46, busy);
        cinema.world.network.down.lost = 300;
        for _ in 0..30 {
            cinema.show(false, &[900; 20], Duration::ZERO);
        }
        cinema.world.workers[0].drops(DropReason::NackBudget)
    };
    let (calm, strained) = (budget_refusals(300), budget_refusals(950));
    assert!(strained > 10 * calm.max(10), "{calm}, {strained}");
}
