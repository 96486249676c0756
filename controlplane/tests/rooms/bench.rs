//! Rooms on a bench: a data plane that agrees to everything, clients that do as they are told.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use weever_controlplane::names::{FullId, RoomName};
use weever_controlplane::rooms::{
    Action, Effect, Entropy, Join, JoinTrace, Limits, LocalNews, Notice, Posted, Reply, RequestId, Rooms,
    RoomsConfig, SessionKey, ShardId, StreamId, StreamNews,
};
use weever_controlplane::sdp::Description;
use weever_proto::{
    ChannelLabel, Command, Event, Fingerprint, Hello, Role, RouteId, RouteSpec, SessionId, SessionSnapshot,
    SessionSpec, VERSION, WorkerHello, WorkerId,
};

/// Splitmix: every run is the same.
struct Counting(u64);

impl Entropy for Counting {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z ^ (z >> 29)
    }
}

/// What the data plane holds of a session.
pub struct Held {
    /// It is on that data plane, not the first.
    pub second: Option<ShardId>,
    pub spec: SessionSpec,
    pub routes: BTreeMap<RouteId, RouteSpec>,
    pub born: Instant,
    pub connected: bool,
    pub silent: bool,
    pub channel_open: bool,
    pub chat_open: bool,
    /// Sent on its control channel, oldest first.
    pub texts: Vec<String>,
    /// Sent on its chat channel.
    pub chat: Vec<String>,
}

pub struct Bench {
    pub rooms: Rooms,
    pub now: Instant,
    pub shard: ShardId,
    pub held: HashMap<SessionId, Held>,
    pub replies: HashMap<RequestId, Reply>,
    pub notices: Vec<Notice>,
    pub traces: Vec<JoinTrace>,
    /// What streams of events were told.
    pub news: Vec<(StreamId, StreamNews)>,
    /// What the directory was told.
    pub told: Vec<LocalNews>,
    /// Answers CreateSession.
    pub obliging: bool,
    /// The connection is broken: commands are lost.
    pub deaf: bool,
    /// How often the data plane was told to drain.
    pub drains: usize,
    /// What who joins next is admitted with.
    pub limits: Limits,
    /// How often it was told to say one thing to many.
    pub broadcasts: usize,
    /// As often as the data plane was told to watch each.
    pub watched: Vec<SessionId>,
    /// Another data plane beside `shard`.
    pub second: Option<ShardId>,
    /// Of who joins next.
    pub claim: u64,
    next: u64,
}

pub fn room() -> RoomName {
    RoomName::new("testroom").unwrap()
}

pub fn id(name: &str) -> FullId {
    FullId::new(name).unwrap()
}

pub fn hello(incarnation: u64, workers: u16) -> Hello {
    let worker = |n| WorkerHello {
        id: WorkerId(n),
        candidates: vec![
            format!("192.0.2.1:{}", 8443 + n).parse().unwrap(),
            format!("[2001:db8::1]:{}", 8443 + n).parse().unwrap(),
        ],
    };
    Hello {
        version: VERSION,
        name: "shard".into(),
        incarnation,
        software: "test".into(),
        fingerprint: Fingerprint {
            hash: "sha-256".into(),
            value: vec![0xab; 32],
        },
        workers: (0..workers).map(worker).collect(),
        max_sessions: 10_000,
        draining: false,
        relay: false,
    }
}

impl Bench {
    pub fn new() -> Self {
        Self::with(RoomsConfig::default(), 1)
    }

    pub fn with(config: RoomsConfig, workers: u16) -> Self {
        let mut bench = Self::without_shard(config, 1);
        bench.act(Action::ShardUp {
            shard: bench.shard,
            hello: Box::new(hello(1, workers)),
        });
        bench.act(Action::SnapshotEnd { shard: bench.shard });
        bench
    }

    pub fn without_shard(config: RoomsConfig, seed: u64) -> Self {
        Self {
            rooms: Rooms::new(config, Box::new(Counting(seed))),
            now: Instant::now(),
            shard: ShardId(1),
            held: HashMap::new(),
            replies: HashMap::new(),
            notices: Vec::new(),
            told: Vec::new(),
            traces: Vec::new(),
            news: Vec::new(),
            obliging: true,
            deaf: false,
            next: 0,
            drains: 0,
            limits: Limits::default(),
            broadcasts: 0,
            watched: Vec::new(),
            second: None,
            claim: 0,
        }
    }

    pub fn act(&mut self, action: Action) {
        let mut effects = Vec::new();
        self.rooms.handle(self.now, action, &mut effects);
        for effect in effects {
            match effect {
                Effect::Local(news) => self.told.push(news),
                Effect::Reply { request, reply } => assert!(self.replies.insert(request, reply).is_none()),
                Effect::Notice(notice) => self.notices.push(notice),
                Effect::Traced(trace) => self.traces.push(*trace),
                Effect::Stream { stream, news } => self.news.push((stream, news)),
                Effect::Command { .. } if self.deaf => {}
                Effect::Command { shard, command } => {
                    let is_there = shard == self.shard || Some(shard) == self.second;
                    assert!(is_there, "a command for a connection that is gone");
                    self.obey(shard, *command);
                }
            }
        }
    }

    fn obey(&mut self, shard: ShardId, command: Command) {
        match command {
            Command::CreateSession(spec) => {
                let session = spec.session;
                let held = Held {
                    second: self.second.filter(|second| *second == shard),
                    spec: *spec,
                    routes: BTreeMap::new(),
                    born: self.now,
                    connected: false,
                    silent: false,
                    channel_open: false,
                    chat_open: false,
                    texts: Vec::new(),
                    chat: Vec::new(),
                };
                self.held.insert(session, held);
                if self.obliging {
                    self.event(Event::SessionReady { session });
                }
            }
            Command::UpdateReceive {
                session,
                receive,
                extensions,
            } => {
                let held = self.held.get_mut(&session).unwrap();
                (held.spec.receive, held.spec.extensions) = (receive, extensions);
            }
            Command::RestartIce {
                session,
                local,
                remote,
            } => {
                let held = self.held.get_mut(&session).unwrap();
                (held.spec.local, held.spec.remote) = (local, remote);
            }
            Command::PutRoute(route) => {
                self.held
                    .get_mut(&route.session)
                    .unwrap()
                    .routes
                    .insert(route.route, *route);
            }
            Command::RemoveRoute { session, route } => {
                assert!(
                    self.held
                        .get_mut(&session)
                        .unwrap()
                        .routes
                        .remove(&route)
                        .is_some()
                );
            }
            Command::SendText {
                session,
                channel,
                text,
            } => self.hand_on(session, channel, text),
            Command::Broadcast {
                sessions,
                channel,
                text,
            } => {
                self.broadcasts += 1;
                for session in sessions {
                    self.hand_on(session, channel, text.clone());
                }
            }
            Command::SetState { session, state } => self.held.get_mut(&session).unwrap().spec.state = state,
            Command::CloseSession { session } => {
                self.held.remove(&session);
            }
            Command::Drain => self.drains += 1,
            Command::Watch { session } => self.watched.push(session),
            Command::Unwatch { session } => self.watched.retain(|watched| *watched != session),
        }
    }

    fn hand_on(&mut self, session: SessionId, channel: ChannelLabel, text: String) {
        let held = self.held.get_mut(&session).unwrap();
        let (is_open, texts) = match channel {
            ChannelLabel::Control => (held.channel_open, &mut held.texts),
            ChannelLabel::Chat => (held.chat_open, &mut held.chat),
        };
        assert!(is_open, "{text:?} for a channel that isn't open");
        texts.push(text);
    }

    pub fn event(&mut self, event: Event) {
        let session = match &event {
            Event::SessionReady { session }
            | Event::SessionConnected { session }
            | Event::ChannelOpen { session, .. }
            | Event::Text { session, .. } => self.held.get(session),
            _ => None,
        };
        let shard = session.and_then(|held| held.second).unwrap_or(self.shard);
        self.act(Action::Event { shard, event });
    }

    /// With data planes that have a relay; the second one is called `other`.
    pub fn relaying(data_planes: usize, seed: u64) -> Self {
        let mut bench = Self::without_shard(RoomsConfig::default(), seed);
        bench.second = (data_planes > 1).then_some(ShardId(2));
        for shard in [Some(bench.shard), bench.second].into_iter().flatten() {
            let mut hello = hello(shard.0, 1);
            hello.relay = true;
            if shard != bench.shard {
                hello.name = "other".into();
            }
            let hello = Box::new(hello);
            bench.act(Action::ShardUp { shard, hello });
            bench.act(Action::SnapshotEnd { shard });
        }
        bench
    }

    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.rooms.next_tick().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.act(Action::Tick);
        }
        self.now = end;
    }

    /// Just now.
    pub fn posted(&self) -> Posted {
        Posted {
            at: self.now,
            parent: None,
        }
    }

    pub fn request(&mut self) -> RequestId {
        self.next += 1;
        RequestId(self.next)
    }

    pub fn join_from(&mut self, role: Role, name: &str, offer: &str, from: Option<&str>) -> Reply {
        let request = self.request();
        let offer = Description::parse(offer).unwrap();
        let join = Join {
            request,
            role,
            room: room(),
            id: id(name),
            offer,
            from: from.map(Into::into),
            limits: self.limits,
            posted: self.posted(),
            redirected: false,
            claim: self.claim,
        };
        self.act(Action::Join(Box::new(join)));
        self.replies.remove(&request).unwrap_or(Reply::Trickled)
    }

    pub fn join(&mut self, role: Role, name: &str, offer: &str) -> Reply {
        self.join_from(role, name, offer, None)
    }

    /// Joins and connects. Returns the session, its key and the answer.
    pub fn enter(&mut self, role: Role, name: &str, offer: &str) -> (SessionId, SessionKey, String) {
        let before: Vec<SessionId> = self.held.keys().copied().collect();
        let reply = self.join(role, name, offer);
        let Reply::Created { answer, key, .. } = reply else {
            panic!("{name}: {reply:?}")
        };
        let session = *self.held.keys().find(|id| !before.contains(id)).unwrap();
        self.connect(session);
        (session, key, answer)
    }

    pub fn connect(&mut self, session: SessionId) {
        self.held.get_mut(&session).unwrap().connected = true;
        self.event(Event::SessionConnected { session });
    }

    pub fn open_channel(&mut self, session: SessionId) {
        self.held.get_mut(&session).unwrap().channel_open = true;
        let channel = ChannelLabel::Control;
        self.event(Event::ChannelOpen { session, channel });
    }

    pub fn open_chat(&mut self, session: SessionId) {
        self.held.get_mut(&session).unwrap().chat_open = true;
        let channel = ChannelLabel::Chat;
        self.event(Event::ChannelOpen { session, channel });
    }

    pub fn close_chat(&mut self, session: SessionId) {
        self.held.get_mut(&session).unwrap().chat_open = false;
        let channel = ChannelLabel::Chat;
        self.event(Event::ChannelClosed { session, channel });
    }

    pub fn say(&mut self, session: SessionId, text: &str) {
        self.said(session, ChannelLabel::Control, text);
    }

    pub fn chat(&mut self, session: SessionId, text: &str) {
        self.said(session, ChannelLabel::Chat, text);
    }

    fn said(&mut self, session: SessionId, channel: ChannelLabel, text: &str) {
        self.event(Event::Text {
            session,
            channel,
            text: text.to_owned(),
        });
    }

    pub fn leave(&mut self, key: SessionKey) -> Reply {
        let request = self.request();
        self.act(Action::Leave { request, key });
        self.replies.remove(&request).unwrap()
    }

    /// The status when it was refused.
    pub fn drain_shard(&mut self, name: &str) -> Option<u16> {
        let request = self.request();
        self.act(Action::DrainShard {
            request,
            name: name.to_owned(),
        });
        match self.replies.remove(&request).unwrap() {
            Reply::Done => None,
            Reply::Refused(refused) => Some(refused.status),
            other => panic!("{other:?}"),
        }
    }

    /// Takes the oldest text that was sent to a session.
    pub fn hear(&mut self, session: SessionId) -> Option<String> {
        let texts = &mut self.held.get_mut(&session)?.texts;
        (!texts.is_empty()).then(|| texts.remove(0))
    }

    /// The next text must be an offer; answers it as a browser. Returns the offer.
    pub fn answer_offer(&mut self, session: SessionId) -> String {
        let text = self.hear(session).expect("an offer");
        let offer = text
            .strip_prefix("SDP_OFFER ")
            .unwrap_or_else(|| panic!("{text}"))
            .to_owned();
        self.say(
            session,
            &format!("SDP_ANSWER {}", crate::offers::answer(&offer, "-")),
        );
        offer
    }

    /// What the data plane would tell another control plane.
    pub fn snapshot(&self) -> Vec<SessionSnapshot> {
        let mut all: Vec<SessionSnapshot> = self
            .held
            .values()
            .map(|held| SessionSnapshot {
                spec: held.spec.clone(),
                routes: held.routes.values().cloned().collect(),
                connected: held.connected,
                silent: held.silent,
                channel_open: held.channel_open,
                chat_open: held.chat_open,
                live_tracks: Vec::new(),
                age_ms: u64::try_from((self.now - held.born).as_millis()).unwrap(),
            })
            .collect();
        all.sort_by_key(|snapshot| snapshot.spec.session);
        all
    }

    pub fn list(&self, role: Role) -> Vec<String> {
        self.rooms
            .list(role, &room())
            .iter()
            .map(ToString::to_string)
            .collect()
    }
}
