//! One stage of a run in figures: what programs read and reports show.

use std::time::Duration;

use serde::Serialize;

use crate::audience::Tally;
use crate::counts::{Counts, Durations};
use crate::impair;
use crate::proof::{Snapshot, Udp};
use crate::publisher::Sent;

/// Errors that are shown; the rest is only counted.
const SHOWN_ERRORS: usize = 3;
/// Points of a distribution's plot.
const POINTS: usize = 100;

/// Quantiles in milliseconds; absent when nothing was measured.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Summary {
    pub(crate) count: u64,
    pub(crate) p50: Option<f64>,
    pub(crate) p90: Option<f64>,
    pub(crate) p99: Option<f64>,
    pub(crate) max: Option<f64>,
    /// Milliseconds and the share of all that were at most that long.
    pub(crate) distribution: Vec<(f64, f64)>,
}

impl Summary {
    fn of(durations: &Durations) -> Self {
        let at = |share| durations.at(share);
        Self {
            count: durations.count(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: at(1.0),
            distribution: distribution(durations),
        }
    }
}

/// At most [`POINTS`] and the last.
fn distribution(durations: &Durations) -> Vec<(f64, f64)> {
    let all = durations.cumulative();
    let total = durations.count().max(1) as f64;
    let step = all.len().div_ceil(POINTS).max(1);
    let thinned = all
        .iter()
        .enumerate()
        .filter(|(at, _)| at % step == 0 || at + 1 == all.len());
    thinned
        .map(|(_, (ms, count))| (*ms, *count as f64 / total))
        .collect()
}

/// How many came through.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Viewers {
    pub(crate) asked: u64,
    pub(crate) connected: u64,
    pub(crate) with_media: u64,
    pub(crate) failed: u64,
    pub(crate) errors: Vec<String>,
}

/// What the viewers of one server of several saw.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct NodeFigures {
    pub(crate) node: String,
    pub(crate) viewers: Viewers,
    pub(crate) packets: u64,
    pub(crate) mbit_per_second: f64,
    pub(crate) lost: u64,
    pub(crate) loss_percent: f64,
    pub(crate) worst_viewer_loss_percent: f64,
    pub(crate) recovered: u64,
    pub(crate) freezes: u64,
    pub(crate) frozen_seconds: f64,
    pub(crate) auth_failures: u64,
    pub(crate) delay_ms: Summary,
    pub(crate) join_ms: Summary,
    pub(crate) first_packet_ms: Summary,
    pub(crate) first_keyframe_ms: Summary,
}

impl NodeFigures {
    fn new(observed: &ObservedNode, seconds: f64) -> Self {
        let ObservedNode { name, counts, tally } = observed;
        Self {
            node: name.clone(),
            viewers: Viewers::new(counts, tally),
            packets: counts.packets,
            mbit_per_second: counts.bytes as f64 * 8.0 / 1e6 / seconds,
            lost: counts.missing,
            loss_percent: counts.loss_percent(),
            worst_viewer_loss_percent: counts.worst_loss_percent,
            recovered: counts.recovered,
            freezes: counts.freezes,
            frozen_seconds: counts.frozen.as_secs_f64(),
            auth_failures: counts.auth_failures,
            delay_ms: Summary::of(&counts.delay),
            join_ms: Summary::of(&counts.join),
            first_packet_ms: Summary::of(&counts.first_packet),
            first_keyframe_ms: Summary::of(&counts.first_keyframe),
        }
    }
}

/// What one process of the server cost.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ProcessCost {
    pub(crate) pid: u32,
    pub(crate) name: String,
    /// Of one core.
    pub(crate) cpu_percent: f64,
    pub(crate) ns_per_packet: Option<f64>,
    pub(crate) rss_bytes: u64,
    /// Since before the first viewer.
    pub(crate) rss_growth_bytes: i64,
}

impl Viewers {
    fn new(counts: &Counts, tally: &Tally) -> Self {
        Self {
            asked: tally.posted,
            connected: tally.connected,
            with_media: counts.with_media,
            // Those who are there and see nothing have failed, too.
            failed: tally.failed + counts.starved,
            errors: tally.reasons.iter().take(SHOWN_ERRORS).cloned().collect(),
        }
    }
}

/// What one thread of the generator cost.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ThreadCost {
    pub(crate) name: String,
    pub(crate) cpu_percent: f64,
}

/// What the generator itself cost and dropped.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Generator {
    pub(crate) cpu_percent: f64,
    pub(crate) threads: Vec<ThreadCost>,
    /// CPU of the threads that receive, by packet received.
    pub(crate) ns_per_packet: Option<f64>,
    pub(crate) rss_bytes: u64,
    pub(crate) rss_bytes_per_viewer: Option<f64>,
    /// Datagrams that its sockets had no room for.
    pub(crate) socket_drops: u64,
}

/// One stage.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Measurement {
    pub(crate) seconds: f64,
    pub(crate) viewers: Viewers,
    /// Where several servers are watched: each one's part.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) nodes: Vec<NodeFigures>,
    pub(crate) sent: Sent,
    pub(crate) packets: u64,
    pub(crate) packets_per_second: f64,
    pub(crate) mbit_per_second: f64,
    /// Never came.
    pub(crate) lost: u64,
    pub(crate) loss_percent: f64,
    pub(crate) worst_viewer_loss_percent: f64,
    /// Came only when sent again.
    pub(crate) recovered: u64,
    /// Did not come when first sent.
    pub(crate) network_loss_percent: f64,
    pub(crate) duplicates: u64,
    pub(crate) reordered: u64,
    pub(crate) freezes: u64,
    pub(crate) frozen_seconds: f64,
    pub(crate) freezes_per_viewer_minute: Option<f64>,
    pub(crate) verified_packets: u64,
    pub(crate) auth_failures: u64,
    pub(crate) foreign_packets: u64,
    pub(crate) nacks_sent: u64,
    pub(crate) plis_sent: u64,
    pub(crate) cipher: Option<&'static str>,
    pub(crate) delay_ms: Summary,
    pub(crate) join_ms: Summary,
    pub(crate) first_packet_ms: Summary,
    pub(crate) first_keyframe_ms: Summary,
    pub(crate) server: Vec<ProcessCost>,
    pub(crate) server_cpu_percent: Option<f64>,
    pub(crate) server_ns_per_packet: Option<f64>,
    pub(crate) server_rss_per_viewer_bytes: Option<f64>,
    pub(crate) generator: Generator,
    pub(crate) generator_cpu_percent: f64,
    /// What the impaired way did since the run began.
    pub(crate) impaired_from_publishers: Option<impair::Counts>,
    pub(crate) impaired_to_server: Option<impair::Counts>,
    pub(crate) impaired_to_viewers: Option<impair::Counts>,
    /// Of the whole machine: this end's sockets, and the server's when it is here too.
    pub(crate) udp: Udp,
}

/// What viewers of one server counted.
pub(crate) struct ObservedNode {
    pub(crate) name: String,
    pub(crate) counts: Counts,
    pub(crate) tally: Tally,
}

/// What a measurement is made from.
pub(crate) struct Observed<'a> {
    pub(crate) counts: &'a Counts,
    pub(crate) tally: &'a Tally,
    pub(crate) nodes: &'a [ObservedNode],
    /// Before the first viewer, and around the measurement.
    pub(crate) before: &'a Snapshot,
    pub(crate) start: &'a Snapshot,
    pub(crate) end: &'a Snapshot,
    pub(crate) impaired: Option<(impair::Counts, impair::Counts)>,
    pub(crate) impaired_publishers: Option<impair::Counts>,
}

impl Measurement {
    pub(crate) fn new(observed: &Observed<'_>) -> Self {
        let Observed {
            counts,
            tally,
            start,
            end,
            ..
        } = observed;
        let lasted = end.at.saturating_duration_since(start.at);
        let seconds = lasted.as_secs_f64();
        let minutes = counts.viewers as f64 * seconds / 60.0;
        let server = server_costs(observed, lasted);
        let server_cpu = server_cpu(observed);
        let generator = generator(observed, lasted);
        Self {
            seconds,
            viewers: Viewers::new(counts, tally),
            // Of a single one nothing is left to say.
            nodes: Some(observed.nodes)
                .filter(|nodes| nodes.len() > 1)
                .into_iter()
                .flatten()
                .map(|node| NodeFigures::new(node, seconds))
                .collect(),
            sent: end.sent.since(start.sent),
            packets: counts.packets,
            packets_per_second: counts.packets as f64 / seconds,
            mbit_per_second: counts.bytes as f64 * 8.0 / 1e6 / seconds,
            lost: counts.missing,
            loss_percent: counts.loss_percent(),
            worst_viewer_loss_percent: counts.worst_loss_percent,
            recovered: counts.recovered,
            network_loss_percent: counts.network_loss_percent(),
            duplicates: counts.duplicates,
            reordered: counts.reordered,
            freezes: counts.freezes,
            frozen_seconds: counts.frozen.as_secs_f64(),
            freezes_per_viewer_minute: (minutes > 0.0).then(|| counts.freezes as f64 / minutes),
            verified_packets: counts.verified,
            auth_failures: counts.auth_failures,
            foreign_packets: counts.foreign,
            nacks_sent: counts.nacks,
            plis_sent: counts.plis,
            cipher: counts.cipher,
            delay_ms: Summary::of(&counts.delay),
            join_ms: Summary::of(&counts.join),
            first_packet_ms: Summary::of(&counts.first_packet),
            first_keyframe_ms: Summary::of(&counts.first_keyframe),
            server_cpu_percent: server_cpu.map(|cpu| cpu.as_secs_f64() / seconds * 100.0),
            server_ns_per_packet: server_cpu
                .filter(|_| counts.packets > 0)
                .map(|cpu| cpu.as_nanos() as f64 / counts.packets as f64),
            server_rss_per_viewer_bytes: rss_growth(observed)
                .filter(|_| counts.viewers > 0)
                .map(|growth| growth as f64 / counts.viewers as f64),
            server,
            generator_cpu_percent: generator.cpu_percent,
            generator,
            impaired_from_publishers: observed.impaired_publishers,
            impaired_to_server: observed.impaired.map(|(to_server, _)| to_server),
            impaired_to_viewers: observed.impaired.map(|(_, to_viewers)| to_viewers),
            udp: end.udp.since(&start.udp),
        }
    }

    /// Of one core, of the process that has least to spare.
    pub(crate) fn busiest_server_percent(&self) -> Option<f64> {
        let busiest = self
            .server
            .iter()
            .map(|process| process.cpu_percent)
            .reduce(f64::max);
        busiest.or(self.server_cpu_percent)
    }
}

fn server_costs(observed: &Observed<'_>, lasted: Duration) -> Vec<ProcessCost> {
    let packets = observed.counts.packets;
    let find = |snapshot: &Snapshot, pid| snapshot.server.iter().find(|one| one.pid == pid).cloned();
    observed
        .end
        .server
        .iter()
        .map(|end| {
            let spent = end.spent_since(find(observed.start, end.pid).as_ref());
            let rss_before = find(observed.before, end.pid).map_or(0, |before| before.rss);
            ProcessCost {
                pid: end.pid,
                name: end.name.clone(),
                cpu_percent: spent.as_secs_f64() / lasted.as_secs_f64() * 100.0,
                ns_per_packet: (packets > 0).then(|| spent.as_nanos() as f64 / packets as f64),
                rss_bytes: end.rss,
                rss_growth_bytes: end.rss.cast_signed() - rss_before.cast_signed(),
            }
        })
        .collect()
}

/// By processes, or by what the server says.
fn server_cpu(observed: &Observed<'_>) -> Option<Duration> {
    if observed.end.server.is_empty() {
        let (start, end) = (observed.start.scraped.as_ref()?, observed.end.scraped.as_ref()?);
        return Some(end.cpu?.saturating_sub(start.cpu?));
    }
    let find = |pid| observed.start.server.iter().find(|one| one.pid == pid);
    let each = observed
        .end
        .server
        .iter()
        .map(|end| end.spent_since(find(end.pid)));
    Some(each.sum())
}

fn rss_growth(observed: &Observed<'_>) -> Option<i64> {
    let sum = |snapshot: &Snapshot| {
        snapshot
            .server
            .iter()
            .map(|one| one.rss.cast_signed())
            .sum::<i64>()
    };
    if observed.end.server.is_empty() {
        let (before, end) = (observed.before.scraped.as_ref()?, observed.end.scraped.as_ref()?);
        return Some(end.rss?.cast_signed() - before.rss?.cast_signed());
    }
    Some(sum(observed.end) - sum(observed.before))
}

fn generator(observed: &Observed<'_>, lasted: Duration) -> Generator {
    let (Some(start), Some(end)) = (&observed.start.own, &observed.end.own) else {
        return Generator::default();
    };
    let percent = |cpu: Duration| cpu.as_secs_f64() / lasted.as_secs_f64() * 100.0;
    let threads = end.threads_since(start);
    let receiving: Duration = threads
        .iter()
        .filter(|(name, _)| name.starts_with("viewers"))
        .map(|(_, cpu)| *cpu)
        .sum();
    let packets = observed.counts.packets;
    let grown = observed
        .before
        .own
        .as_ref()
        .map(|before| end.rss.saturating_sub(before.rss));
    Generator {
        cpu_percent: percent(end.spent_since(Some(start))),
        threads: threads
            .iter()
            .map(|(name, cpu)| ThreadCost {
                name: name.clone(),
                cpu_percent: percent(*cpu),
            })
            .collect(),
        ns_per_packet: (packets > 0).then(|| receiving.as_nanos() as f64 / packets as f64),
        rss_bytes: end.rss,
        rss_bytes_per_viewer: grown
            .filter(|_| observed.counts.viewers > 0)
            .map(|grown| grown as f64 / observed.counts.viewers as f64),
        socket_drops: observed
            .end
            .socket_drops
            .saturating_sub(observed.start.socket_drops),
    }
}
