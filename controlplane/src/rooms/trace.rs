//! What became of a join, and how long each stage took.

use std::time::{Duration, Instant};

use weever_proto::{JoinStage, Role, SessionId, WorkerId};

use super::Rooms;
use super::api::Effect;
use super::session::{MediaState, Session};
use crate::names::{FullId, RoomName};
use crate::traceparent::TraceParent;

/// A join that has no media by then is told as it is.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A POST, as its trace needs it.
#[derive(Debug, Clone, Copy)]
pub struct Posted {
    /// When its headers were there.
    pub at: Instant,
    /// Its `traceparent`.
    pub parent: Option<TraceParent>,
}

/// A join from its POST to its end, which is its first media, mostly. Times count from the POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinTrace {
    /// The session.
    pub session: SessionId,
    /// Which way media goes.
    pub role: Role,
    /// Where to.
    pub room: RoomName,
    /// As whom.
    pub id: FullId,
    /// Its data plane's name.
    pub shard: String,
    /// Of its data plane.
    pub worker: WorkerId,
    /// When it was posted.
    pub posted: Instant,
    /// Whose trace it belongs to.
    pub parent: Option<TraceParent>,
    /// Until the answer was given.
    pub answer: Option<Duration>,
    /// Until the first valid connectivity check.
    pub ice: Option<Duration>,
    /// Until the end of the DTLS handshake.
    pub dtls: Option<Duration>,
    /// Until the first media packet of a publisher; of a subscriber, until its first keyframe was sent (its first sound
    /// if it has no picture).
    pub media: Option<Duration>,
    /// Why the trace ends.
    pub outcome: JoinOutcome,
    /// When it ended.
    pub ended: Duration,
}

/// Why the trace of a join ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinOutcome {
    /// Media passes.
    Media,
    /// It is connected, and there is nobody to watch yet.
    Waits,
    /// Nothing came for 30 s.
    NoMedia,
    /// The session ended, for this reason.
    Ended(&'static str),
}

impl JoinOutcome {
    /// A word for logs and traces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Media => "media",
            Self::Waits => "waits",
            Self::NoMedia => "no-media",
            Self::Ended(reason) => reason,
        }
    }
}

impl JoinTrace {
    /// The stages that were reached: name, and when.
    pub fn stages(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        [
            ("answer", self.answer),
            ("ice", self.ice),
            ("dtls", self.dtls),
            ("media", self.media),
        ]
        .into_iter()
        .filter_map(|(stage, at)| Some((stage, at?)))
    }
}

/// A join that is under way.
#[derive(Debug)]
pub(super) struct Joining {
    posted: Posted,
    /// When the data plane was told.
    commanded: Instant,
    answer: Option<Duration>,
    ice: Option<Duration>,
    dtls: Option<Duration>,
    media: Option<Duration>,
}

impl Joining {
    pub(super) fn new(posted: Posted, now: Instant) -> Self {
        Self {
            posted,
            commanded: now,
            answer: None,
            ice: None,
            dtls: None,
            media: None,
        }
    }

    pub(super) fn answered(&mut self, now: Instant) {
        self.answer = Some(now.saturating_duration_since(self.posted.at));
    }

    pub(super) fn deadline(&self) -> Instant {
        self.posted.at + PATIENCE
    }

    /// The data plane counts from the session's creation, which lies between the command and the answer, close to the
    /// latter. What it says can't lie beyond now.
    fn reached(&mut self, now: Instant, stage: JoinStage, after: Duration) {
        let commanded = self.commanded.saturating_duration_since(self.posted.at);
        let before = self.answer.unwrap_or(commanded);
        let at = (before.saturating_add(after)).min(now.saturating_duration_since(self.posted.at));
        let slot = match stage {
            JoinStage::Ice => &mut self.ice,
            JoinStage::Dtls => &mut self.dtls,
            JoinStage::Media => &mut self.media,
        };
        slot.get_or_insert(at);
    }

    fn finish(self, now: Instant, session: &Session, shard: String, outcome: JoinOutcome) -> JoinTrace {
        let ended = match outcome {
            JoinOutcome::Media => self.media,
            JoinOutcome::Waits => self.dtls,
            _ => None,
        };
        JoinTrace {
            session: session.id,
            role: session.role(),
            room: session.state.room.clone(),
            id: session.state.id.clone(),
            shard,
            worker: session.worker,
            posted: self.posted.at,
            parent: self.posted.parent,
            answer: self.answer,
            ice: self.ice,
            dtls: self.dtls,
            media: self.media,
            outcome,
            ended: ended.unwrap_or_else(|| now.saturating_duration_since(self.posted.at)),
        }
    }
}

impl Rooms {
    /// A session has come further on its way to media.
    pub(super) fn progress(
        &mut self,
        now: Instant,
        id: SessionId,
        stage: JoinStage,
        after: Duration,
        effects: &mut Vec<Effect>,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(joining) = &mut session.joining else {
            return;
        };
        joining.reached(now, stage, after);
        match stage {
            JoinStage::Ice => {}
            JoinStage::Dtls if self.has_to_wait(id) => self.end_trace(now, id, JoinOutcome::Waits, effects),
            JoinStage::Dtls => {}
            JoinStage::Media => self.end_trace(now, id, JoinOutcome::Media, effects),
        }
    }

    /// Whether a subscriber's media can't begin before somebody publishes: that is no time of the join.
    fn has_to_wait(&self, id: SessionId) -> bool {
        let Some(session) = self.sessions.get(&id) else {
            return false;
        };
        let MediaState::Subscriber { from, .. } = &session.state.media else {
            return false;
        };
        let live = self.rooms.get(&session.state.room).map(|room| &room.live);
        let mut live = live.into_iter().flatten().filter_map(|id| self.sessions.get(id));
        !live.any(|publisher| {
            let id = &publisher.state.id;
            let wanted = from
                .as_deref()
                .is_none_or(|from| id.as_str() == from || id.base() == from);
            wanted && id.base() != session.state.id.base()
        })
    }

    /// Tells what became of a join, once.
    pub(super) fn end_trace(
        &mut self,
        now: Instant,
        id: SessionId,
        outcome: JoinOutcome,
        effects: &mut Vec<Effect>,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(joining) = session.joining.take() else {
            return;
        };
        self.timers.remove(&(joining.deadline(), id));
        let shard = self.shards.get(&session.shard);
        let shard = shard.map(|shard| shard.name().to_owned()).unwrap_or_default();
        let trace = joining.finish(now, session, shard, outcome);
        effects.push(Effect::Traced(Box::new(trace)));
    }
}
