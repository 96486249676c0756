//! Publishers come, go, add and remove tracks at random; subscribers answer late, twice, wrongly, not the first time, or
//! offer themselves. When the storm is over, each shows exactly what is live.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weever_controlplane::rooms::SessionKey;
use weever_controlplane::sdp::Description;
use weever_proto::{Role, SessionId, limits};

use crate::bench::Bench;
use crate::offers;

/// Publishers of each storm; a seed has more or less room for them at once.
const PUBLISHERS: usize = 200;
const VIEWERS: usize = 20;
/// An offer's size by what it has in it: everything around it, an m-line that shows, one that is free.
const AROUND: usize = 1200;
const SHOWN: usize = 2000;
const FREE: usize = 120;
/// Turns after which a client answers at the latest, lest it be thought gone.
const PATIENCE: usize = 20;

#[test]
fn a_storm_ends_with_exactly_the_live_tracks() {
    for seed in 1..=4 {
        let mut storm = Storm::new(seed);
        let mut steps = 0;
        while storm.came < PUBLISHERS {
            storm.step();
            steps += 1;
            assert!(steps < 4000, "{} came", storm.came);
        }
        storm.end();
    }
}

struct Storm {
    random: Random,
    bench: Bench,
    viewers: Vec<Viewer>,
    live: BTreeMap<String, Published>,
    /// How many may be there at once.
    room: usize,
    came: usize,
    peak_tracks: usize,
}

struct Published {
    session: SessionId,
    key: SessionKey,
    has_video: bool,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let mut bench = Bench::new();
        let mut enter = |n: usize| {
            // The first few have the names of publishers.
            let name = format!("p{n}");
            let (session, ..) = bench.enter(Role::Subscriber, &name, &offers::channel_only());
            bench.open_channel(session);
            Viewer::new(session, name)
        };
        let viewers = (0..VIEWERS).map(&mut enter).collect();
        Self {
            random: Random(seed),
            bench,
            viewers,
            live: BTreeMap::new(),
            room: 5 * usize::try_from(seed).unwrap(),
            came: 0,
            peak_tracks: 0,
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..40 if self.live.len() < self.room => self.publisher_joins(),
            0..70 => self.publisher_leaves(),
            _ => self.publisher_changes(),
        }
        let tracks = self.live.values().map(|one| 1 + usize::from(one.has_video)).sum();
        self.peak_tracks = self.peak_tracks.max(tracks);
        for viewer in &mut self.viewers {
            viewer.act(&mut self.bench, &mut self.random);
            viewer.check(&self.bench);
        }
        self.bench.pass(Duration::from_millis(50));
        if self.random.below(60) == 0 {
            // Too long for a first time; what isn't answered now is made again.
            self.bench.pass(Duration::from_millis(10_500));
            for viewer in &mut self.viewers {
                viewer.patience = PATIENCE;
            }
        }
    }

    fn publisher_joins(&mut self) {
        let name = format!("p{}+{}", self.random.below(PUBLISHERS), self.came);
        let has_video = self.random.below(2) == 0;
        let (session, key, _) = self.bench.enter(Role::Publisher, &name, &publishes(has_video));
        self.bench.open_channel(session);
        self.came += 1;
        let one = Published {
            session,
            key,
            has_video,
        };
        self.live.insert(name, one);
    }

    fn publisher_leaves(&mut self) {
        let Some(name) = self.random.one_of(self.live.keys()).cloned() else {
            return;
        };
        let one = self.live.remove(&name).unwrap();
        match self.random.below(2) {
            0 => drop(self.bench.leave(one.key)),
            _ => self.bench.say(one.session, "STOP"),
        }
    }

    fn publisher_changes(&mut self) {
        let Some(name) = self.random.one_of(self.live.keys()).cloned() else {
            return;
        };
        let one = self.live.get_mut(&name).unwrap();
        one.has_video = !one.has_video;
        let (session, offer) = (one.session, publishes(one.has_video));
        self.bench.say(session, &format!("SDP_OFFER {offer}"));
        let answer = self.bench.hear(session).unwrap();
        assert!(answer.starts_with("SDP_ANSWER v=0"), "{answer}");
    }

    fn end(mut self) {
        for viewer in &mut self.viewers {
            viewer.settle(&mut self.bench);
            viewer.check(&self.bench);
        }
        // Nobody is asked anything more, and nobody ends.
        self.bench.pass(Duration::from_secs(60));
        for viewer in &self.viewers {
            let others = self.live.iter().filter(|(name, _)| base(name) != viewer.name);
            let mut want = Vec::new();
            for (name, one) in others.clone() {
                want.push(format!("{name} audio0"));
                want.extend(one.has_video.then(|| format!("{name} video0")));
            }
            want.sort();
            assert_eq!(viewer.shown(), want);
            let names: BTreeSet<String> = others.map(|(name, _)| name.clone()).collect();
            assert_eq!(viewer.told, names);
            let held = &self.bench.held[&viewer.session];
            assert!(held.texts.is_empty(), "{:?}", held.texts);
            assert_eq!(held.routes.len(), want.len());
            let live: BTreeSet<_> = self
                .live
                .values()
                .flat_map(|one| &self.bench.held[&one.session].spec.receive)
                .map(|receive| receive.track)
                .collect();
            assert!(held.routes.values().all(|route| live.contains(&route.track)));
            // What is shown, and as many that were not confirmed gone when as many new ones came.
            let lines = viewer.agreed.matches("\r\nm=").count();
            assert!(
                lines <= 1 + 2 * self.peak_tracks,
                "{lines} m-lines for at most {} tracks",
                self.peak_tracks
            );
            let bound = AROUND + want.len() * SHOWN + (lines - want.len()) * FREE;
            assert!(viewer.agreed.len() <= bound, "{} > {bound}", viewer.agreed.len());
            assert!(held.spec.state.len() <= limits::MAX_STATE / 4);
        }
    }
}

fn publishes(has_video: bool) -> String {
    if has_video {
        offers::browser_publisher(&["VP8"])
    } else {
        offers::speaker()
    }
}

fn base(name: &str) -> &str {
    name.split('+').next().unwrap()
}

/// A client that does all that the deadlines allow, in the order of JSEP (RFC 8829).
struct Viewer {
    session: SessionId,
    name: String,
    /// The last SDP of the server's that it went by.
    agreed: String,
    /// Heard and not answered.
    unanswered: Option<String>,
    /// Its own offer is out: the server's is ignored, being the one that yields.
    offering: bool,
    /// Publishers that it was told of.
    told: BTreeSet<String>,
    /// Different offers that it was made.
    offers: usize,
    version: String,
    /// How often it was its turn to let the next one come.
    turns: usize,
    patience: usize,
}

impl Viewer {
    fn new(session: SessionId, name: String) -> Self {
        Self {
            session,
            name,
            agreed: String::new(),
            unanswered: None,
            offering: false,
            told: BTreeSet::new(),
            offers: 0,
            version: String::new(),
            turns: 0,
            patience: 0,
        }
    }

    fn act(&mut self, bench: &mut Bench, random: &mut Random) {
        for _ in 0..random.below(4) {
            self.hear(bench);
        }
        self.patience += 1;
        match random.below(if self.patience > PATIENCE { 1 } else { 8 }) {
            0 => {
                while self.hear(bench) {}
                self.answer(bench);
            }
            1 => {
                let answered = self.unanswered.clone();
                self.answer(bench);
                if let Some(offer) = answered {
                    // Once more, as a client may that got the offer again.
                    bench.say(self.session, &said("SDP_ANSWER", &offers::answer(&offer, "-")));
                    self.turns += 1;
                }
            }
            2 => self.answer_wrongly(bench, random),
            3 if !self.agreed.is_empty() && self.unanswered.is_none() && !self.offering => {
                let mine = offers::answer(&self.agreed, "-").replace("a=setup:active", "a=setup:actpass");
                bench.say(self.session, &said("SDP_OFFER", &mine));
                self.offering = true;
            }
            _ => {}
        }
    }

    /// Takes one message.
    fn hear(&mut self, bench: &mut Bench) -> bool {
        let Some(text) = bench.hear(self.session) else {
            return false;
        };
        let (verb, rest) = text.split_once(' ').unwrap_or((&text, ""));
        match verb {
            "PUB_JOIN" => assert!(self.told.insert(rest.to_owned()), "{rest} joined twice"),
            "PUB_LEFT" => assert!(self.told.remove(rest), "{rest} left and wasn't there"),
            "SDP_OFFER" => self.offered(rest),
            "SDP_ANSWER" => {
                assert!(self.offering, "an answer to nothing");
                self.agreed = rest.to_owned();
                self.offering = false;
                self.turns += 1;
            }
            _ => panic!("{text}"),
        }
        for name in &self.told {
            assert_ne!(base(name), self.name, "told of its own");
        }
        true
    }

    fn offered(&mut self, offer: &str) {
        let msids = offers::msids(offer);
        let publishers = msids.iter().map(|msid| msid.split(' ').next().unwrap());
        if self.offers == 0 {
            // Who is there when one comes stands in the first offer.
            self.told = publishers.clone().map(ToOwned::to_owned).collect();
        }
        let version = offer.lines().nth(1).unwrap();
        // One that is made again is as it was, whoever has left since.
        let is_new = version != self.version;
        for publisher in publishers {
            assert_ne!(base(publisher), self.name, "its own media");
            assert!(
                !is_new || self.told.contains(publisher),
                "shown, but not told of {publisher}"
            );
        }
        if is_new {
            self.offers += 1;
            version.clone_into(&mut self.version);
        }
        self.follows(offer);
        if !self.offering {
            self.unanswered = Some(offer.to_owned());
        }
    }

    /// m-lines stay where they are, and change their name only when they were free.
    fn follows(&self, offer: &str) {
        if self.agreed.is_empty() {
            return;
        }
        let (before, now) = (
            Description::parse(&self.agreed).unwrap(),
            Description::parse(offer).unwrap(),
        );
        assert!(
            now.sections.len() >= before.sections.len(),
            "m-lines never go away (RFC 3264 §8)"
        );
        for (old, new) in before.sections.iter().zip(&now.sections) {
            // RFC 8829 §5.2.2
            assert!(
                old.mid == new.mid || old.rejected,
                "{} became {} while in use",
                old.mid,
                new.mid
            );
        }
        let mids: BTreeSet<&str> = now.sections.iter().map(|s| s.mid.as_str()).collect();
        assert_eq!(mids.len(), now.sections.len(), "every mid is unique");
    }

    fn answer(&mut self, bench: &mut Bench) {
        if let Some(offer) = self.unanswered.take() {
            bench.say(self.session, &said("SDP_ANSWER", &offers::answer(&offer, "-")));
            self.agreed = offer;
            self.turns += 1;
            self.patience = 0;
        }
    }

    fn answer_wrongly(&mut self, bench: &mut Bench, random: &mut Random) {
        let answer = self.unanswered.as_ref().map(|offer| offers::answer(offer, "-"));
        let wrong = match (random.below(3), answer) {
            (0, Some(answer)) => {
                // Without its last m-line.
                let at = answer.rfind("m=").unwrap();
                answer[..at].to_owned()
            }
            (1, Some(answer)) => answer.replace("a=mid:", "a=mid:x"),
            _ => "v=0\r\nnonsense".to_owned(),
        };
        bench.say(self.session, &said("SDP_ANSWER", &wrong));
    }

    /// Answers until there is nothing more to answer.
    fn settle(&mut self, bench: &mut Bench) {
        loop {
            while self.hear(bench) {}
            if self.unanswered.is_none() {
                return;
            }
            self.answer(bench);
        }
    }

    /// It is still there, and was not made more offers than it gave occasion for.
    fn check(&self, bench: &Bench) {
        assert!(bench.held.contains_key(&self.session), "{} has ended", self.name);
        assert!(
            self.offers <= 1 + self.turns,
            "{} offers after {} turns",
            self.offers,
            self.turns
        );
    }

    fn shown(&self) -> Vec<String> {
        offers::msids(&self.agreed)
    }
}

fn said(verb: &str, sdp: &str) -> String {
    format!("{verb} {sdp}")
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).unwrap()
    }

    fn one_of<T>(&mut self, all: impl ExactSizeIterator<Item = T>) -> Option<T> {
        if all.len() == 0 {
            return None;
        }
        let n = self.below(all.len());
        let mut all = all;
        all.nth(n)
    }
}
