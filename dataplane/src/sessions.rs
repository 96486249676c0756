//! Which worker has which session, and so where a command goes. Pure.

use std::collections::{BTreeMap, HashMap};

use weever_proto::{CloseReason, Command, Event, Refusal, SessionId, SessionSnapshot, WatchEnd, WorkerId};

/// What to do with a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Have this worker carry it out.
    To(WorkerId, Command),
    /// Have every worker carry it out.
    ToAll(Command),
    /// Have each of these workers carry out its part.
    ToEach(Vec<(WorkerId, Command)>),
    /// Say this; no worker is concerned.
    Answer(Event),
}

/// The process's sessions, as far as the control thread has to know them.
#[derive(Debug)]
pub(crate) struct Sessions {
    placed: HashMap<SessionId, Place>,
    workers: usize,
    max_sessions: usize,
    draining: bool,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    worker: WorkerId,
    /// Whether the worker has confirmed it; until then a refusal means that there is no such session.
    ready: bool,
}

impl Sessions {
    pub(crate) fn new(workers: usize, max_sessions: usize) -> Self {
        Self {
            placed: HashMap::new(),
            workers,
            max_sessions,
            draining: false,
        }
    }

    pub(crate) fn contains(&self, session: SessionId) -> bool {
        self.placed.contains_key(&session)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.placed.is_empty()
    }

    pub(crate) fn ids(&self) -> Vec<SessionId> {
        self.placed.keys().copied().collect()
    }

    /// No new sessions from now on.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining
    }

    pub(crate) fn dispatch(&mut self, command: Command) -> Verdict {
        let session = match &command {
            Command::CreateSession(spec) => match self.place(spec.session, spec.worker) {
                Ok(worker) => return Verdict::To(worker, command),
                Err((reason, detail)) => return refuse(spec.session, reason, detail),
            },
            Command::Drain => {
                self.draining = true;
                return Verdict::ToAll(command);
            }
            Command::Broadcast {
                sessions,
                channel,
                text,
            } => {
                let part = |(worker, sessions)| {
                    let (channel, text) = (*channel, text.clone());
                    let part = Command::Broadcast {
                        sessions,
                        channel,
                        text,
                    };
                    (worker, part)
                };
                return Verdict::ToEach(self.by_worker(sessions).into_iter().map(part).collect());
            }
            Command::UpdateReceive { session, .. }
            | Command::RestartIce { session, .. }
            | Command::RemoveRoute { session, .. }
            | Command::SendText { session, .. }
            | Command::SetState { session, .. }
            | Command::CloseSession { session }
            | Command::Watch { session }
            | Command::Unwatch { session } => *session,
            Command::PutRoute(route) => route.session,
        };
        match self.placed.get(&session) {
            Some(place) => Verdict::To(place.worker, command),
            None if matches!(command, Command::CloseSession { .. }) => {
                Verdict::Answer(Event::SessionClosed {
                    session,
                    reason: CloseReason::Requested,
                })
            }
            None if matches!(command, Command::Watch { .. } | Command::Unwatch { .. }) => {
                Verdict::Answer(Event::WatchEnded {
                    session,
                    reason: WatchEnd::UnknownSession,
                })
            }
            None => refuse(
                session,
                Refusal::UnknownSession,
                "this data plane has no such session".to_owned(),
            ),
        }
    }

    /// Those that are there, with the worker that has them.
    fn by_worker(&self, sessions: &[SessionId]) -> BTreeMap<WorkerId, Vec<SessionId>> {
        let mut workers: BTreeMap<WorkerId, Vec<SessionId>> = BTreeMap::new();
        for session in sessions {
            if let Some(place) = self.placed.get(session) {
                workers.entry(place.worker).or_default().push(*session);
            }
        }
        workers
    }

    fn place(&mut self, session: SessionId, worker: WorkerId) -> Result<WorkerId, (Refusal, String)> {
        if let Some(place) = self.placed.get(&session) {
            return Ok(place.worker);
        }
        if self.draining {
            return Err((Refusal::Draining, "this data plane is being drained".to_owned()));
        }
        if usize::from(worker.0) >= self.workers {
            return Err((
                Refusal::UnknownWorker,
                format!("{worker} of {} workers", self.workers),
            ));
        }
        if self.placed.len() >= self.max_sessions {
            return Err((
                Refusal::Full,
                format!("all {} sessions are taken", self.max_sessions),
            ));
        }
        self.placed.insert(session, Place { worker, ready: false });
        Ok(worker)
    }

    /// Keeps up with what a worker tells.
    pub(crate) fn learn(&mut self, event: &Event) {
        match event {
            Event::SessionReady { session } => {
                if let Some(place) = self.placed.get_mut(session) {
                    place.ready = true;
                }
            }
            Event::SessionClosed { session, .. } => _ = self.placed.remove(session),
            Event::CommandRefused { session, .. }
                if self.placed.get(session).is_some_and(|place| !place.ready) =>
            {
                self.placed.remove(session);
            }
            _ => {}
        }
    }

    /// A worker's snapshot is the truth about its sessions, but for those that it was told to make since it was asked.
    pub(crate) fn learn_snapshot(&mut self, worker: WorkerId, snapshot: &[SessionSnapshot]) {
        self.placed
            .retain(|_, place| place.worker != worker || !place.ready);
        for session in snapshot {
            self.placed
                .insert(session.spec.session, Place { worker, ready: true });
        }
    }

    /// Before snapshots are asked for: what was unconfirmed until now will be in them or gone.
    pub(crate) fn expect_snapshots(&mut self) {
        for place in self.placed.values_mut() {
            place.ready = true;
        }
    }
}

fn refuse(session: SessionId, reason: Refusal, detail: String) -> Verdict {
    Verdict::Answer(Event::CommandRefused {
        session,
        reason,
        detail,
    })
}

#[cfg(test)]
mod tests {
    use weever_proto::{ChannelLabel, DtlsRole, Fingerprint, IceCredentials, Role, SessionSpec};

    use super::*;

    fn create(session: u64, worker: u16) -> Command {
        Command::CreateSession(Box::new(spec(session, worker)))
    }

    fn spec(session: u64, worker: u16) -> SessionSpec {
        let ice = IceCredentials {
            ufrag: "ufrag".into(),
            password: "p".repeat(24),
        };
        SessionSpec {
            session: SessionId(session),
            worker: WorkerId(worker),
            role: Role::Subscriber,
            local: ice.clone(),
            remote: ice,
            fingerprint: Fingerprint {
                hash: "sha-256".into(),
                value: vec![1; 32],
            },
            dtls_role: DtlsRole::Server,
            data_channel: true,
            receive: Vec::new(),
            extensions: Vec::new(),
            state: Vec::new(),
        }
    }

    fn snapshot(session: u64, worker: u16) -> SessionSnapshot {
        SessionSnapshot {
            spec: spec(session, worker),
            routes: Vec::new(),
            connected: true,
            silent: false,
            channel_open: false,
            chat_open: false,
            live_tracks: Vec::new(),
            age_ms: 1,
        }
    }

    fn refusal(verdict: &Verdict) -> Option<Refusal> {
        match verdict {
            Verdict::Answer(Event::CommandRefused { reason, .. }) => Some(*reason),
            _ => None,
        }
    }

    fn close(session: u64) -> Command {
        Command::CloseSession {
            session: SessionId(session),
        }
    }

    #[test]
    fn commands_follow_their_session() {
        let mut sessions = Sessions::new(2, 10);
        assert_eq!(
            sessions.dispatch(create(7, 1)),
            Verdict::To(WorkerId(1), create(7, 1))
        );
        assert_eq!(sessions.dispatch(close(7)), Verdict::To(WorkerId(1), close(7)));
        // The same again, even for another worker, goes to the one that has it.
        assert_eq!(
            sessions.dispatch(create(7, 0)),
            Verdict::To(WorkerId(1), create(7, 0))
        );
        sessions.learn(&Event::SessionClosed {
            session: SessionId(7),
            reason: CloseReason::Requested,
        });
        assert!(sessions.is_empty());
    }

    #[test]
    fn a_broadcast_is_parted_among_workers_and_passes_over_who_is_gone() {
        let mut sessions = Sessions::new(3, 10);
        for (session, worker) in [(1, 0), (2, 2), (3, 0)] {
            sessions.dispatch(create(session, worker));
        }
        let to = |sessions: &[u64]| Command::Broadcast {
            sessions: sessions.iter().copied().map(SessionId).collect(),
            channel: ChannelLabel::Chat,
            text: "alice hello".into(),
        };
        assert_eq!(
            sessions.dispatch(to(&[3, 9, 2, 1])),
            Verdict::ToEach(vec![(WorkerId(0), to(&[3, 1])), (WorkerId(2), to(&[2]))])
        );
        assert_eq!(sessions.dispatch(to(&[9])), Verdict::ToEach(Vec::new()));
    }

    #[test]
    fn unknown_sessions_and_workers_are_answered_here() {
        let mut sessions = Sessions::new(2, 10);
        let text = Command::SendText {
            session: SessionId(9),
            channel: ChannelLabel::Control,
            text: "OK".into(),
        };
        assert_eq!(refusal(&sessions.dispatch(text)), Some(Refusal::UnknownSession));
        assert_eq!(
            refusal(&sessions.dispatch(create(1, 2))),
            Some(Refusal::UnknownWorker)
        );
        let closed = Event::SessionClosed {
            session: SessionId(9),
            reason: CloseReason::Requested,
        };
        assert_eq!(sessions.dispatch(close(9)), Verdict::Answer(closed));
        let session = SessionId(9);
        for command in [Command::Watch { session }, Command::Unwatch { session }] {
            let unknown = Event::WatchEnded {
                session,
                reason: WatchEnd::UnknownSession,
            };
            assert_eq!(sessions.dispatch(command), Verdict::Answer(unknown));
        }
        assert!(sessions.is_empty());
    }

    #[test]
    fn full_and_draining_refuse_new_sessions_only() {
        let mut sessions = Sessions::new(1, 1);
        sessions.dispatch(create(1, 0));
        assert_eq!(refusal(&sessions.dispatch(create(2, 0))), Some(Refusal::Full));
        assert_eq!(sessions.dispatch(Command::Drain), Verdict::ToAll(Command::Drain));
        assert!(sessions.is_draining());
        assert_eq!(refusal(&sessions.dispatch(create(3, 0))), Some(Refusal::Draining));
        assert_eq!(
            sessions.dispatch(create(1, 0)),
            Verdict::To(WorkerId(0), create(1, 0))
        );
    }

    #[test]
    fn a_refused_creation_leaves_nothing_a_refused_change_does() {
        let mut sessions = Sessions::new(1, 10);
        let refused = |session| Event::CommandRefused {
            session: SessionId(session),
            reason: Refusal::Invalid,
            detail: String::new(),
        };
        sessions.dispatch(create(1, 0));
        sessions.dispatch(create(2, 0));
        sessions.learn(&Event::SessionReady {
            session: SessionId(2),
        });
        sessions.learn(&refused(1));
        sessions.learn(&refused(2));
        assert_eq!(sessions.ids(), [SessionId(2)]);
    }

    #[test]
    fn snapshots_are_the_truth_about_one_worker() {
        let mut sessions = Sessions::new(2, 10);
        for (session, worker) in [(1, 0), (2, 0), (3, 1)] {
            sessions.dispatch(create(session, worker));
        }
        sessions.expect_snapshots();
        sessions.dispatch(create(4, 0));
        sessions.learn_snapshot(WorkerId(0), &[snapshot(2, 0), snapshot(5, 0)]);
        let mut ids = sessions.ids();
        ids.sort();
        assert_eq!(ids, [2, 3, 4, 5].map(SessionId));
    }
}
