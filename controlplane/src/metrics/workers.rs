//! What the data planes say of themselves, once a second.

use std::collections::BTreeMap;

use prometheus::proto::MetricFamily;
use weever_proto::{DELAY_BUCKETS_US, WorkerStats};

use super::published::Sums;
use super::{Family, ShardReport};

/// Of a worker: name, help, value.
type Figure<T> = (&'static str, &'static str, fn(&WorkerStats) -> T);

const COUNTERS: [Figure<u64>; 9] = [
    ("weever_received_packets_total", "Datagrams received.", |s| {
        s.packets_in
    }),
    ("weever_received_bytes_total", "Bytes received.", |s| s.bytes_in),
    ("weever_sent_packets_total", "Media packets sent.", |s| {
        s.packets_out
    }),
    ("weever_sent_bytes_total", "Bytes of media sent.", |s| s.bytes_out),
    (
        "weever_sends_total",
        "Send operations: a burst of many packets is one.",
        |s| s.sends,
    ),
    (
        "weever_retransmitted_packets_total",
        "Packets sent again on request.",
        |s| s.rtx_packets,
    ),
    (
        "weever_nacked_packets_total",
        "Packets that viewers reported missing.",
        |s| s.nacked_packets,
    ),
    (
        "weever_keyframe_requests_total",
        "Keyframes asked of publishers.",
        |s| s.keyframe_requests,
    ),
    (
        "weever_refused_sessions_total",
        "Sessions that a worker did not let in.",
        |s| s.refused,
    ),
];

const GAUGES: [Figure<f64>; 5] = [
    ("weever_sessions", "Sessions of a worker.", |s| s.sessions.into()),
    (
        "weever_tracks",
        "Tracks that a worker receives or follows.",
        |s| s.tracks.into(),
    ),
    ("weever_routes", "Tracks on their way to subscribers.", |s| {
        s.routes.into()
    }),
    (
        "weever_worker_load_ratio",
        "Share of its core that a worker uses, smoothed over half a second.",
        |s| f64::from(s.load_permille) / 1e3,
    ),
    (
        "weever_egress_window_seconds",
        "How long packets wait for others of their frame.",
        |s| f64::from(s.egress_window_us) / 1e6,
    ),
];

/// Of a data plane's publishers: name, help, value.
type Published = (&'static str, &'static str, fn(&Sums) -> u64);

const PUBLISHED: [Published; 4] = [
    (
        "weever_published_packets_total",
        "Media packets that publishers sent.",
        |s| s.packets,
    ),
    (
        "weever_published_bytes_total",
        "Bytes of media that publishers sent.",
        |s| s.bytes,
    ),
    (
        "weever_published_keyframes_total",
        "Keyframes that publishers sent.",
        |s| s.keyframes,
    ),
    (
        "weever_published_lost_packets_total",
        "Publishers' packets that never came, also not by retransmission.",
        |s| s.lost,
    ),
];

type Labels<'a> = [(&'static str, &'a str); 3];

/// The metrics of all data planes that are there.
pub(super) fn families(shards: &BTreeMap<String, ShardReport>) -> Vec<MetricFamily> {
    let mut memory = Family::gauge(
        "weever_shard_resident_memory_bytes",
        "Memory of a data plane's process.",
    );
    for (shard, report) in shards.iter().filter(|(_, report)| report.resident_memory > 0) {
        memory.add(&[("shard", shard.as_str())], number(report.resident_memory));
    }
    let workers: Vec<(&str, String, &WorkerStats)> = shards
        .iter()
        .flat_map(|(shard, report)| report.workers.iter().map(move |stats| (shard.as_str(), stats)))
        .map(|(shard, stats)| (shard, stats.worker.0.to_string(), stats))
        .collect();
    let each = |mut family: Family, add: &dyn Fn(&mut Family, Labels<'_>, &WorkerStats)| {
        for (shard, worker, stats) in &workers {
            add(
                &mut family,
                [
                    ("shard", *shard),
                    ("worker", worker.as_str()),
                    ("io", stats.io.as_str()),
                ],
                stats,
            );
        }
        family
    };
    let counters = COUNTERS.iter().map(|(name, help, value)| {
        each(Family::counter(name, help), &|family, labels, stats| {
            family.add(&labels, number(value(stats)));
        })
    });
    let gauges = GAUGES.iter().map(|(name, help, value)| {
        each(Family::gauge(name, help), &|family, labels, stats| {
            family.add(&labels, value(stats));
        })
    });
    let cpu = Family::counter(
        "weever_worker_cpu_seconds_total",
        "CPU time of a worker's thread.",
    );
    let cpu = each(cpu, &|family, labels, stats| {
        family.add(&labels, number(stats.cpu_ns) / 1e9);
    });
    let drops = Family::counter(
        "weever_dropped_packets_total",
        "Datagrams and packets thrown away, by reason.",
    );
    let drops = each(drops, &add_drops);
    let delays = Family::histogram(
        "weever_forwarding_delay_seconds",
        "From the arrival of a burst's first packet to the sending of its last copy.",
    );
    let delays = each(delays, &add_delays);
    let published = PUBLISHED.iter().map(|(name, help, value)| {
        let mut family = Family::counter(name, help);
        for (shard, report) in shards {
            family.add(
                &[("shard", shard.as_str())],
                number(value(&report.published.sums)),
            );
        }
        family
    });
    let all = counters
        .chain(gauges)
        .chain(published)
        .chain([cpu, drops, delays, memory]);
    all.filter_map(Family::finish).collect()
}

/// All reasons, also those at zero: a rate needs them. They are few, and the data plane's own words.
fn add_drops(family: &mut Family, [shard, worker, io]: Labels<'_>, stats: &WorkerStats) {
    for (reason, count) in &stats.drops {
        family.add(&[shard, worker, io, ("reason", reason.as_str())], number(*count));
    }
}

/// Counted where the packets are, so that there is nothing to be observed here.
fn add_delays(family: &mut Family, [shard, worker, _]: Labels<'_>, stats: &WorkerStats) {
    let bounds = DELAY_BUCKETS_US.map(|bound| f64::from(bound) / 1e6);
    let sum = number(stats.delay_sum_us) / 1e6;
    family.add_counts(&[shard, worker], &bounds, &stats.delays, sum);
}

/// Prometheus has no other numbers. Exact up to 2^53: bytes of years.
#[allow(clippy::cast_precision_loss)]
pub(super) fn number(count: u64) -> f64 {
    count as f64
}
