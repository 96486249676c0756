//! The one task that owns the rooms. HTTP handlers and data planes' connections talk to it through a mailbox; it carries
//! out what the rooms decide.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use weever_proto::{Command, Role, ToShard};

use crate::cluster::Outbox;
use crate::events::Events;
use crate::metrics::Metrics;
use crate::otlp::Otlp;
use crate::player_events::{PlayerEvents, TooSlow};
use crate::rooms::{
    Action, Effect, Entropy, JoinTrace, Notice, Refused, Reply, RequestId, Rooms, RoomsConfig, SessionKey,
    ShardId, StreamId, StreamNews,
};
use crate::windows::Windows;

/// Actions that may wait. When full, senders wait: HTTP clients feel it, media never does.
const MAILBOX: usize = 4096;
/// Commands that may wait for one data plane. When full, it hangs, and its connection is closed.
const SHARD_QUEUE: usize = 65_536;

/// The request of what the task does by itself.
const NOBODY: RequestId = RequestId(0);

/// Something to be asked of the rooms as they are.
type Question = Box<dyn FnOnce(&Rooms) + Send>;

enum Letter {
    Act(Action),
    /// An action whose reply is awaited.
    Request(RequestId, Action, oneshot::Sender<Reply>),
    ShardUp(ShardId, Box<weever_proto::Hello>, mpsc::Sender<ToShard>),
    Ask(Question),
    LetGo,
}

/// The way to the signalling task.
#[derive(Clone)]
pub struct Signalling {
    mailbox: mpsc::Sender<Letter>,
    numbers: Arc<AtomicU64>,
    events: Events,
    player_events: PlayerEvents,
    windows: Windows,
}

/// The task has ended: the process is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("signalling has stopped")]
pub struct Stopped;

impl Signalling {
    /// Starts the task.
    pub fn start(
        config: RoomsConfig,
        metrics: Arc<Metrics>,
        events: Events,
        otlp: Option<Otlp>,
        outbox: Option<Outbox>,
    ) -> Self {
        let (mailbox, letters) = mpsc::channel(MAILBOX);
        let player_events = PlayerEvents::default();
        let task = Task {
            rooms: Rooms::new(config, Box::new(SystemEntropy)),
            shards: HashMap::new(),
            waiting: HashMap::new(),
            metrics,
            events: events.clone(),
            otlp,
            outbox,
            player_events: player_events.clone(),
        };
        tokio::spawn(task.run(letters));
        Self {
            mailbox,
            numbers: Arc::new(AtomicU64::new(1)),
            events,
            player_events,
            windows: Windows::default(),
        }
    }

    /// Those who look at packets. What data planes tell for them doesn't pass the task.
    pub fn windows(&self) -> &Windows {
        &self.windows
    }

    /// What the rooms have noticed.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Where the events of subscribers wait.
    pub fn player_events(&self) -> &PlayerEvents {
        &self.player_events
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// A name for a connection.
    pub fn shard_id(&self) -> ShardId {
        ShardId(self.number())
    }

    /// Hands over an action that has no reply.
    pub async fn act(&self, action: Action) -> Result<(), Stopped> {
        self.mailbox.send(Letter::Act(action)).await.map_err(|_| Stopped)
    }

    /// A data plane is there. The queue is what it will be sent.
    pub async fn shard_up(
        &self,
        shard: ShardId,
        hello: weever_proto::Hello,
    ) -> Result<mpsc::Receiver<ToShard>, Stopped> {
        let (queue, commands) = mpsc::channel(SHARD_QUEUE);
        self.mailbox
            .send(Letter::ShardUp(shard, Box::new(hello), queue))
            .await
            .map_err(|_| Stopped)?;
        Ok(commands)
    }

    /// Nobody reads a stream any more. Should the mailbox be full, it goes when its session opens others, or ends.
    pub fn close_stream(&self, key: SessionKey, stream: StreamId) {
        let request = NOBODY;
        let _ = self
            .mailbox
            .try_send(Letter::Act(Action::Unwatch { request, key, stream }));
    }

    /// From now on no data plane is told anything: their queues end behind what is in them.
    pub async fn let_go_of_shards(&self) -> Result<(), Stopped> {
        self.mailbox.send(Letter::LetGo).await.map_err(|_| Stopped)
    }

    /// Makes a request of the rooms and waits for the reply.
    pub async fn request(&self, action: impl FnOnce(RequestId) -> Action) -> Reply {
        let request = RequestId(self.number());
        let (answer, reply) = oneshot::channel();
        let sent = self
            .mailbox
            .send(Letter::Request(request, action(request), answer))
            .await;
        let stopped = || {
            Reply::Refused(Refused {
                status: 503,
                detail: Stopped.to_string(),
                retry_after: Some(std::time::Duration::from_secs(1)),
                reason: None,
            })
        };
        if sent.is_err() {
            return stopped();
        }
        reply.await.unwrap_or_else(|_| stopped())
    }

    /// Asks the rooms something.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Rooms) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (answer, reply) = oneshot::channel();
        let ask: Question = Box::new(move |rooms| {
            // Who asked may have gone.
            let _ = answer.send(question(rooms));
        });
        self.mailbox.send(Letter::Ask(ask)).await.map_err(|_| Stopped)?;
        reply.await.map_err(|_| Stopped)
    }
}

struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn draw(&mut self) -> u64 {
        // Without random numbers no secret can be made: better to end than to go on with guessable ones.
        getrandom::u64().expect("the kernel has random numbers")
    }
}

struct Task {
    rooms: Rooms,
    shards: HashMap<ShardId, mpsc::Sender<ToShard>>,
    waiting: HashMap<RequestId, oneshot::Sender<Reply>>,
    metrics: Arc<Metrics>,
    events: Events,
    otlp: Option<Otlp>,
    /// For the cluster's directory, if there is a cluster.
    outbox: Option<Outbox>,
    player_events: PlayerEvents,
}

impl Task {
    async fn run(mut self, mut letters: mpsc::Receiver<Letter>) {
        loop {
            let due = self.rooms.next_tick().map(tokio::time::Instant::from_std);
            let alarm = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                letter = letters.recv() => match letter {
                    Some(letter) => self.take(letter),
                    None => return,
                },
                () = alarm => self.act(Action::Tick),
            }
        }
    }

    fn take(&mut self, letter: Letter) {
        match letter {
            Letter::Act(action) => {
                if let Action::ShardDown { shard } = &action {
                    self.shards.remove(shard);
                }
                self.act(action);
            }
            Letter::Request(request, action, answer) => {
                self.waiting.insert(request, answer);
                self.act(action);
            }
            Letter::ShardUp(shard, hello, queue) => {
                self.shards.insert(shard, queue);
                self.act(Action::ShardUp { shard, hello });
            }
            Letter::Ask(question) => question(&self.rooms),
            Letter::LetGo => self.shards.clear(),
        }
    }

    fn act(&mut self, action: Action) {
        let mut next = VecDeque::from([action]);
        while let Some(action) = next.pop_front() {
            let mut effects = Vec::new();
            self.rooms.handle(Instant::now(), action, &mut effects);
            self.carry_out(effects, &mut next);
        }
    }

    /// What comes of it is appended to `next`. It comes to an end: each takes a session or a stream away.
    fn carry_out(&mut self, effects: Vec<Effect>, next: &mut VecDeque<Action>) {
        for effect in effects {
            match effect {
                Effect::Command { shard, command } => self.send(shard, *command),
                Effect::Reply { request, reply } => {
                    let Some(answer) = self.waiting.remove(&request) else {
                        continue;
                    };
                    // A client that hung up before its answer will never use the session, nor free its name.
                    if let Err(Reply::Created { key, .. }) = answer.send(reply) {
                        next.push_back(Action::Leave { request: NOBODY, key });
                    }
                }
                Effect::Local(news) => {
                    if let Some(outbox) = &self.outbox {
                        outbox.put(news);
                    }
                }
                Effect::Stream { stream, news } => next.extend(self.tell(stream, news)),
                Effect::Notice(notice) => {
                    log(&notice);
                    self.metrics.note(&notice);
                    self.events.publish(&notice);
                }
                Effect::Traced(trace) => {
                    log_join(&trace);
                    self.metrics.joined(&trace);
                    if let Some(otlp) = &self.otlp {
                        otlp.offer(&trace);
                    }
                }
            }
        }
    }

    /// Returns what the rooms have to know of it.
    fn tell(&self, stream: StreamId, news: StreamNews) -> Option<Action> {
        match news {
            StreamNews::Opened { session } => self.player_events.open(stream, session),
            StreamNews::Ended => self.player_events.end(stream),
            StreamNews::Event(event) => {
                let TooSlow(key) = self.player_events.push(stream, event).err()?;
                return Some(Action::Unwatch {
                    request: NOBODY,
                    key,
                    stream,
                });
            }
        }
        None
    }

    fn send(&mut self, shard: ShardId, command: Command) {
        let Some(queue) = self.shards.get(&shard) else {
            return;
        };
        if queue.try_send(ToShard::Command(command)).is_err() {
            // Dropping the queue closes the connection; the data plane dials again and tells what it holds.
            tracing::warn!(
                shard = shard.0,
                "a data plane takes no commands; closing its connection"
            );
            self.shards.remove(&shard);
        }
    }
}

fn word(role: Role) -> &'static str {
    match role {
        Role::Publisher => "publisher",
        Role::Subscriber => "subscriber",
    }
}

/// One line for each join.
fn log_join(trace: &JoinTrace) {
    // Tenths are enough for a reader.
    let ms = |at: Option<Duration>| at.map(|at| (at.as_secs_f64() * 1e4).round() / 10.0);
    tracing::info!(
        room = %trace.room,
        role = word(trace.role),
        id = %trace.id,
        session = %trace.session,
        shard = trace.shard,
        worker = trace.worker.0,
        outcome = trace.outcome.as_str(),
        answer_ms = ms(trace.answer),
        ice_ms = ms(trace.ice),
        dtls_ms = ms(trace.dtls),
        media_ms = ms(trace.media),
        "join"
    );
}

/// One line for what an operator wants to know.
fn log(notice: &Notice) {
    match notice {
        Notice::Joined(who) => {
            tracing::debug!(room = %who.room, role = word(who.role), id = %who.id, "joined");
        }
        Notice::Connected(who) => {
            tracing::debug!(room = %who.room, role = word(who.role), id = %who.id, "connected");
        }
        Notice::Resumed { who, .. } => {
            tracing::debug!(room = %who.room, role = word(who.role), id = %who.id, "resumed");
        }
        Notice::Left { who, reason, .. } => {
            tracing::info!(room = %who.room, role = word(who.role), id = %who.id, reason, "left");
        }
        Notice::TrackLive { who, track } => {
            tracing::debug!(room = %who.room, id = %who.id, track = track.label, "track live");
        }
        Notice::TrackGone { who, track } => {
            tracing::debug!(room = %who.room, id = %who.id, track = track.label, "track gone");
        }
        Notice::Lasting { .. } => {}
        Notice::RoomOpened(room) => tracing::debug!(%room, "room opened"),
        Notice::RoomClosed(room) => tracing::debug!(%room, "room closed"),
        Notice::ShardReady { name, sessions } => tracing::info!(name, sessions, "data plane ready"),
        Notice::ShardDraining { name, sessions } => {
            tracing::info!(name, sessions, "data plane is being drained");
        }
        Notice::ShardDrained { name } => tracing::info!(name, "data plane drained"),
        Notice::ShardLost { name, sessions: 0 } => {
            tracing::info!(name, "data plane gone, no session with it");
        }
        Notice::ShardLost { name, sessions } => {
            tracing::warn!(name, sessions, "data plane lost, its sessions with it");
        }
    }
}
