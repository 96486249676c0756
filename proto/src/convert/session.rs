//! What a session and its routes are made of.

use super::{Result, bytes, count, each, pt, text};
use crate::{
    Extension, Fingerprint, IceCredentials, Invalid, PayloadMap, PayloadType, RELAY, Receive, RouteId,
    RouteSpec, SessionId, SessionSpec, TrackId, WorkerId, limits, wire,
};

impl From<IceCredentials> for wire::IceCredentials {
    fn from(value: IceCredentials) -> Self {
        Self {
            ufrag: value.ufrag,
            password: value.password,
        }
    }
}

pub(super) fn ice(field: &'static str, value: Option<wire::IceCredentials>) -> Result<IceCredentials> {
    let value = value.ok_or_else(|| Invalid::missing(field))?;
    Ok(IceCredentials {
        ufrag: text(field, value.ufrag, limits::MIN_UFRAG, limits::MAX_ICE)?,
        password: text(field, value.password, limits::MIN_PASSWORD, limits::MAX_ICE)?,
    })
}

impl From<Fingerprint> for wire::Fingerprint {
    fn from(value: Fingerprint) -> Self {
        Self {
            hash: value.hash,
            value: value.value,
        }
    }
}

pub(super) fn fingerprint(field: &'static str, value: Option<wire::Fingerprint>) -> Result<Fingerprint> {
    let value = value.ok_or_else(|| Invalid::missing(field))?;
    Ok(Fingerprint {
        hash: text(field, value.hash, 1, limits::MAX_NAME)?,
        value: bytes(field, value.value, limits::MAX_FINGERPRINT)?,
    })
}

impl From<Extension> for wire::Extension {
    fn from(value: Extension) -> Self {
        Self {
            id: value.id.into(),
            kind: value.kind.into(),
        }
    }
}

pub(super) fn extensions(values: Vec<wire::Extension>) -> Result<Vec<Extension>> {
    count("extensions", &values, limits::MAX_EXTENSIONS)?;
    each(values, |e| {
        let id = u8::try_from(e.id).ok().filter(|id| (1..=14).contains(id));
        let id = id.ok_or_else(|| Invalid::new("extension.id", format!("{} is not in 1 to 14", e.id)))?;
        Ok(Extension {
            id,
            kind: e.kind.try_into()?,
        })
    })
}

impl From<PayloadType> for wire::PayloadType {
    fn from(p: PayloadType) -> Self {
        Self {
            pt: p.pt.into(),
            codec: p.codec.into(),
            clock_rate: p.clock_rate,
            rtx_pt: p.rtx_pt.map(Into::into),
            nack: p.nack,
            pli: p.pli,
            fir: p.fir,
            transport_cc: p.transport_cc,
        }
    }
}

fn clock_rate(value: u32) -> Result<u32> {
    if value == 0 {
        Err(Invalid::new("clock_rate", "0 Hz"))
    } else {
        Ok(value)
    }
}

impl TryFrom<wire::PayloadType> for PayloadType {
    type Error = Invalid;
    fn try_from(p: wire::PayloadType) -> Result<Self> {
        Ok(Self {
            pt: pt("payload_type.pt", p.pt)?,
            codec: p.codec.try_into()?,
            clock_rate: clock_rate(p.clock_rate)?,
            rtx_pt: p.rtx_pt.map(|v| pt("payload_type.rtx_pt", v)).transpose()?,
            nack: p.nack,
            pli: p.pli,
            fir: p.fir,
            transport_cc: p.transport_cc,
        })
    }
}

impl From<Receive> for wire::Receive {
    fn from(r: Receive) -> Self {
        Self {
            track: r.track.0,
            mid: r.mid,
            kind: r.kind.into(),
            payload_types: r.payload_types.into_iter().map(Into::into).collect(),
            ssrc: r.ssrc,
            rtx_ssrc: r.rtx_ssrc,
        }
    }
}

impl TryFrom<wire::Receive> for Receive {
    type Error = Invalid;
    fn try_from(r: wire::Receive) -> Result<Self> {
        count(
            "receive.payload_types",
            &r.payload_types,
            limits::MAX_PAYLOAD_TYPES,
        )?;
        if r.payload_types.is_empty() {
            return Err(Invalid::missing("receive.payload_types"));
        }
        Ok(Self {
            track: TrackId(r.track),
            mid: text("receive.mid", r.mid, 1, limits::MAX_MID)?,
            kind: r.kind.try_into()?,
            payload_types: each(r.payload_types, TryInto::try_into)?,
            ssrc: r.ssrc,
            rtx_ssrc: r.rtx_ssrc,
        })
    }
}

pub(super) fn receives(values: Vec<wire::Receive>) -> Result<Vec<Receive>> {
    count("receive", &values, limits::MAX_RECEIVE)?;
    each(values, TryInto::try_into)
}

impl From<SessionSpec> for wire::SessionSpec {
    fn from(s: SessionSpec) -> Self {
        Self {
            session: s.session.0,
            worker: s.worker.0.into(),
            role: s.role.into(),
            local: Some(s.local.into()),
            remote: Some(s.remote.into()),
            fingerprint: Some(s.fingerprint.into()),
            dtls_role: s.dtls_role.into(),
            data_channel: s.data_channel,
            receive: s.receive.into_iter().map(Into::into).collect(),
            extensions: s.extensions.into_iter().map(Into::into).collect(),
            state: s.state,
        }
    }
}

impl TryFrom<wire::SessionSpec> for SessionSpec {
    type Error = Invalid;
    fn try_from(s: wire::SessionSpec) -> Result<Self> {
        Ok(Self {
            session: SessionId(s.session),
            worker: worker(s.worker)?,
            role: s.role.try_into()?,
            local: ice("session.local", s.local)?,
            remote: ice("session.remote", s.remote)?,
            fingerprint: fingerprint("session.fingerprint", s.fingerprint)?,
            dtls_role: s.dtls_role.try_into()?,
            data_channel: s.data_channel,
            receive: receives(s.receive)?,
            extensions: extensions(s.extensions)?,
            state: bytes("session.state", s.state, limits::MAX_STATE)?,
        })
    }
}

pub(super) fn worker(value: u32) -> Result<WorkerId> {
    u16::try_from(value)
        .ok()
        .filter(|id| usize::from(*id) < limits::MAX_WORKERS)
        .map(WorkerId)
        .ok_or_else(|| Invalid::new("worker", format!("{value} is too large")))
}

fn track_worker(value: u32) -> Result<WorkerId> {
    if value == u32::from(RELAY.0) {
        Ok(RELAY)
    } else {
        worker(value)
    }
}

impl From<RouteSpec> for wire::Route {
    fn from(r: RouteSpec) -> Self {
        Self {
            route: r.route.0,
            session: r.session.0,
            track: r.track.0,
            track_worker: r.track_worker.0.into(),
            mid: r.mid,
            kind: r.kind.into(),
            ssrc: r.ssrc,
            rtx_ssrc: r.rtx_ssrc,
            payload_map: r
                .payload_map
                .into_iter()
                .map(|p| wire::PayloadMap {
                    from: p.from.into(),
                    to: p.to.into(),
                    rtx_to: p.rtx_to.map(Into::into),
                    codec: p.codec.into(),
                    clock_rate: p.clock_rate,
                })
                .collect(),
            extensions: r.extensions.into_iter().map(Into::into).collect(),
            cname: r.cname,
        }
    }
}

impl TryFrom<wire::Route> for RouteSpec {
    type Error = Invalid;
    fn try_from(r: wire::Route) -> Result<Self> {
        count("route.payload_map", &r.payload_map, limits::MAX_PAYLOAD_TYPES)?;
        Ok(Self {
            route: RouteId(r.route),
            session: SessionId(r.session),
            track: TrackId(r.track),
            track_worker: track_worker(r.track_worker)?,
            mid: text("route.mid", r.mid, 1, limits::MAX_MID)?,
            kind: r.kind.try_into()?,
            ssrc: r.ssrc,
            rtx_ssrc: r.rtx_ssrc,
            payload_map: each(r.payload_map, |p| {
                Ok(PayloadMap {
                    from: pt("payload_map.from", p.from)?,
                    to: pt("payload_map.to", p.to)?,
                    rtx_to: p.rtx_to.map(|v| pt("payload_map.rtx_to", v)).transpose()?,
                    codec: p.codec.try_into()?,
                    clock_rate: clock_rate(p.clock_rate)?,
                })
            })?,
            extensions: extensions(r.extensions)?,
            cname: text("route.cname", r.cname, 1, limits::MAX_CNAME)?,
        })
    }
}
