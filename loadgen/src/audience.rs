//! All viewers of a run: they join, are measured and leave together or one by one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::counts::PerNode;
use crate::impair::{self, Proxy};
use crate::load::Load;
use crate::peer::{Identity, PeerError, Prepared};
use crate::sdp::{Description, Wishes};
use crate::shard::{Command, Notice, Shard};
use crate::signal::{Reply, Session, Signal, SignalError};
use crate::target::{Node, Target, address_of};
use crate::viewer::{Habits, Viewer};

/// Late packets of a measurement are waited for so long: a retransmission's whole life.
const GRACE: Duration = Duration::from_millis(1200);
/// How often it is looked whether all have media.
const LOOK: Duration = Duration::from_millis(50);
/// Failures whose reason is kept.
const REASONS_MAX: usize = 100;
/// Requests at once when everybody leaves.
const LEAVING_MAX: usize = 64;

#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    #[error(transparent)]
    Signal(#[from] SignalError),
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error(transparent)]
    Sdp(#[from] crate::sdp::SdpError),
}

/// Whom a viewer watches.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pairing {
    /// One publisher each, in turn.
    Spread,
    /// Participants watch all `others`, each by a session of its own.
    Everyone { others: u32 },
}

impl Pairing {
    /// What the session with this number, from 1, fills in for `{n}` and `{p}`.
    fn names(self, number: u32, publishers: u32) -> (u32, u32) {
        let at = number - 1;
        match self {
            Self::Spread => (number, at % publishers.max(1) + 1),
            Self::Everyone { others } => {
                let (viewer, other) = (at / others, at % others);
                // The viewer itself is left out.
                (viewer + 1, other + 1 + u32::from(other >= viewer))
            }
        }
    }
}

/// How viewers are.
#[derive(Clone)]
pub(crate) struct Manners {
    pub(crate) target: Target,
    pub(crate) wishes: Wishes,
    pub(crate) habits: Habits,
    /// Publishers that viewers are spread over.
    pub(crate) publishers: u32,
    pub(crate) pairing: Pairing,
}

impl Manners {
    /// Where the session with this number goes: its node's place, and who it is there.
    fn node(&self, number: u32) -> usize {
        let (viewer, _) = self.pairing.names(number, self.publishers);
        self.target.node_of(viewer)
    }

    /// How a session is called when something is said of it.
    fn called(&self, number: u32) -> String {
        let node = self.target.nodes.get(self.node(number));
        match node.filter(|_| self.target.nodes.len() > 1) {
            Some(Node { name, .. }) => format!("viewer {number} at {name}"),
            None => format!("viewer {number}"),
        }
    }
}

/// How many got how far.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    pub(crate) posted: u64,
    pub(crate) connected: u64,
    pub(crate) with_media: u64,
    pub(crate) failed: u64,
    pub(crate) left: u64,
    pub(crate) reasons: Vec<String>,
}

impl Tally {
    /// What happened since: failures are those of one measurement, the others are of everybody who is there.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            posted: self.posted - self.left,
            connected: self.connected.saturating_sub(self.left),
            failed: self.failed - before.failed,
            reasons: self.reasons.iter().skip(before.reasons.len()).cloned().collect(),
            ..*self
        }
    }

    /// All of several nodes.
    pub(crate) fn sum(tallies: &[Self]) -> Self {
        let mut sum = Self::default();
        for tally in tallies {
            sum.posted += tally.posted;
            sum.connected += tally.connected;
            sum.with_media += tally.with_media;
            sum.failed += tally.failed;
            sum.left += tally.left;
            sum.reasons.extend_from_slice(&tally.reasons);
        }
        sum
    }

    fn fail(&mut self, viewer: &str, reason: &str) {
        self.failed += 1;
        if self.reasons.len() < REASONS_MAX {
            self.reasons.push(format!("{viewer}: {reason}"));
        }
    }
}

#[derive(Debug)]
struct Shared {
    /// Of each node.
    tallies: Mutex<Vec<Tally>>,
    sessions: Mutex<BTreeMap<u32, Session>>,
}

impl Shared {
    fn tell(&self, node: usize, change: impl FnOnce(&mut Tally)) {
        if let Some(tally) = locked(&self.tallies).get_mut(node) {
            change(tally);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Viewers, on their threads.
pub(crate) struct Audience {
    manners: Manners,
    signal: Signal,
    identity: Identity,
    /// Of each node.
    towards: Vec<SocketAddr>,
    shards: Vec<Shard>,
    shared: Arc<Shared>,
    joining: JoinSet<()>,
    proxy: Option<Arc<Proxy>>,
}

/// Live figures.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct LiveFigures {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) missing: u64,
}

impl Audience {
    pub(crate) async fn gather(manners: Manners, signal: Signal, load: &Load) -> anyhow::Result<Self> {
        let (threads, cpus) = (load.threads, &load.cpus);
        let mut towards = Vec::new();
        for node in &manners.target.nodes {
            towards.push(address_of(&node.whep.url(1, 1)?).await?);
        }
        let (notices, heard) = mpsc::unbounded_channel();
        let cpu = |number: usize| cpus.get(number % cpus.len().max(1)).copied();
        let shards: Result<Vec<_>, _> = (0..threads)
            .map(|number| Shard::start(number, cpu(number), notices.clone()))
            .collect();
        let shared = Arc::new(Shared {
            tallies: Mutex::new(vec![Tally::default(); towards.len()]),
            sessions: Mutex::default(),
        });
        tokio::spawn(listen(heard, shared.clone(), manners.clone()));
        Ok(Self {
            manners,
            signal,
            identity: Identity::generate()?,
            towards,
            shards: shards.context("starting the viewers' threads")?,
            proxy: load.impair.viewers(load.seed)?.map(Arc::new),
            shared,
            joining: JoinSet::new(),
        })
    }

    pub(crate) fn tally(&self) -> Tally {
        Tally::sum(&locked(&self.shared.tallies))
    }

    /// Of each node.
    pub(crate) fn tallies(&self) -> Vec<Tally> {
        locked(&self.shared.tallies).clone()
    }

    /// Starts a viewer; [`Self::tally`] tells how it went.
    pub(crate) fn join(&mut self, number: u32) {
        while self.joining.try_join_next().is_some() {}
        let node = self.manners.node(number);
        self.shared.tell(node, |tally| tally.posted += 1);
        let (manners, signal, shared) = (self.manners.clone(), self.signal.clone(), self.shared.clone());
        let proxy = self.proxy.clone();
        let commands = self.shard_of(number).map(|shard| shard.commands.clone());
        let (Some(commands), Some(towards)) = (commands, self.towards.get(node)) else {
            return;
        };
        let prepared = Prepared::new(&self.identity, *towards, manners.wishes);
        self.joining.spawn(async move {
            let entered = match prepared {
                Ok(prepared) => enter(prepared, number, &manners, &signal, &shared, proxy.as_deref()).await,
                Err(error) => Err(error.into()),
            };
            match entered {
                Ok(viewer) => commands.send(Command::Join(Box::new(viewer))),
                Err(error) => {
                    shared.tell(node, |tally| {
                        tally.fail(&manners.called(number), &error.to_string());
                    });
                }
            }
        });
    }

    fn shard_of(&self, number: u32) -> Option<&Shard> {
        let at = usize::try_from(number).unwrap_or(0) % self.shards.len().max(1);
        self.shards.get(at)
    }

    /// Starts viewers at so many a second. `progress` is called after each.
    pub(crate) async fn grow(
        &mut self,
        numbers: RangeInclusive<u32>,
        rate: u32,
        mut progress: impl FnMut(&Self),
    ) {
        let mut pace = interval(Duration::from_secs(1) / rate.max(1));
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for number in numbers {
            pace.tick().await;
            self.join(number);
            progress(self);
        }
    }

    /// Waits until everybody has media or failed. False: some had neither after `patience`.
    pub(crate) async fn settle(&self, patience: Duration, mut progress: impl FnMut(&Self)) -> bool {
        let until = Instant::now() + patience;
        while Instant::now() < until {
            let tally = self.tally();
            if tally.with_media + tally.failed >= tally.posted {
                return true;
            }
            progress(self);
            sleep(LOOK).await;
        }
        false
    }

    pub(crate) fn live(&self) -> LiveFigures {
        let mut sum = LiveFigures::default();
        for shard in &self.shards {
            sum.packets += shard.live.packets.load(Ordering::Relaxed);
            sum.bytes += shard.live.bytes.load(Ordering::Relaxed);
            sum.missing += shard.live.missing.load(Ordering::Relaxed);
        }
        sum
    }

    /// Ends the measurement, and begins the next.
    pub(crate) fn close(&self) {
        self.shards
            .iter()
            .for_each(|shard| shard.commands.send(Command::Close));
    }

    /// What the closed measurement brought, once nothing of it can come any more.
    pub(crate) async fn collect(&self) -> PerNode {
        sleep(GRACE).await;
        let mut sum = PerNode::default();
        for shard in &self.shards {
            let (sender, receiver) = oneshot::channel();
            shard.commands.send(Command::Collect(sender));
            if let Ok(counts) = receiver.await {
                sum.merge(&counts);
            }
        }
        sum
    }

    /// Viewers that were let in and have not left.
    pub(crate) fn present(&self) -> u32 {
        u32::try_from(locked(&self.shared.sessions).len()).unwrap_or(u32::MAX)
    }

    /// What the impaired way did to datagrams: to the server, and to viewers.
    pub(crate) fn impaired(&self) -> Option<(impair::Counts, impair::Counts)> {
        self.proxy.as_ref().map(|proxy| proxy.counts())
    }

    /// One viewer leaves.
    pub(crate) fn leave(&self, number: u32) -> impl Future<Output = Result<(), SignalError>> + use<> {
        let commands = self.shard_of(number).map(|shard| shard.commands.clone());
        let session = locked(&self.shared.sessions).remove(&number);
        let signal = self.signal.clone();
        self.shared
            .tell(self.manners.node(number), |tally| tally.left += 1);
        async move {
            if let Some(commands) = commands {
                let (sender, receiver) = oneshot::channel();
                commands.send(Command::Leave(number, sender));
                let _ = receiver.await;
            }
            match session {
                Some(session) => signal.delete(&session).await,
                None => Ok(()),
            }
        }
    }

    /// So many of those that came last leave.
    pub(crate) async fn leave_youngest(&self, count: u32) {
        let youngest: Vec<u32> = {
            let sessions = locked(&self.shared.sessions);
            sessions
                .keys()
                .rev()
                .take(usize::try_from(count).unwrap_or(0))
                .copied()
                .collect()
        };
        let mut leaving = JoinSet::new();
        for number in youngest {
            if leaving.len() >= LEAVING_MAX {
                leaving.join_next().await;
            }
            leaving.spawn(self.leave(number));
        }
        leaving.join_all().await;
    }

    /// Everybody leaves. How many the server would not let go.
    pub(crate) async fn disperse(mut self) -> u64 {
        self.joining.abort_all();
        self.shards.clear();
        let sessions = std::mem::take(&mut *locked(&self.shared.sessions));
        let mut leaving = JoinSet::new();
        let mut refused = 0;
        for session in sessions.into_values() {
            if leaving.len() >= LEAVING_MAX {
                refused += u64::from(matches!(leaving.join_next().await, Some(Ok(false))));
            }
            let signal = self.signal.clone();
            leaving.spawn(async move { signal.delete(&session).await.is_ok() });
        }
        while let Some(left) = leaving.join_next().await {
            refused += u64::from(matches!(left, Ok(false)));
        }
        refused
    }
}

async fn listen(mut notices: mpsc::UnboundedReceiver<Notice>, shared: Arc<Shared>, manners: Manners) {
    while let Some(notice) = notices.recv().await {
        match notice {
            Notice::Connected { node } => shared.tell(node, |tally| tally.connected += 1),
            Notice::FirstPacket { node } => shared.tell(node, |tally| tally.with_media += 1),
            Notice::Failed { number, node, reason } => {
                shared.tell(node, |tally| tally.fail(&manners.called(number), &reason));
                // Its session is the server's to end, but it is not here any more.
                locked(&shared.sessions).remove(&number);
            }
        }
    }
}

/// POST, answer or counter-offer, and what comes of it.
async fn enter(
    prepared: Prepared,
    number: u32,
    manners: &Manners,
    signal: &Signal,
    shared: &Shared,
    proxy: Option<&Proxy>,
) -> Result<Viewer, JoinError> {
    let (viewer, publisher) = manners.pairing.names(number, manners.publishers);
    let node = manners.node(number);
    let Some(Node { whep, .. }) = manners.target.nodes.get(node) else {
        return Err(SignalError::Url(String::new()).into());
    };
    let endpoint = whep.url(viewer, publisher)?;
    let begun = Instant::now();
    let (reply, session) = signal.post(&endpoint, prepared.offer(manners.wishes)).await?;
    let kept = session.clone();
    locked(&shared.sessions).insert(number, kept);
    let server = match reply {
        Reply::Answer(answer) => Description::parse(&answer)?,
        Reply::CounterOffer(offer) => {
            signal.accept(&session, prepared.answer(&offer)?).await?;
            Description::parse(&offer)?
        }
    };
    let way = match (proxy, server.candidates.first()) {
        (Some(proxy), Some(server)) => Some(proxy.route(number, *server).map_err(PeerError::from)?),
        _ => None,
    };
    let peer = prepared.accept(&server, way)?;
    let habits = manners.habits.clone();
    Ok(Viewer::new((number, node), peer, server, begun, habits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_watches_everyone_else_once() {
        let pairing = Pairing::Everyone { others: 3 };
        let pairs: Vec<_> = (1..=12).map(|number| pairing.names(number, 4)).collect();
        let mut unique = pairs.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), 12);
        assert!(
            pairs
                .iter()
                .all(|(viewer, publisher)| viewer != publisher && *publisher <= 4 && *viewer <= 4)
        );
    }

    #[test]
    fn viewers_are_spread_over_publishers() {
        let names = |number| Pairing::Spread.names(number, 3);
        assert_eq!([names(1), names(3), names(4)], [(1, 1), (3, 3), (4, 1)]);
    }
}
