//! One session as the rooms know it, and the part of it that outlives a control plane.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use weever_proto::{
    Command, DtlsRole, Fingerprint, IceCredentials, RouteId, RouteSpec, SessionId, SessionSpec, TrackId,
    WorkerId, limits,
};

use super::api::{RequestId, SessionKey, ShardId, TrackName, Who};
use super::limits::Limits;
use super::rates::Meter;
use super::trace::Joining;
use super::viewers::Watch;
use super::watching::EventStreams;
use crate::names::{FullId, RoomName};
use crate::sdp::publish::PublishedTrack;
use crate::sdp::view::View;
use crate::sdp::{Description, SdpError, Setup};

/// How long a data plane may take to say that a session is ready.
pub(super) const READY: Duration = Duration::from_secs(5);
/// How long a client may take to answer an offer, each of two times.
pub(super) const ANSWER: Duration = Duration::from_secs(10);

/// Renegotiations and restarts of a session. One that had one each millisecond would get there in a million years.
const MAX_COUNT: u64 = i64::MAX as u64;

pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) shard: ShardId,
    pub(super) worker: WorkerId,
    pub(super) joined: Instant,
    /// A publisher that is live: since when.
    pub(super) live_since: Instant,
    /// The POST that still waits for its answer.
    pub(super) starting: Option<Starting>,
    /// Its trace, until it ends.
    pub(super) joining: Option<Joining>,
    pub(super) connected: bool,
    pub(super) silent: bool,
    /// Its control channel.
    pub(super) channel_open: bool,
    pub(super) chat_open: bool,
    /// Those of its tracks whose media flows.
    pub(super) live_tracks: BTreeMap<TrackId, TrackName>,
    /// What the data plane forwards to it, as last commanded.
    pub(super) routes: HashMap<RouteId, RouteSpec>,
    pub(super) negotiation: Negotiation,
    /// The stage has changed since the last offer.
    pub(super) stale: bool,
    /// A publisher's that is told of viewers.
    pub(super) watch: Option<Watch>,
    /// What a publisher's last renegotiation commanded: a connection that broke may have lost it.
    pub(super) renegotiated: Vec<Command>,
    /// It was met in a snapshot, and waits so long for publishers that it is shown to be known.
    pub(super) settles: Option<Instant>,
    /// Named in the snapshot that is being received.
    pub(super) seen: bool,
    /// Of what a publisher sends.
    pub(super) meter: Meter,
    /// What its streams of events were told.
    pub(super) event_streams: EventStreams,
    pub(super) state: State,
}

pub(super) struct Starting {
    pub(super) request: RequestId,
    pub(super) answer: String,
    pub(super) deadline: Instant,
    /// Another node sent it here.
    pub(super) redirected: bool,
}

/// One at a time.
pub(super) enum Negotiation {
    Idle,
    /// An offer of ours is out.
    Offered {
        deadline: Instant,
        /// For the second and last time.
        again: bool,
        /// The view as it was agreed on before, should the client offer too.
        before: Box<View>,
    },
}

/// What another control plane needs to go on. Kept by the data plane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) room: RoomName,
    pub(super) id: FullId,
    /// The last segment of its URL.
    key: String,
    /// Counts the changes of the ICE session.
    pub(super) etag: u64,
    local: Credentials,
    remote: Credentials,
    /// `o=`
    pub(super) sdp_id: u64,
    pub(super) sdp_version: u64,
    /// First m-line and its mid, for restarts.
    pub(super) first: (String, String),
    /// The server began the DTLS handshake. The roles stay what they were (RFC 8842 §5.5).
    #[serde(default)]
    pub(super) calls: bool,
    #[serde(default)]
    pub(super) limits: Limits,
    /// Of its claim to its name in the cluster's directory; 0 without one.
    #[serde(default)]
    pub(super) claim: u64,
    pub(super) media: MediaState,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Credentials {
    ufrag: String,
    password: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum MediaState {
    Publisher {
        tracks: Vec<PublishedTrack>,
        /// It wants to be told of viewers.
        #[serde(default)]
        watches: bool,
    },
    Subscriber {
        view: View,
        from: Option<String>,
        offered: bool,
    },
}

impl From<IceCredentials> for Credentials {
    fn from(ice: IceCredentials) -> Self {
        Self {
            ufrag: ice.ufrag,
            password: ice.password,
        }
    }
}

impl State {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn new(
        room: RoomName,
        id: FullId,
        key: SessionKey,
        local: IceCredentials,
        remote: IceCredentials,
        sdp_id: u64,
        first: (String, String),
        media: MediaState,
    ) -> Self {
        Self {
            room,
            id,
            key: key.to_string(),
            etag: 1,
            local: local.into(),
            remote: remote.into(),
            sdp_id,
            sdp_version: 1,
            first,
            calls: false,
            limits: Limits::default(),
            claim: 0,
            media,
        }
    }

    pub(super) fn key(&self) -> Option<SessionKey> {
        SessionKey::parse(&self.key)
    }

    pub(super) fn local(&self) -> IceCredentials {
        IceCredentials {
            ufrag: self.local.ufrag.clone(),
            password: self.local.password.clone(),
        }
    }

    pub(super) fn remote(&self) -> IceCredentials {
        IceCredentials {
            ufrag: self.remote.ufrag.clone(),
            password: self.remote.password.clone(),
        }
    }

    pub(super) fn restart(&mut self, local: IceCredentials, remote: IceCredentials) {
        self.local = local.into();
        self.remote = remote.into();
        self.etag += 1;
    }

    /// Strong (RFC 9110 §8.8.3), different for each ICE session.
    pub(super) fn etag(&self) -> String {
        format!("\"{:016x}-{}\"", self.sdp_id, self.etag)
    }

    pub(super) fn is_publisher(&self) -> bool {
        matches!(self.media, MediaState::Publisher { .. })
    }

    pub(super) fn role(&self) -> weever_proto::Role {
        if self.is_publisher() {
            weever_proto::Role::Publisher
        } else {
            weever_proto::Role::Subscriber
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        // A tree of strings and numbers always has a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Whether the data plane takes it for keeping.
    pub(super) fn fits(&self) -> bool {
        self.encode().len() <= limits::MAX_STATE
    }

    /// `None` for what no control plane wrote.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let state: Self = serde_json::from_slice(bytes).ok()?;
        let counts = [state.etag, state.sdp_version];
        let is_sound = match &state.media {
            MediaState::Subscriber { view, .. } => view.is_sound(),
            MediaState::Publisher { .. } => true,
        };
        (is_sound && counts.iter().all(|count| *count < MAX_COUNT)).then_some(state)
    }
}

impl Session {
    pub(super) fn who(&self) -> Who {
        Who {
            session: self.id,
            room: self.state.room.clone(),
            role: self.role(),
            id: self.state.id.clone(),
        }
    }

    pub(super) fn role(&self) -> weever_proto::Role {
        self.state.role()
    }

    /// When its time is up.
    pub(super) fn must_end(&self) -> Option<Instant> {
        self.state.limits.end(self.joined)
    }

    pub(super) fn tracks(&self) -> &[PublishedTrack] {
        match &self.state.media {
            MediaState::Publisher { tracks, .. } => tracks,
            MediaState::Subscriber { .. } => &[],
        }
    }

    pub(super) fn view(&mut self) -> Option<&mut View> {
        match &mut self.state.media {
            MediaState::Subscriber { view, .. } => Some(view),
            MediaState::Publisher { .. } => None,
        }
    }

    /// Whether it has all of a room offered over its control channel.
    pub(super) fn is_multistream(&self) -> bool {
        self.channel_open && !self.state.is_publisher()
    }

    /// Reads an offer that came on the control channel.
    pub(super) fn offer(&self, sdp: &str) -> Result<Description, SdpError> {
        let mut offer = Description::parse(sdp)?;
        if self.state.calls && offer.setup == Setup::ActPass {
            offer.setup = Setup::Passive;
        }
        Ok(offer)
    }

    pub(super) fn spec(
        &self,
        fingerprint: Fingerprint,
        dtls_role: DtlsRole,
        data_channel: bool,
        extensions: Vec<weever_proto::Extension>,
    ) -> SessionSpec {
        SessionSpec {
            session: self.id,
            worker: self.worker,
            role: self.role(),
            local: self.state.local(),
            remote: self.state.remote(),
            fingerprint,
            dtls_role,
            data_channel,
            receive: self.tracks().iter().map(PublishedTrack::receive).collect(),
            extensions,
            state: self.state.encode(),
        }
    }
}
