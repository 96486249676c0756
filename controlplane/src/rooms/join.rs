//! Getting in.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use weever_proto::{Command, DtlsRole, Extension, Refusal, Role, SessionId, limits};

use super::api::{Effect, Join, Notice, Refused, Reply, SessionKey};
use super::placement::{DRAINING_RETRY, NO_SHARD_RETRY};
use super::rates::Meter;
use super::session::{MediaState, Negotiation, READY, Session, Starting, State};
use super::trace::{Joining, PATIENCE};
use super::watching::EventStreams;
use super::{MINUTE, Rooms, Tell, command, published, reply_to};
use crate::names::FullId;
use crate::sdp::emit::LocalTransport;
use crate::sdp::view::View;
use crate::sdp::{Description, SdpError, Setup, publish};

/// Names, keys and credentials in a session's state, bytes: each is bounded, and all are far from filling this.
const STATE_WITHOUT_MEDIA: usize = 16 * 1024;

impl From<SdpError> for Refused {
    fn from(error: SdpError) -> Self {
        let status = match error {
            SdpError::Malformed(_) => 400,
            SdpError::Unservable(_) => 422,
        };
        Self::new(status, error.to_string())
    }
}

impl Rooms {
    pub(super) fn join(&mut self, now: Instant, join: Join, effects: &mut Vec<Effect>) {
        let (request, redirected) = (join.request, join.redirected);
        if let Err(refused) = self.admit(now, join, effects) {
            reply_to(request, self.turn_away(refused, redirected), effects);
        }
    }

    /// Who can't be taken here is sent to where there is room, unless they were sent here.
    pub(super) fn turn_away(&self, refused: Refused, redirected: bool) -> Reply {
        match &self.config.overflow {
            Some(node) if refused.status == 503 && !redirected => Reply::Elsewhere { node: node.clone() },
            _ => Reply::Refused(refused),
        }
    }

    fn admit(&mut self, now: Instant, join: Join, effects: &mut Vec<Effect>) -> Result<(), Refused> {
        if self.draining {
            return Err(Refused::later(
                "this node is being drained; try again, another will answer",
                DRAINING_RETRY,
            )
            .because("draining"));
        }
        if self.config.strict_rooms && !self.rooms.get(&join.room).is_some_and(|room| room.created) {
            return Err(Refused::new(
                404,
                format!("there is no room {}; it must be created first", join.room),
            ));
        }
        let name = (join.room.clone(), join.role, join.id.clone());
        let holder = self.names.get(&name).copied();
        if let Some(holder) = holder
            && !self.sessions.get(&holder).is_some_and(|session| session.silent)
        {
            let role = if join.role == Role::Publisher {
                "publisher"
            } else {
                "subscriber"
            };
            return Err(Refused::new(409, format!("duplicate {role}")));
        }
        self.check_room(&join, holder)?;
        let (shard, worker) = self.place(&join.room)?;
        let prepared = self.prepare(&join, shard, worker)?;
        if !prepared.fits() {
            return Err(Refused::new(422, "the offer has more in it than can be served"));
        }
        if let Some(holder) = holder {
            // It lost its network and comes straight back.
            self.end(now, holder, "replaced", Tell::Shard, effects);
        }
        self.start(now, join, shard, worker, prepared, effects);
        Ok(())
    }

    /// Negotiates. Nothing has changed yet.
    fn prepare(
        &mut self,
        join: &Join,
        shard: super::ShardId,
        worker: weever_proto::WorkerId,
    ) -> Result<Prepared, Refused> {
        let ice = self.credentials();
        let sdp_id = self.entropy.draw();
        let at = self.shards.get(&shard);
        let candidates = at
            .and_then(|shard| shard.candidates(worker))
            .unwrap_or_default()
            .to_vec();
        let fingerprint = at.map(|shard| shard.fingerprint().clone());
        let fingerprint =
            fingerprint.ok_or_else(|| Refused::later("the data plane is gone", NO_SHARD_RETRY))?;
        let transport = LocalTransport {
            ice,
            fingerprint,
            candidates,
        };
        if join.role == Role::Publisher {
            let entropy = &mut self.entropy;
            let made = publish::answer(
                &join.offer,
                &transport,
                sdp_id,
                1,
                &[],
                join.limits.max_bitrate,
                || entropy.draw(),
            )?;
            publish::check_whole(&join.offer, &made.tracks)?;
            let media = MediaState::Publisher {
                tracks: made.tracks,
                watches: false,
            };
            return Ok(Prepared {
                transport,
                sdp_id,
                answer: made.text,
                extensions: made.extensions,
                media,
            });
        }
        let entropy = &mut self.entropy;
        let mut view = View::new(&join.offer, &mut || entropy.draw());
        if view.is_empty() {
            return Err(Refused::new(
                422,
                "nothing to receive: the offer has no m-line that can be served, nor a data channel",
            ));
        }
        let first = self.first_shown(join, shard);
        if let Some(publisher) = &first {
            view.prefer(&published::candidates(std::slice::from_ref(publisher)));
        }
        // A player's stream is called after the publisher that it will see, if one can be named.
        let wish = || join.from.clone().and_then(|from| FullId::new(from).ok());
        let stream_id = match first.map(|publisher| publisher.id).or_else(wish) {
            Some(id) => id.to_string(),
            None => join.room.to_string(),
        };
        let answer = view.answer(&join.offer, &transport, sdp_id, &stream_id);
        let media = MediaState::Subscriber {
            view,
            from: join.from.clone(),
            offered: false,
        };
        Ok(Prepared {
            transport,
            sdp_id,
            answer,
            extensions: Vec::new(),
            media,
        })
    }

    fn start(
        &mut self,
        now: Instant,
        join: Join,
        shard: super::ShardId,
        worker: weever_proto::WorkerId,
        prepared: Prepared,
        effects: &mut Vec<Effect>,
    ) {
        let id = SessionId(self.entropy.draw());
        let key = SessionKey(u128::from(self.entropy.draw()) << 64 | u128::from(self.entropy.draw()));
        let Prepared {
            transport,
            sdp_id,
            answer,
            extensions,
            media,
        } = prepared;
        let Join {
            request,
            room,
            id: full_id,
            offer,
            limits,
            posted,
            redirected,
            claim,
            ..
        } = join;
        let first = first_line(&offer);
        let mut state = State::new(
            room,
            full_id,
            key,
            transport.ice,
            offer.ice.clone(),
            sdp_id,
            first,
            media,
        );
        let dtls_role = if offer.setup == Setup::Passive {
            DtlsRole::Client
        } else {
            DtlsRole::Server
        };
        state.calls = dtls_role == DtlsRole::Client;
        state.limits = limits;
        state.claim = claim;
        let deadline = now + READY;
        let session = Session {
            id,
            shard,
            worker,
            joined: now,
            live_since: now,
            starting: Some(Starting {
                request,
                answer,
                deadline,
                redirected,
            }),
            joining: Some(Joining::new(posted, now)),
            connected: false,
            silent: false,
            channel_open: false,
            chat_open: false,
            live_tracks: BTreeMap::new(),
            routes: HashMap::new(),
            negotiation: Negotiation::Idle,
            stale: false,
            watch: None,
            renegotiated: Vec::new(),
            settles: None,
            seen: true,
            meter: Meter::default(),
            event_streams: EventStreams::default(),
            state,
        };
        let spec = session.spec(
            offer.fingerprint.clone(),
            dtls_role,
            offer.has_channel(),
            extensions,
        );
        if let Some(shard) = self.shards.get_mut(&shard) {
            shard.add_load(worker);
        }
        self.timers.insert((deadline, id));
        self.timers.insert((posted.at + PATIENCE, id));
        let who = session.who();
        self.insert(session, key, effects);
        if who.role == Role::Subscriber {
            self.tell_viewers(&who.room, effects);
            self.viewers_changed(now, &who.room, effects);
        }
        effects.push(Effect::Notice(Notice::Joined(who)));
        command(shard, Command::CreateSession(Box::new(spec)), effects);
    }

    /// Writes a session into the books.
    pub(super) fn insert(&mut self, session: Session, key: SessionKey, effects: &mut Vec<Effect>) {
        let (id, role, name) = (session.id, session.role(), session.state.room.clone());
        let is_new = self.rooms.get(&name).is_none_or(super::Room::is_empty);
        let room = self.rooms.entry(name.clone()).or_default();
        let all = if role == Role::Publisher {
            &mut room.publishers
        } else {
            &mut room.subscribers
        };
        all.push(id);
        // Sessions of a snapshot come in any order.
        room.since = match room.since.filter(|_| !is_new) {
            Some(since) => Some(since.min(session.joined)),
            None => Some(session.joined),
        };
        self.keys.insert(key, id);
        self.names
            .insert((name.clone(), role, session.state.id.clone()), id);
        self.minutes.insert((session.joined + MINUTE, id));
        self.sessions.insert(id, session);
        self.limit_duration(id);
        if is_new {
            effects.push(Effect::Notice(Notice::RoomOpened(name)));
        }
    }

    /// The data plane has it: the POST gets its answer.
    pub(super) fn ready(&mut self, now: Instant, id: SessionId, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(starting) = session.starting.take() else {
            return;
        };
        self.timers.remove(&(starting.deadline, id));
        if let Some(joining) = &mut session.joining {
            joining.answered(now);
        }
        let etag = session.state.etag();
        let topics = session.topics();
        let key = session.state.key();
        if let Some(key) = key {
            reply_to(
                starting.request,
                Reply::Created {
                    answer: starting.answer,
                    key,
                    etag,
                    topics,
                },
                effects,
            );
        }
        self.refresh(now, id, effects);
    }

    /// The data plane refused a command.
    pub(super) fn refused(
        &mut self,
        now: Instant,
        id: SessionId,
        reason: Refusal,
        detail: &str,
        effects: &mut Vec<Effect>,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if let Some(starting) = session.starting.take() {
            let refused = Refused::later(format!("the data plane refused: {detail}"), NO_SHARD_RETRY)
                .because("data-plane-refused");
            let reply = match reason {
                Refusal::Full | Refusal::Draining => self.turn_away(refused, starting.redirected),
                _ => Reply::Refused(refused),
            };
            reply_to(starting.request, reply, effects);
            self.end(now, id, "refused", Tell::Nobody, effects);
        } else if reason == Refusal::UnknownSession {
            self.end(now, id, "shard-lost", Tell::Nobody, effects);
        }
    }

    /// Its handshake is done. A publisher is live from now on.
    pub(super) fn connected(&mut self, now: Instant, id: SessionId, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if std::mem::replace(&mut session.connected, true) {
            return;
        }
        let who = session.who();
        effects.push(Effect::Notice(Notice::Connected(who.clone())));
        if who.role == Role::Publisher {
            session.live_since = now;
            if let Some(room) = self.rooms.get_mut(&who.room) {
                room.live.push(id);
            }
            self.tell_published(id, effects);
            if self.elsewhere.has(&who.room, &who.id) {
                // It moves here from another node: it was never gone.
                self.refresh_room(now, &who.room, &[who.id], effects);
            } else {
                self.announce(now, &who.room, &who.id, "PUB_JOIN", effects);
            }
        } else {
            self.viewer_changed(now, &who.room, &who.id, effects);
        }
    }

    /// After a snapshot: publishers are live in the order in which they came.
    pub(super) fn recover_live(&mut self, held: &[(Instant, SessionId)], effects: &mut Vec<Effect>) {
        for (_, id) in held {
            let Some(session) = self.sessions.get(id) else {
                continue;
            };
            if !session.connected || !session.state.is_publisher() {
                continue;
            }
            if let Some(room) = self.rooms.get_mut(&session.state.room)
                && !room.live.contains(id)
            {
                room.live.push(*id);
                self.tell_published(*id, effects);
            }
        }
    }
}

/// What a join will be, if nothing comes between.
struct Prepared {
    transport: LocalTransport,
    sdp_id: u64,
    answer: String,
    extensions: Vec<Extension>,
    media: MediaState,
}

impl Prepared {
    /// Within the limits of what a data plane keeps: what a client wrote is stored several times as long as it was.
    fn fits(&self) -> bool {
        let stored = serde_json::to_vec(&self.media).map_or(usize::MAX, |media| media.len());
        stored <= limits::MAX_STATE - STATE_WITHOUT_MEDIA
    }
}

impl super::Room {
    pub(super) fn is_empty(&self) -> bool {
        self.publishers.is_empty() && self.subscribers.is_empty()
    }
}

/// The first m-line in use and its mid.
fn first_line(offer: &Description) -> (String, String) {
    let section = offer.sections.iter().find(|section| !section.rejected);
    section.map_or_else(Default::default, |s| {
        (format!("m={} 9 {} {}", s.media, s.proto, s.fmt), s.mid.clone())
    })
}
