//! The other nodes of a cluster: what is known of them, and what they are told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use weever_proto::{Role, SessionId};

use super::Rooms;
use super::api::Effect;
use super::cluster::{Claim, LivePublisher, LocalNews, NodeName, NodeNews, NodeState, OwnState};
use super::session::Session;
use crate::names::{FullId, RoomName};

/// Pairs a moment of the monotonic clock with one that other nodes understand.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    at: Instant,
    unix: Duration,
}

impl Clock {
    /// `at` was `unix` after the beginning of 1970.
    pub fn new(at: Instant, unix: Duration) -> Self {
        Self { at, unix }
    }

    /// Milliseconds of Unix time. Never changes for one moment, whatever is done to the system's clock.
    pub(super) fn unix_ms(&self, moment: Instant) -> u64 {
        let after = self.unix + moment.saturating_duration_since(self.at);
        let then = after.saturating_sub(self.at.saturating_duration_since(moment));
        u64::try_from(then.as_millis()).unwrap_or(u64::MAX)
    }

    /// When it was read.
    pub(super) fn began(&self) -> Instant {
        self.at
    }
}

impl Default for Clock {
    fn default() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        Self::new(Instant::now(), unix.unwrap_or_default())
    }
}

/// What other nodes have.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    live: BTreeMap<RoomName, Vec<(NodeName, LivePublisher)>>,
    viewers: BTreeMap<RoomName, BTreeMap<NodeName, u32>>,
}

impl Elsewhere {
    /// Publishers of a room, each name once: one that is moving between nodes is where it came last.
    pub(super) fn live(&self, room: &RoomName) -> impl Iterator<Item = &LivePublisher> {
        let all = self.live.get(room).map(Vec::as_slice).unwrap_or_default();
        let is_newest = move |one: &LivePublisher| {
            let same = all
                .iter()
                .map(|(_, other)| other)
                .filter(|other| other.id == one.id);
            same.max_by_key(|other| (other.since_ms, other.session))
                .is_some_and(|newest| newest.session == one.session)
        };
        all.iter().map(|(_, one)| one).filter(move |one| is_newest(one))
    }

    /// Whether that publisher is live at another node.
    pub(super) fn has(&self, room: &RoomName, id: &FullId) -> bool {
        let mut all = self.live.get(room).into_iter().flatten();
        all.any(|(_, one)| one.id == *id)
    }

    /// Whether anybody is in a room at another node.
    pub(super) fn is_in(&self, room: &RoomName) -> bool {
        self.live.contains_key(room) || self.viewers.contains_key(room)
    }

    /// How many subscribe in a room, on all other nodes.
    pub(super) fn viewers(&self, room: &RoomName) -> usize {
        let nodes = self.viewers.get(room).into_iter().flatten();
        nodes
            .map(|(_, count)| usize::try_from(*count).unwrap_or(usize::MAX))
            .sum()
    }

    /// Live publishers of all other nodes.
    pub(super) fn publishers(&self) -> usize {
        self.live.values().map(Vec::len).sum()
    }

    fn set_viewers(&mut self, room: &RoomName, node: &NodeName, count: u32) {
        let nodes = self.viewers.entry(room.clone()).or_default();
        if count == 0 {
            nodes.remove(node);
        } else {
            nodes.insert(node.clone(), count);
        }
        if nodes.is_empty() {
            self.viewers.remove(room);
        }
    }

    fn put(&mut self, node: &NodeName, publisher: LivePublisher) {
        let all = self.live.entry(publisher.room.clone()).or_default();
        match all
            .iter_mut()
            .find(|(at, one)| at == node && one.id == publisher.id)
        {
            Some((_, held)) => *held = publisher,
            None => all.push((node.clone(), publisher)),
        }
    }

    fn remove(&mut self, node: &NodeName, room: &RoomName, id: &FullId) {
        if let Some(all) = self.live.get_mut(room) {
            all.retain(|(at, one)| at != node || one.id != *id);
            if all.is_empty() {
                self.live.remove(room);
            }
        }
    }

    /// Takes out what a node has.
    fn take(&mut self, node: &NodeName) -> NodeState {
        let mut state = NodeState::default();
        for all in self.live.values_mut() {
            let its = all.extract_if(.., |(at, _)| at == node);
            state.publishers.extend(its.map(|(_, publisher)| publisher));
        }
        self.live.retain(|_, all| !all.is_empty());
        for (room, nodes) in &mut self.viewers {
            state
                .viewers
                .extend(nodes.remove(node).map(|count| (room.clone(), count)));
        }
        self.viewers.retain(|_, nodes| !nodes.is_empty());
        state
    }
}

impl Rooms {
    /// Something was told of another node, or by it.
    pub(super) fn node_news(
        &mut self,
        now: Instant,
        node: &NodeName,
        news: NodeNews,
        effects: &mut Vec<Effect>,
    ) {
        match news {
            NodeNews::State(state) => self.replace_node(now, node, state, effects),
            NodeNews::Gone => self.replace_node(now, node, NodeState::default(), effects),
            NodeNews::Published(publisher) => {
                let room = publisher.room.clone();
                self.change_room(now, &room, effects, |elsewhere| elsewhere.put(node, publisher));
            }
            NodeNews::Unpublished { room, id } => {
                self.change_room(now, &room, effects, |elsewhere| {
                    elsewhere.remove(node, &room, &id);
                });
            }
            NodeNews::Said { room, text } => self.hear_chat(now, &room, &text, effects),
            NodeNews::Viewers { room, count } => {
                self.elsewhere.set_viewers(&room, node, count);
                self.viewers_changed(now, &room, effects);
            }
        }
    }

    /// A node has this and nothing else.
    fn replace_node(&mut self, now: Instant, node: &NodeName, state: NodeState, effects: &mut Vec<Effect>) {
        let of = |state: &NodeState| -> BTreeSet<RoomName> {
            state.publishers.iter().map(|one| one.room.clone()).collect()
        };
        let counted = |state: &NodeState| -> BTreeSet<RoomName> {
            state.viewers.iter().map(|(room, _)| room.clone()).collect()
        };
        let old = self.elsewhere.take(node);
        let rooms: BTreeSet<RoomName> = of(&old).union(&of(&state)).cloned().collect();
        let counts: BTreeSet<RoomName> = counted(&old).union(&counted(&state)).cloned().collect();
        for publisher in old.publishers {
            self.elsewhere.put(node, publisher);
        }
        for (room, count) in state.viewers {
            self.elsewhere.set_viewers(&room, node, count);
        }
        let mut publishers = state.publishers;
        for room in rooms {
            let its: Vec<LivePublisher> = publishers.extract_if(.., |one| one.room == room).collect();
            self.change_room(now, &room, effects, |elsewhere| {
                if let Some(all) = elsewhere.live.get_mut(&room) {
                    all.retain(|(at, _)| at != node);
                }
                for publisher in its {
                    elsewhere.put(node, publisher);
                }
                elsewhere.live.retain(|_, all| !all.is_empty());
            });
        }
        for room in counts {
            self.viewers_changed(now, &room, effects);
        }
    }

    /// Changes who is live elsewhere in one room. Subscribers here are told who came and left by it, and shown what is there now.
    fn change_room(
        &mut self,
        now: Instant,
        room: &RoomName,
        effects: &mut Vec<Effect>,
        change: impl FnOnce(&mut Elsewhere),
    ) {
        let seen = |rooms: &Self| -> BTreeMap<FullId, LivePublisher> {
            let live = rooms.elsewhere.live(room);
            live.map(|one| (one.id.clone(), one.clone())).collect()
        };
        let before = seen(self);
        change(&mut self.elsewhere);
        let after = seen(self);
        // Its node's clock may tell another beginning after a restart there; that is nothing to a viewer.
        let tracks =
            |of: &BTreeMap<FullId, LivePublisher>, id: &FullId| of.get(id).map(|one| one.tracks.clone());
        let differs = |id: &&FullId| tracks(&before, id) != tracks(&after, id);
        let names: BTreeSet<&FullId> = before.keys().chain(after.keys()).collect();
        let changed: Vec<FullId> = names.into_iter().filter(differs).cloned().collect();
        for id in &changed {
            let verb = match (before.contains_key(id), after.contains_key(id)) {
                _ if self.is_live_here(room, id) => continue,
                (false, true) => "PUB_JOIN",
                (true, false) => "PUB_LEFT",
                _ => continue,
            };
            self.tell_room(room, id, verb, effects);
        }
        if !changed.is_empty() {
            self.refresh_room(now, room, &changed, effects);
        }
    }

    /// Tells the directory of a publisher that is live.
    pub(super) fn tell_published(&self, id: SessionId, effects: &mut Vec<Effect>) {
        if let Some(publisher) = self.live_publisher(id) {
            effects.push(Effect::Local(LocalNews::Published(publisher)));
        }
    }

    /// Tells the directory how many subscribe here.
    pub(super) fn tell_viewers(&self, room: &RoomName, effects: &mut Vec<Effect>) {
        let count = self.rooms.get(room).map_or(0, |room| room.subscribers.len());
        effects.push(Effect::Local(LocalNews::Viewers {
            room: room.clone(),
            count: u32::try_from(count).unwrap_or(u32::MAX),
        }));
    }

    /// Tells the directory that a session is gone; its room doesn't count it any more.
    pub(super) fn tell_ended(&self, session: &Session, was_live: bool, effects: &mut Vec<Effect>) {
        let room = session.state.room.clone();
        if was_live {
            let id = session.state.id.clone();
            effects.push(Effect::Local(LocalNews::Unpublished { room, id }));
        } else if session.role() == Role::Subscriber {
            self.tell_viewers(&room, effects);
        }
        if let Some(claim) = session.claim() {
            effects.push(Effect::Local(LocalNews::Released(claim)));
        }
    }

    /// All that the directory should hold of this node.
    pub fn own_state(&self) -> OwnState {
        let viewers = self.rooms.iter().filter(|(_, room)| !room.subscribers.is_empty());
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let live = self.rooms.values().flat_map(|room| &room.live);
        let claims = self.sessions.values();
        OwnState {
            state: NodeState {
                publishers: live.filter_map(|id| self.live_publisher(*id)).collect(),
                viewers: viewers
                    .map(|(name, room)| (name.clone(), count(room.subscribers.len())))
                    .collect(),
            },
            created: self
                .rooms
                .iter()
                .filter(|(_, room)| room.created)
                .map(|(name, _)| name.clone())
                .collect(),
            claims: claims
                .filter_map(|session| Some((session.claim()?, session.silent, session.id)))
                .collect(),
        }
    }

    /// Whether an operator has made that room, as far as this node knows.
    pub fn is_created(&self, room: &RoomName) -> bool {
        self.rooms.get(room).is_some_and(|room| room.created)
    }

    /// How many publishers are live at other nodes.
    pub fn publishers_elsewhere(&self) -> usize {
        self.elsewhere.publishers()
    }

    /// Full IDs of a room's publishers on all nodes: those of this one in the order in which they came, then others.
    pub(super) fn list_everywhere(&self, room: &RoomName) -> Vec<FullId> {
        let mut all = self.list(Role::Publisher, room);
        for other in self.elsewhere.live(room) {
            if !all.contains(&other.id) {
                all.push(other.id.clone());
            }
        }
        all
    }

    fn live_publisher(&self, id: SessionId) -> Option<LivePublisher> {
        let session = self.sessions.get(&id)?;
        let room = session.state.room.clone();
        let is_live = self.rooms.get(&room)?.live.contains(&id);
        is_live.then(|| LivePublisher {
            room,
            id: session.state.id.clone(),
            session: id.0,
            since_ms: self.clock.unix_ms(session.live_since),
            tracks: session.tracks().to_vec(),
        })
    }
}

impl Session {
    /// Its name in the directory, if it has claimed one.
    pub(super) fn claim(&self) -> Option<Claim> {
        (self.state.claim != 0).then(|| Claim {
            role: self.role(),
            room: self.state.room.clone(),
            id: self.state.id.clone(),
            nonce: self.state.claim,
        })
    }

    /// Nothing is heard of it, or it is back.
    pub(super) fn set_silent(&mut self, silent: bool, effects: &mut Vec<Effect>) {
        if std::mem::replace(&mut self.silent, silent) != silent
            && let Some(claim) = self.claim()
        {
            effects.push(Effect::Local(LocalNews::Silent { claim, silent }));
        }
    }
}
