//! Counters.

use super::session::worker;
use super::{Result, count, each, text};
use crate::{Invalid, RelayStats, TrackId, TrackStats, WorkerStats, limits, wire};

impl From<WorkerStats> for wire::WorkerStats {
    fn from(w: WorkerStats) -> Self {
        Self {
            worker: w.worker.0.into(),
            sessions: w.sessions,
            tracks: w.tracks,
            routes: w.routes,
            packets_in: w.packets_in,
            bytes_in: w.bytes_in,
            packets_out: w.packets_out,
            bytes_out: w.bytes_out,
            sends: w.sends,
            rtx_packets: w.rtx_packets,
            nacked_packets: w.nacked_packets,
            keyframe_requests: w.keyframe_requests,
            refused: w.refused,
            cpu_ns: w.cpu_ns,
            load_permille: w.load_permille,
            egress_window_us: w.egress_window_us,
            delays: w.delays,
            delay_sum_us: w.delay_sum_us,
            drops: from_drops(w.drops),
            io: w.io,
        }
    }
}

impl TryFrom<wire::WorkerStats> for WorkerStats {
    type Error = Invalid;
    fn try_from(w: wire::WorkerStats) -> Result<Self> {
        count("worker_stats.drops", &w.drops, limits::MAX_DROP_REASONS)?;
        count("worker_stats.delays", &w.delays, limits::MAX_DELAY_BUCKETS)?;
        Ok(Self {
            worker: worker(w.worker)?,
            sessions: w.sessions,
            tracks: w.tracks,
            routes: w.routes,
            packets_in: w.packets_in,
            bytes_in: w.bytes_in,
            packets_out: w.packets_out,
            bytes_out: w.bytes_out,
            sends: w.sends,
            rtx_packets: w.rtx_packets,
            nacked_packets: w.nacked_packets,
            keyframe_requests: w.keyframe_requests,
            refused: w.refused,
            cpu_ns: w.cpu_ns,
            load_permille: w.load_permille,
            egress_window_us: w.egress_window_us,
            delays: w.delays,
            delay_sum_us: w.delay_sum_us,
            drops: into_drops(w.drops)?,
            io: text("worker_stats.io", w.io, 0, limits::MAX_NAME)?,
        })
    }
}

impl From<RelayStats> for wire::RelayStats {
    fn from(r: RelayStats) -> Self {
        Self {
            connected: r.connected,
            connects: r.connects,
            tracks_offered: r.tracks_offered,
            tracks_out: r.tracks_out,
            tracks_in: r.tracks_in,
            messages_in: r.messages_in,
            bytes_in: r.bytes_in,
            packets_in: r.packets_in,
            messages_out: r.messages_out,
            bytes_out: r.bytes_out,
            packets_out: r.packets_out,
            lost: r.lost,
            keyframe_requests: r.keyframe_requests,
            cpu_ns: r.cpu_ns,
            delays: r.delays,
            delay_sum_us: r.delay_sum_us,
            clock_behind: r.clock_behind,
            drops: from_drops(r.drops),
        }
    }
}

impl TryFrom<wire::RelayStats> for RelayStats {
    type Error = Invalid;
    fn try_from(r: wire::RelayStats) -> Result<Self> {
        count("relay_stats.delays", &r.delays, limits::MAX_DELAY_BUCKETS)?;
        count("relay_stats.drops", &r.drops, limits::MAX_DROP_REASONS)?;
        Ok(Self {
            connected: r.connected,
            connects: r.connects,
            tracks_offered: r.tracks_offered,
            tracks_out: r.tracks_out,
            tracks_in: r.tracks_in,
            messages_in: r.messages_in,
            bytes_in: r.bytes_in,
            packets_in: r.packets_in,
            messages_out: r.messages_out,
            bytes_out: r.bytes_out,
            packets_out: r.packets_out,
            lost: r.lost,
            keyframe_requests: r.keyframe_requests,
            cpu_ns: r.cpu_ns,
            delays: r.delays,
            delay_sum_us: r.delay_sum_us,
            clock_behind: r.clock_behind,
            drops: into_drops(r.drops)?,
        })
    }
}

fn from_drops(drops: Vec<(String, u64)>) -> Vec<wire::Drop> {
    let drop = |(reason, count)| wire::Drop { reason, count };
    drops.into_iter().map(drop).collect()
}

fn into_drops(drops: Vec<wire::Drop>) -> Result<Vec<(String, u64)>> {
    each(drops, |d| {
        Ok((text("drop.reason", d.reason, 1, limits::MAX_NAME)?, d.count))
    })
}

impl From<TrackStats> for wire::TrackStats {
    fn from(t: TrackStats) -> Self {
        Self {
            track: t.track.0,
            packets: t.packets,
            bytes: t.bytes,
            keyframes: t.keyframes,
            lost: t.lost,
            viewers: t.viewers,
        }
    }
}

impl From<wire::TrackStats> for TrackStats {
    fn from(t: wire::TrackStats) -> Self {
        Self {
            track: TrackId(t.track),
            packets: t.packets,
            bytes: t.bytes,
            keyframes: t.keyframes,
            lost: t.lost,
            viewers: t.viewers,
        }
    }
}
