//! One ICE + DTLS transport and what it is for.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use weever_proto::{ChannelLabel, Event, JoinStage, RouteId, RouteSpec, SessionSnapshot, SessionSpec};

use crate::chat::{Pace, Talker};
use crate::egress::Path;
use crate::forward::Parked;
use crate::ice::IceLite;
use crate::receive::Receiver;
use crate::srtp::UnprotectRtcp;
use crate::track::TrackKey;
use crate::transport::Transport;

/// RFC 7675 §5.1: consent expires 30 s after the last valid check.
pub(crate) const CONSENT: Duration = Duration::from_secs(30);
/// From creation to the end of the handshake.
pub(crate) const CONNECT: Duration = Duration::from_secs(30);
/// Nothing valid heard for this long: the session gives way to a new one of the same name.
pub(crate) const SILENCE: Duration = Duration::from_secs(5);
/// The selected path gives way to any other with valid checks after this long without one.
const PATH_PATIENCE: Duration = Duration::from_secs(4);
/// Addresses that one session may hold: one for each interface of the client and its last few rebindings.
pub(crate) const MAX_PATHS: usize = 4;
/// Ended streams that are remembered. A player's few come back; those of a conference don't, being random each time.
const MAX_PARKED: usize = 256;
/// Messages that wait for a control channel's buffer.
pub(crate) const MAX_OUTBOX: usize = 64;

pub(crate) struct Session {
    pub(crate) spec: SessionSpec,
    pub(crate) ice: IceLite,
    pub(crate) transport: Transport,
    /// Addresses that proved themselves, oldest first.
    pub(crate) paths: ArrayVec<Path, MAX_PATHS>,
    /// The one that we send to.
    pub(crate) selected: Option<Path>,
    /// Last valid check on it.
    selected_checked: Instant,
    pub(crate) created: Instant,
    /// Last proof of consent.
    pub(crate) consented: Option<Instant>,
    /// Last valid check or authentic media.
    pub(crate) heard: Instant,
    pub(crate) silent: bool,
    /// Datagrams of its handshake that wait to be looked at.
    pub(crate) handshakes_waiting: u8,
    pub(crate) connected: bool,
    /// Its first media has passed.
    pub(crate) has_media: bool,
    /// Texts for the control channel.
    pub(crate) outbox: VecDeque<String>,
    /// How fast it signals.
    pub(crate) signals: Pace,
    pub(crate) talker: Talker,
    /// What the timer wheel was last told.
    pub(crate) armed: Option<Instant>,
    pub(crate) media: Media,
}

/// Which way media goes.
pub(crate) enum Media {
    Publisher(Receiver),
    Subscriber(Viewer),
}

/// A subscriber's own part.
#[derive(Default)]
pub(crate) struct Viewer {
    pub(crate) routes: Vec<ViewerRoute>,
    /// Streams of routes that ended, oldest first.
    parked: VecDeque<Parked>,
    /// Opens its feedback; exists once the handshake is done.
    pub(crate) rtcp: Option<UnprotectRtcp>,
}

/// Where a route of this subscriber is.
pub(crate) struct ViewerRoute {
    pub(crate) spec: RouteSpec,
    pub(crate) track: TrackKey,
    /// Index in the track's routes.
    pub(crate) position: usize,
}

impl Session {
    pub(crate) fn new(spec: SessionSpec, transport: Transport, media: Media, now: Instant) -> Self {
        Self {
            ice: IceLite::new(spec.local.clone(), spec.remote.clone()),
            spec,
            transport,
            paths: ArrayVec::new(),
            selected: None,
            selected_checked: now,
            created: now,
            consented: None,
            heard: now,
            silent: false,
            handshakes_waiting: 0,
            connected: false,
            has_media: false,
            outbox: VecDeque::new(),
            signals: Pace::new(now),
            talker: Talker::new(now),
            armed: None,
            media,
        }
    }

    /// A valid check came along `path`. Returns a path that is forgotten for it.
    pub(crate) fn checked(&mut self, path: Path, nominated: bool, now: Instant) -> Option<Path> {
        self.consented = Some(now);
        let mut forgotten = None;
        if !self.paths.contains(&path) {
            if self.paths.is_full() {
                let oldest = self
                    .paths
                    .iter()
                    .position(|held| Some(*held) != self.selected)
                    .unwrap_or(0);
                forgotten = Some(self.paths.remove(oldest));
            }
            self.paths.push(path);
        }
        // RFC 8445 §8.1.1: the client nominates. A first path is used at once: its answers are on their way to it.
        let stale = now.saturating_duration_since(self.selected_checked) >= PATH_PATIENCE;
        if nominated || stale || self.selected.is_none() || self.selected == Some(path) {
            self.selected = Some(path);
            self.selected_checked = now;
        }
        forgotten
    }

    /// It has come as far as `stage` on its way to media.
    pub(crate) fn progress(&self, stage: JoinStage, now: Instant) -> Event {
        let after = now.saturating_duration_since(self.created).as_micros();
        Event::JoinProgress {
            session: self.spec.session,
            stage,
            after_us: u64::try_from(after).unwrap_or(u64::MAX),
        }
    }

    /// When something has to be looked at, at the latest.
    pub(crate) fn deadline(&self) -> Instant {
        let silence = if self.silent {
            self.heard + CONSENT
        } else {
            self.heard + SILENCE
        };
        let consent = match self.consented {
            Some(at) if self.connected => at + CONSENT,
            _ => self.created + CONNECT,
        };
        self.transport.timeout.min(silence).min(consent)
    }

    /// Whether it failed to connect, or lost consent.
    pub(crate) fn expired(&self, now: Instant) -> bool {
        match self.consented {
            Some(at) if self.connected => now >= at + CONSENT,
            _ => now >= self.created + CONNECT,
        }
    }

    pub(crate) fn receiver(&mut self) -> Option<&mut Receiver> {
        match &mut self.media {
            Media::Publisher(receiver) => Some(receiver),
            Media::Subscriber(_) => None,
        }
    }

    pub(crate) fn viewer(&mut self) -> Option<&mut Viewer> {
        match &mut self.media {
            Media::Subscriber(viewer) => Some(viewer),
            Media::Publisher(_) => None,
        }
    }

    pub(crate) fn snapshot(&self, now: Instant) -> SessionSnapshot {
        let mut spec = self.spec.clone();
        let (local, remote) = self.ice.newest();
        spec.local = local.clone();
        spec.remote = remote.clone();
        let (routes, live_tracks) = match &self.media {
            Media::Publisher(receiver) => {
                let live = receiver.streams.iter().filter(|s| s.live).map(|s| s.spec.track);
                (Vec::new(), live.collect())
            }
            Media::Subscriber(viewer) => (viewer.routes.iter().map(|r| r.spec.clone()).collect(), Vec::new()),
        };
        SessionSnapshot {
            spec,
            routes,
            connected: self.connected,
            silent: self.silent,
            channel_open: self.transport.is_open(ChannelLabel::Control),
            chat_open: self.transport.is_open(ChannelLabel::Chat),
            live_tracks,
            age_ms: u64::try_from(now.saturating_duration_since(self.created).as_millis())
                .unwrap_or(u64::MAX),
        }
    }
}

impl Viewer {
    /// Remembers the stream of a route that ends.
    pub(crate) fn park(&mut self, parked: Parked) {
        if self.parked.len() >= MAX_PARKED {
            self.parked.pop_front();
        }
        self.parked.push_back(parked);
    }

    /// The stream of this SSRC, if it was there before.
    pub(crate) fn unpark(&mut self, ssrc: u32) -> Option<Parked> {
        let position = self.parked.iter().position(|parked| parked.ssrc == ssrc)?;
        self.parked.remove(position)
    }

    pub(crate) fn position(&self, route: RouteId) -> Option<usize> {
        self.routes.iter().position(|held| held.spec.route == route)
    }
}
