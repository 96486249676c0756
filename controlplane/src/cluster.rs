//! This node among others: what it tells the directory, and what it learns from it.
//!
//! Four tasks, none of which keeps signalling waiting: `beat` renews the lease and looks who is there, `writer` tells what
//! the rooms have done, `reader` tells the rooms what other nodes have done, `questions` asks and answers other nodes.
//! Without the directory all goes on locally; once it is back, both sides are made right again.

mod beat;
mod claims;
mod fields;
mod outbox;
pub mod questions;
mod reader;
mod writer;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::directory::redis::place::PlaceError;
use crate::directory::{About, Away, Directory, Entered, LEASE, Member, Message, Name, Seen};
use crate::metrics::DirectoryMetrics;
use crate::names::RoomName;
use crate::rooms::{NodeName, Rooms};
use crate::signalling::Signalling;

pub use claims::{Claimed, Held};
pub use outbox::Outbox;

/// How often the lease is renewed.
const BEAT: Duration = Duration::from_secs(2);
/// How often it is tried to enter where another lives under this name.
const ENTER_AGAIN: Duration = Duration::from_millis(250);
/// Events of other nodes that wait for a reader.
const MAX_EVENTS: usize = 4096;

/// What a node is called, and where.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Unique in the cluster.
    pub node: NodeName,
    /// What only one process can have at a time, such as a listening socket: who has it knows that its last life is over.
    pub owner: String,
    /// Where clients reach it.
    pub url: Option<String>,
}

/// This node in its cluster.
#[derive(Clone)]
pub struct Cluster(Arc<Shared>);

struct Shared {
    directory: Arc<dyn Directory>,
    member: Member,
    identity: Identity,
    outbox: Outbox,
    signalling: OnceLock<Signalling>,
    /// All nodes, as of the last renewal.
    nodes: watch::Sender<Vec<Seen>>,
    /// Claims of POSTs that aren't answered yet.
    pending: Mutex<HashMap<Name, u64>>,
    questions: questions::Questions,
    events: broadcast::Sender<(Option<RoomName>, String)>,
    /// Whether the directory holds all of this node's state.
    settled: AtomicBool,
    /// What the directory holds of this node may be wrong.
    wrong: Notify,
    /// The lease is to be renewed now.
    beat_now: Notify,
    metrics: DirectoryMetrics,
}

impl Cluster {
    /// Takes this node's name in the directory. If that can't be reached it is done later.
    ///
    /// # Errors
    /// Another node lives under it, or the directory refuses.
    pub async fn enter(
        directory: Arc<dyn Directory>,
        identity: Identity,
        incarnation: u64,
        metrics: DirectoryMetrics,
    ) -> Result<Self, PlaceError> {
        let member = Member {
            node: identity.node.clone(),
            incarnation: format!("{incarnation:016x}"),
        };
        let cluster = Self(Arc::new(Shared {
            directory,
            member,
            identity,
            outbox: Outbox::default(),
            signalling: OnceLock::new(),
            nodes: watch::Sender::new(Vec::new()),
            pending: Mutex::default(),
            questions: questions::Questions::default(),
            events: broadcast::Sender::new(MAX_EVENTS),
            settled: AtomicBool::new(false),
            wrong: Notify::new(),
            beat_now: Notify::new(),
            metrics,
        }));
        let shared = &cluster.0;
        let (begin, mut held) = (Instant::now(), None);
        loop {
            match shared
                .directory
                .enter(&shared.member, &shared.about(false, 0))
                .await
            {
                Ok(Entered::Yes) => break,
                Ok(Entered::Held { until_ms }) => {
                    // Its lease has grown: it lives. Or nobody's clock goes on.
                    if held.is_some_and(|before| until_ms > before) || begin.elapsed() > LEASE * 2 {
                        return Err(PlaceError::Name(shared.member.node.0.clone()));
                    }
                    if held.is_none() {
                        let node = &shared.member.node.0;
                        tracing::info!(
                            node,
                            "a node of this name was here a moment ago: looking whether it lives, 6 s at most"
                        );
                    }
                    held = Some(until_ms);
                    tokio::time::sleep(ENTER_AGAIN).await;
                }
                Err(Away::Denied(why)) => return Err(PlaceError::Refused(why)),
                Err(Away::Unreachable(_) | Away::TimedOut | Away::Refused(_)) => break,
            }
        }
        Ok(cluster)
    }

    /// An operator makes a room; `false` when it is there already, at whatever node. With the directory away it is this
    /// node's alone, until that is back.
    pub async fn create_room(&self, room: &RoomName) -> bool {
        self.0.directory.create_room(room).await.unwrap_or(true)
    }

    /// An operator deletes a room.
    pub async fn delete_room(&self, room: &RoomName) {
        // With the directory away the other nodes can't be told either.
        let _ = self.0.directory.delete_room(room).await;
    }

    /// Whether an operator has made that room, at whatever node. Unknown while the directory is away.
    pub async fn has_room(&self, room: &RoomName) -> bool {
        self.0.directory.has_room(room).await.unwrap_or(false)
    }

    /// What signalling tells the directory goes through here.
    pub fn outbox(&self) -> Outbox {
        self.0.outbox.clone()
    }

    /// Goes to work, until the tasks are dropped.
    pub fn run(&self, signalling: &Signalling) -> JoinSet<()> {
        let shared = &self.0;
        // It is run once.
        let _ = shared.signalling.set(signalling.clone());
        let heard = shared.directory.listen();
        let mut tasks = JoinSet::new();
        tasks.spawn(beat::run(shared.clone()));
        tasks.spawn(writer::run(shared.clone()));
        tasks.spawn(reader::run(shared.clone(), heard));
        tasks.spawn(questions::tell_events(shared.clone()));
        tasks
    }

    /// The end of a node whose sessions have left: its entries go at once.
    pub async fn leave(&self) {
        let shared = &self.0;
        // It was the last word; if it isn't heard, the lease ends by itself.
        if shared.directory.leave(&shared.member).await.is_ok() {
            while let Ok(false) = shared.directory.reap(&shared.member.node).await {}
        }
    }

    /// The end of a process whose sessions go on: its entries wait for its next life, for as long as its lease.
    pub async fn hand_over(&self) {
        let shared = &self.0;
        let about = About {
            handed_over: true,
            ..shared.about(false, 0)
        };
        // If it isn't heard, the next life has to be at the same place, or waits for the end of the lease.
        let _ = shared.directory.renew(&shared.member, &about).await;
    }

    /// This node's name.
    pub fn node(&self) -> &NodeName {
        &self.0.member.node
    }

    /// The URL of the node that takes sessions and has the least load; none that is this one.
    pub fn least_loaded(&self) -> Option<String> {
        let shared = &self.0;
        let nodes = shared.nodes.borrow();
        let others = nodes
            .iter()
            .filter(|seen| seen.alive && seen.node != shared.member.node);
        let open = others
            .filter_map(|seen| seen.about.as_ref())
            .filter(|about| about.takes);
        let reached = open.filter_map(|about| Some((about.load, about.url.clone()?)));
        reached.min_by_key(|(load, _)| *load).map(|(_, url)| url)
    }

    /// Names of all nodes that live, this one first.
    pub fn nodes(&self) -> Vec<NodeName> {
        let shared = &self.0;
        let seen = shared.nodes.borrow();
        let others = seen
            .iter()
            .filter(|seen| seen.alive && seen.node != shared.member.node);
        std::iter::once(shared.member.node.clone())
            .chain(others.map(|seen| seen.node.clone()))
            .collect()
    }
}

impl Shared {
    fn about(&self, takes: bool, load: u32) -> About {
        About {
            incarnation: self.member.incarnation.clone(),
            owner: self.identity.owner.clone(),
            url: self.identity.url.clone(),
            takes,
            load,
            settled: self.settled.load(Ordering::Relaxed),
            handed_over: false,
        }
    }

    /// Asks the rooms. `None`: they have ended, or aren't there yet.
    async fn ask<T: Send + 'static>(&self, question: impl FnOnce(&Rooms) -> T + Send + 'static) -> Option<T> {
        self.signalling.get()?.ask(question).await.ok()
    }

    fn pending(&self) -> HashSet<u64> {
        self.joining().values().copied().collect()
    }

    fn joining(&self) -> MutexGuard<'_, HashMap<Name, u64>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn tell(&self, message: &Message) -> Result<(), Away> {
        self.directory.tell(message).await
    }
}

/// A name for what only one process at a time can have: the control socket of this machine, by its host's name.
pub(crate) fn owner(socket: &std::path::Path) -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let host = read("/proc/sys/kernel/hostname");
    let boot = read("/proc/sys/kernel/random/boot_id");
    format!("{}/{}{}", boot.trim(), host.trim(), socket.display())
}
