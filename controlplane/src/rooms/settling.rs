//! A control plane that has just started knows a subscriber before it knows all publishers: other data planes have yet to
//! dial, and other nodes to be read of. Until then a subscriber keeps what it is shown.

use std::time::{Duration, Instant};

use weever_proto::{RELAY, SessionId, TrackId};

use super::Rooms;
use super::api::Effect;
use super::session::Session;

/// How long the others may take. Data planes dial once a second at least; the directory is read in less.
const SETTLING: Duration = Duration::from_secs(5);

impl Rooms {
    /// A subscriber that was met in a snapshot: whether it has to wait.
    pub(super) fn begin_settling(&mut self, id: SessionId) {
        let until = self.clock.began() + SETTLING;
        if let Some(session) = self.sessions.get_mut(&id)
            && !session.state.is_publisher()
        {
            session.settles = Some(until);
            self.timers.insert((until, id));
        }
    }

    /// Whether a subscriber still waits for a publisher that it is shown. Who doesn't any more is to be looked at as after
    /// a snapshot: what came and went meanwhile was not told.
    pub(super) fn is_settling(&self, now: Instant, session: &Session) -> bool {
        session.settles.is_some_and(|until| now < until) && self.misses_a_publisher(session)
    }

    /// Its timer has run out.
    pub(super) fn settle(&mut self, now: Instant, id: SessionId, effects: &mut Vec<Effect>) {
        let is_due = |session: &Session| session.settles.is_some_and(|until| until <= now);
        if self.sessions.get(&id).is_some_and(is_due) {
            self.recover(now, id, effects);
        }
    }

    /// Whether something is relayed to it of which nobody has told.
    fn misses_a_publisher(&self, session: &Session) -> bool {
        let mut relayed = session
            .routes
            .values()
            .filter(|route| route.track_worker == RELAY)
            .peekable();
        if relayed.peek().is_none() {
            return false;
        }
        let published = self.published(session);
        let is_known = |id: TrackId| {
            let mut tracks = published.iter().flat_map(|one| &one.tracks);
            tracks.any(|track| track.track == id.0)
        };
        relayed.any(|route| !is_known(route.track))
    }
}
