//! Typed messages ↔ generated protobuf types. Every limit is checked here, on the way in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::{
    ChannelLabel, CloseReason, Codec, Command, DtlsRole, Event, ExtensionKind, FromShard, Hello, Invalid,
    JoinStage, Kind, Refusal, Role, RouteId, SessionId, SessionSnapshot, ToShard, TrackId, Version, WatchEnd,
    WorkerHello, limits, wire,
};

type Result<T> = std::result::Result<T, Invalid>;

fn text(field: &'static str, value: String, min: usize, max: usize) -> Result<String> {
    match value.len() {
        n if n < min => Err(Invalid::new(field, format!("{n} bytes, at least {min} wanted"))),
        n if n > max => Err(Invalid::new(field, format!("{n} bytes, at most {max} allowed"))),
        _ => Ok(value),
    }
}

fn bytes(field: &'static str, value: Vec<u8>, max: usize) -> Result<Vec<u8>> {
    if value.len() > max {
        return Err(Invalid::new(
            field,
            format!("{} bytes, at most {max} allowed", value.len()),
        ));
    }
    Ok(value)
}

fn count<T>(field: &'static str, values: &[T], max: usize) -> Result<()> {
    if values.len() > max {
        return Err(Invalid::new(
            field,
            format!("{} entries, at most {max} allowed", values.len()),
        ));
    }
    Ok(())
}

fn pt(field: &'static str, value: u32) -> Result<u8> {
    u8::try_from(value)
        .ok()
        .filter(|pt| *pt <= 127)
        .ok_or_else(|| Invalid::new(field, format!("{value} is no payload type (0 to 127)")))
}

fn each<A, B>(values: Vec<A>, convert: impl FnMut(A) -> Result<B>) -> Result<Vec<B>> {
    values.into_iter().map(convert).collect()
}

/// Rust enums ↔ protobuf enums, one line a value; 0 and unknown numbers are [`Invalid`].
macro_rules! enumeration {
    ($rust:ident, $field:literal, { $($variant:ident),* $(,)? }) => {
        impl From<$rust> for i32 {
            fn from(value: $rust) -> Self {
                match value { $($rust::$variant => wire::$rust::$variant.into(),)* }
            }
        }
        impl TryFrom<i32> for $rust {
            type Error = Invalid;
            fn try_from(value: i32) -> Result<Self> {
                match wire::$rust::try_from(value) {
                    $(Ok(wire::$rust::$variant) => Ok($rust::$variant),)*
                    _ => Err(Invalid::new($field, format!("unknown value {value}"))),
                }
            }
        }
    };
}

mod packets;
mod session;
mod stats;

use session::{extensions, fingerprint, ice, receives, worker};

enumeration!(Role, "role", { Publisher, Subscriber });
enumeration!(DtlsRole, "dtls_role", { Client, Server });
enumeration!(Kind, "kind", { Audio, Video });
enumeration!(Codec, "codec", { Opus, Pcmu, Pcma, Red, Vp8, Vp9, H264, H265, Av1 });
enumeration!(Refusal, "refusal", { Full, UnknownSession, UnknownWorker, Invalid, Draining });
enumeration!(JoinStage, "join_stage", { Ice, Dtls, Media });
enumeration!(CloseReason, "close_reason", {
    Requested, PeerClosed, ConsentExpired, ConnectTimeout, FingerprintMismatch, DtlsFailed, Internal,
});
enumeration!(ExtensionKind, "extension_kind", {
    Mid, Rid, RepairedRid, AbsSendTime, TransportCc, AudioLevel, PlayoutDelay, VideoOrientation,
    DependencyDescriptor, AbsCaptureTime,
});

impl From<ChannelLabel> for i32 {
    fn from(label: ChannelLabel) -> Self {
        match label {
            ChannelLabel::Control => wire::ChannelLabel::Control,
            ChannelLabel::Chat => wire::ChannelLabel::Chat,
        }
        .into()
    }
}

/// `None`: one that a newer minor version added. 0 is `control`, which older versions don't name.
fn channel(value: i32) -> Option<ChannelLabel> {
    match wire::ChannelLabel::try_from(value) {
        Ok(wire::ChannelLabel::Control) => Some(ChannelLabel::Control),
        Ok(wire::ChannelLabel::Chat) => Some(ChannelLabel::Chat),
        Err(_) => None,
    }
}

fn sessions(field: &'static str, values: Vec<u64>, max: usize) -> Result<Vec<SessionId>> {
    count(field, &values, max)?;
    Ok(values.into_iter().map(SessionId).collect())
}

impl From<Command> for wire::Command {
    fn from(command: Command) -> Self {
        use wire::command::Body;
        let body = match command {
            Command::CreateSession(spec) => Body::CreateSession((*spec).into()),
            Command::UpdateReceive {
                session,
                receive,
                extensions,
            } => Body::UpdateReceive(wire::UpdateReceive {
                session: session.0,
                receive: receive.into_iter().map(Into::into).collect(),
                extensions: extensions.into_iter().map(Into::into).collect(),
            }),
            Command::RestartIce {
                session,
                local,
                remote,
            } => Body::RestartIce(wire::RestartIce {
                session: session.0,
                local: Some(local.into()),
                remote: Some(remote.into()),
            }),
            Command::PutRoute(route) => Body::PutRoute((*route).into()),
            Command::RemoveRoute { session, route } => Body::RemoveRoute(wire::RemoveRoute {
                session: session.0,
                route: route.0,
            }),
            Command::SendText {
                session,
                channel,
                text,
            } => Body::SendText(wire::Text {
                session: session.0,
                text,
                channel: channel.into(),
            }),
            Command::SetState { session, state } => Body::SetState(wire::SetState {
                session: session.0,
                state,
            }),
            Command::CloseSession { session } => {
                Body::CloseSession(wire::CloseSession { session: session.0 })
            }
            Command::Drain => Body::Drain(wire::Drain {}),
            Command::Broadcast {
                sessions,
                channel,
                text,
            } => Body::Broadcast(wire::Broadcast {
                sessions: sessions.into_iter().map(|session| session.0).collect(),
                channel: channel.into(),
                text,
            }),
            Command::Watch { session } => Body::Watch(wire::Watch { session: session.0 }),
            Command::Unwatch { session } => Body::Unwatch(wire::Unwatch { session: session.0 }),
        };
        Self { body: Some(body) }
    }
}

impl Command {
    /// `None`: of a kind that a newer minor version added.
    fn known(command: wire::Command) -> Result<Option<Self>> {
        use wire::command::Body;
        let Some(body) = command.body else { return Ok(None) };
        Ok(Some(match body {
            Body::CreateSession(spec) => Self::CreateSession(Box::new(spec.try_into()?)),
            Body::UpdateReceive(u) => Self::UpdateReceive {
                session: SessionId(u.session),
                receive: receives(u.receive)?,
                extensions: extensions(u.extensions)?,
            },
            Body::RestartIce(r) => Self::RestartIce {
                session: SessionId(r.session),
                local: ice("restart_ice.local", r.local)?,
                remote: ice("restart_ice.remote", r.remote)?,
            },
            Body::PutRoute(route) => Self::PutRoute(Box::new(route.try_into()?)),
            Body::RemoveRoute(r) => Self::RemoveRoute {
                session: SessionId(r.session),
                route: RouteId(r.route),
            },
            Body::SendText(t) => Self::SendText {
                session: SessionId(t.session),
                channel: match channel(t.channel) {
                    Some(channel) => channel,
                    None => return Ok(None),
                },
                text: text("send_text.text", t.text, 0, limits::MAX_TEXT)?,
            },
            Body::SetState(s) => Self::SetState {
                session: SessionId(s.session),
                state: bytes("set_state.state", s.state, limits::MAX_STATE)?,
            },
            Body::CloseSession(c) => Self::CloseSession {
                session: SessionId(c.session),
            },
            Body::Drain(_) => Self::Drain,
            Body::Broadcast(b) => Self::Broadcast {
                channel: match channel(b.channel) {
                    Some(channel) => channel,
                    None => return Ok(None),
                },
                sessions: sessions("broadcast.sessions", b.sessions, limits::MAX_BROADCAST)?,
                text: text("broadcast.text", b.text, 0, limits::MAX_TEXT)?,
            },
            Body::Watch(w) => Self::Watch {
                session: SessionId(w.session),
            },
            Body::Unwatch(u) => Self::Unwatch {
                session: SessionId(u.session),
            },
        }))
    }
}

impl From<ToShard> for wire::ToShard {
    fn from(message: ToShard) -> Self {
        use wire::to_shard::Body;
        let body = match message {
            ToShard::Welcome(v) => Body::Welcome(wire::Welcome {
                major: v.major,
                minor: v.minor,
            }),
            ToShard::Refused(reason) => Body::Refused(wire::Refused { reason }),
            ToShard::Command(command) => Body::Command(command.into()),
            ToShard::Ping(nonce) => Body::Ping(wire::Ping { nonce }),
        };
        Self { body: Some(body) }
    }
}

impl ToShard {
    /// `None`: of a kind that a newer minor version added.
    pub(crate) fn known(message: wire::ToShard) -> Result<Option<Self>> {
        use wire::to_shard::Body;
        let Some(body) = message.body else { return Ok(None) };
        Ok(Some(match body {
            Body::Welcome(w) => Self::Welcome(Version {
                major: w.major,
                minor: w.minor,
            }),
            Body::Refused(r) => Self::Refused(text("refused.reason", r.reason, 0, limits::MAX_DETAIL)?),
            Body::Command(command) => return Ok(Command::known(command)?.map(Self::Command)),
            Body::Ping(p) => Self::Ping(p.nonce),
        }))
    }
}

impl From<Hello> for wire::Hello {
    fn from(h: Hello) -> Self {
        let candidate = |a: SocketAddr| wire::Candidate {
            address: match a.ip() {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            },
            port: a.port().into(),
        };
        Self {
            major: h.version.major,
            minor: h.version.minor,
            name: h.name,
            incarnation: h.incarnation,
            version: h.software,
            fingerprint: Some(h.fingerprint.into()),
            workers: h
                .workers
                .into_iter()
                .map(|w| wire::Worker {
                    id: w.id.0.into(),
                    candidates: w.candidates.into_iter().map(candidate).collect(),
                })
                .collect(),
            max_sessions: h.max_sessions,
            draining: h.draining,
            relay: h.relay,
        }
    }
}

fn candidate(c: &wire::Candidate) -> Result<SocketAddr> {
    let ip: IpAddr = if let Ok(v4) = <[u8; 4]>::try_from(c.address.as_slice()) {
        Ipv4Addr::from(v4).into()
    } else if let Ok(v6) = <[u8; 16]>::try_from(c.address.as_slice()) {
        Ipv6Addr::from(v6).into()
    } else {
        return Err(Invalid::new(
            "candidate.address",
            format!("{} bytes, 4 or 16 wanted", c.address.len()),
        ));
    };
    let port = u16::try_from(c.port).ok().filter(|p| *p != 0);
    let port = port.ok_or_else(|| Invalid::new("candidate.port", format!("{} is no UDP port", c.port)))?;
    Ok(SocketAddr::new(ip, port))
}

impl TryFrom<wire::Hello> for Hello {
    type Error = Invalid;
    fn try_from(h: wire::Hello) -> Result<Self> {
        count("hello.workers", &h.workers, limits::MAX_WORKERS)?;
        if h.workers.is_empty() {
            return Err(Invalid::missing("hello.workers"));
        }
        Ok(Self {
            version: Version {
                major: h.major,
                minor: h.minor,
            },
            name: text("hello.name", h.name, 1, limits::MAX_NAME)?,
            incarnation: h.incarnation,
            software: text("hello.version", h.version, 0, limits::MAX_DETAIL)?,
            fingerprint: fingerprint("hello.fingerprint", h.fingerprint)?,
            workers: each(h.workers, |w| {
                count("worker.candidates", &w.candidates, limits::MAX_CANDIDATES)?;
                if w.candidates.is_empty() {
                    return Err(Invalid::missing("worker.candidates"));
                }
                Ok(WorkerHello {
                    id: worker(w.id)?,
                    candidates: each(w.candidates, |c| candidate(&c))?,
                })
            })?,
            max_sessions: h.max_sessions,
            draining: h.draining,
            relay: h.relay,
        })
    }
}

impl From<Event> for wire::Event {
    fn from(event: Event) -> Self {
        use wire::event::Body;
        let body = match event {
            Event::SessionReady { session } => Body::SessionReady(wire::SessionReady { session: session.0 }),
            Event::CommandRefused {
                session,
                reason,
                detail,
            } => Body::CommandRefused(wire::CommandRefused {
                session: session.0,
                reason: reason.into(),
                detail,
            }),
            Event::SessionConnected { session } => {
                Body::SessionConnected(wire::SessionConnected { session: session.0 })
            }
            Event::SessionSilent { session, silent } => Body::SessionSilent(wire::SessionSilent {
                session: session.0,
                silent,
            }),
            Event::SessionClosed { session, reason } => Body::SessionClosed(wire::SessionClosed {
                session: session.0,
                reason: reason.into(),
            }),
            Event::ChannelOpen { session, channel } => Body::ChannelOpen(wire::ChannelOpen {
                session: session.0,
                channel: channel.into(),
            }),
            Event::ChannelClosed { session, channel } => Body::ChannelClosed(wire::ChannelClosed {
                session: session.0,
                channel: channel.into(),
            }),
            Event::Text {
                session,
                channel,
                text,
            } => Body::Text(wire::Text {
                session: session.0,
                text,
                channel: channel.into(),
            }),
            Event::TrackLive { session, track } => Body::TrackLive(wire::TrackLive {
                session: session.0,
                track: track.0,
            }),
            Event::JoinProgress {
                session,
                stage,
                after_us,
            } => Body::JoinProgress(wire::JoinProgress {
                session: session.0,
                stage: stage.into(),
                after_us,
            }),
            Event::TrackGone { session, track } => Body::TrackGone(wire::TrackGone {
                session: session.0,
                track: track.0,
            }),
            Event::Packets(packets) => Body::Packets((*packets).into()),
            Event::WatchEnded { session, reason } => Body::WatchEnded(wire::WatchEnded {
                session: session.0,
                reason: reason.into(),
            }),
        };
        Self { body: Some(body) }
    }
}

impl Event {
    /// `None`: of a kind that a newer minor version added.
    fn known(event: wire::Event) -> Result<Option<Self>> {
        use wire::event::Body;
        let Some(body) = event.body else { return Ok(None) };
        Ok(Some(match body {
            Body::SessionReady(e) => Self::SessionReady {
                session: SessionId(e.session),
            },
            Body::CommandRefused(e) => Self::CommandRefused {
                session: SessionId(e.session),
                // What was refused matters more than a reason that we don't know.
                reason: e.reason.try_into().unwrap_or(Refusal::Invalid),
                detail: text("command_refused.detail", e.detail, 0, limits::MAX_DETAIL)?,
            },
            Body::SessionConnected(e) => Self::SessionConnected {
                session: SessionId(e.session),
            },
            Body::SessionSilent(e) => Self::SessionSilent {
                session: SessionId(e.session),
                silent: e.silent,
            },
            Body::SessionClosed(e) => Self::SessionClosed {
                session: SessionId(e.session),
                // That it ended matters more than why.
                reason: e.reason.try_into().unwrap_or(CloseReason::Internal),
            },
            Body::ChannelOpen(e) => Self::ChannelOpen {
                session: SessionId(e.session),
                channel: match channel(e.channel) {
                    Some(channel) => channel,
                    None => return Ok(None),
                },
            },
            Body::ChannelClosed(e) => Self::ChannelClosed {
                session: SessionId(e.session),
                channel: match channel(e.channel) {
                    Some(channel) => channel,
                    None => return Ok(None),
                },
            },
            Body::Text(e) => Self::Text {
                session: SessionId(e.session),
                channel: match channel(e.channel) {
                    Some(channel) => channel,
                    None => return Ok(None),
                },
                text: text("text.text", e.text, 0, limits::MAX_TEXT)?,
            },
            Body::TrackLive(e) => Self::TrackLive {
                session: SessionId(e.session),
                track: TrackId(e.track),
            },
            Body::JoinProgress(e) => Self::JoinProgress {
                session: SessionId(e.session),
                stage: match e.stage.try_into() {
                    Ok(stage) => stage,
                    Err(_) => return Ok(None),
                },
                after_us: e.after_us,
            },
            Body::TrackGone(e) => Self::TrackGone {
                session: SessionId(e.session),
                track: TrackId(e.track),
            },
            Body::Packets(e) => Self::Packets(Box::new(e.try_into()?)),
            Body::WatchEnded(e) => Self::WatchEnded {
                session: SessionId(e.session),
                // A reason that we don't know is none to go on.
                reason: e.reason.try_into().unwrap_or(WatchEnd::Unwatched),
            },
        }))
    }
}

impl From<SessionSnapshot> for wire::SessionSnapshot {
    fn from(s: SessionSnapshot) -> Self {
        Self {
            spec: Some(s.spec.into()),
            routes: s.routes.into_iter().map(Into::into).collect(),
            connected: s.connected,
            silent: s.silent,
            channel_open: s.channel_open,
            chat_open: s.chat_open,
            live_tracks: s.live_tracks.into_iter().map(|t| t.0).collect(),
            age_ms: s.age_ms,
        }
    }
}

impl TryFrom<wire::SessionSnapshot> for SessionSnapshot {
    type Error = Invalid;
    fn try_from(s: wire::SessionSnapshot) -> Result<Self> {
        count("snapshot.routes", &s.routes, limits::MAX_ROUTES)?;
        count("snapshot.live_tracks", &s.live_tracks, limits::MAX_RECEIVE)?;
        Ok(Self {
            spec: s
                .spec
                .ok_or_else(|| Invalid::missing("snapshot.spec"))?
                .try_into()?,
            routes: each(s.routes, TryInto::try_into)?,
            connected: s.connected,
            silent: s.silent,
            channel_open: s.channel_open,
            chat_open: s.chat_open,
            live_tracks: s.live_tracks.into_iter().map(TrackId).collect(),
            age_ms: s.age_ms,
        })
    }
}

impl From<FromShard> for wire::FromShard {
    fn from(message: FromShard) -> Self {
        use wire::from_shard::Body;
        let body = match message {
            FromShard::Hello(hello) => Body::Hello(hello.into()),
            FromShard::Event(event) => Body::Event(event.into()),
            FromShard::Stats {
                workers,
                tracks,
                resident_memory,
                relay,
            } => Body::Stats(wire::Stats {
                workers: workers.into_iter().map(Into::into).collect(),
                tracks: tracks.into_iter().map(Into::into).collect(),
                resident_memory,
                relay: relay.map(|relay| (*relay).into()),
            }),
            FromShard::Session(snapshot) => Body::Session((*snapshot).into()),
            FromShard::SnapshotEnd(sessions) => Body::SnapshotEnd(wire::SnapshotEnd { sessions }),
            FromShard::Pong(nonce) => Body::Pong(wire::Pong { nonce }),
        };
        Self { body: Some(body) }
    }
}

impl FromShard {
    /// `None`: of a kind that a newer minor version added.
    pub(crate) fn known(message: wire::FromShard) -> Result<Option<Self>> {
        use wire::from_shard::Body;
        let Some(body) = message.body else { return Ok(None) };
        Ok(Some(match body {
            Body::Hello(hello) => Self::Hello(hello.try_into()?),
            Body::Event(event) => return Ok(Event::known(event)?.map(Self::Event)),
            Body::Stats(stats) => {
                count("stats.workers", &stats.workers, limits::MAX_WORKERS)?;
                count("stats.tracks", &stats.tracks, limits::MAX_TRACK_STATS)?;
                Self::Stats {
                    workers: each(stats.workers, TryInto::try_into)?,
                    tracks: stats.tracks.into_iter().map(Into::into).collect(),
                    resident_memory: stats.resident_memory,
                    relay: stats
                        .relay
                        .map(|relay| relay.try_into().map(Box::new))
                        .transpose()?,
                }
            }
            Body::Session(snapshot) => Self::Session(Box::new(snapshot.try_into()?)),
            Body::SnapshotEnd(end) => Self::SnapshotEnd(end.sessions),
            Body::Pong(pong) => Self::Pong(pong.nonce),
        }))
    }
}
