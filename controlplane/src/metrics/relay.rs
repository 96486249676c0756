//! What the data planes say of their relays.

use std::collections::BTreeMap;

use prometheus::proto::MetricFamily;
use weever_proto::{DELAY_BUCKETS_US, RelayStats};

use super::workers::number;
use super::{Family, ShardReport};

/// Of a relay: name, help, value.
type Figure = (&'static str, &'static str, fn(&RelayStats) -> u64);

const COUNTERS: [Figure; 10] = [
    (
        "weever_relay_received_messages_total",
        "Messages that came by the relay.",
        |r| r.messages_in,
    ),
    (
        "weever_relay_received_bytes_total",
        "Bytes of messages that came by the relay.",
        |r| r.bytes_in,
    ),
    (
        "weever_relay_received_packets_total",
        "Media packets of other data planes that came by the relay.",
        |r| r.packets_in,
    ),
    (
        "weever_relay_sent_messages_total",
        "Messages that left by the relay.",
        |r| r.messages_out,
    ),
    (
        "weever_relay_sent_bytes_total",
        "Bytes of messages that left by the relay.",
        |r| r.bytes_out,
    ),
    (
        "weever_relay_sent_packets_total",
        "Media packets that left by the relay, once however many follow.",
        |r| r.packets_out,
    ),
    (
        "weever_relay_lost_messages_total",
        "Messages that were sent to this data plane and never came.",
        |r| r.lost,
    ),
    (
        "weever_relay_keyframe_requests_total",
        "Keyframes asked of other data planes.",
        |r| r.keyframe_requests,
    ),
    (
        "weever_relay_connects_total",
        "Connections to NATS that were made.",
        |r| r.connects,
    ),
    (
        "weever_relay_clock_behind_total",
        "Bursts that came before they were sent, by the clocks of the two machines.",
        |r| r.clock_behind,
    ),
];

const GAUGES: [Figure; 4] = [
    (
        "weever_relay_connected",
        "Whether the data plane is connected to NATS.",
        |r| r.connected.into(),
    ),
    (
        "weever_relay_offered_tracks",
        "Tracks that other data planes may follow.",
        |r| r.tracks_offered.into(),
    ),
    (
        "weever_relay_sent_tracks",
        "Tracks that other data planes follow.",
        |r| r.tracks_out.into(),
    ),
    (
        "weever_relay_followed_tracks",
        "Tracks of other data planes that are followed.",
        |r| r.tracks_in.into(),
    ),
];

/// The metrics of all data planes that have a relay.
pub(super) fn families(shards: &BTreeMap<String, ShardReport>) -> Vec<MetricFamily> {
    let relays: Vec<(&str, &RelayStats)> = shards
        .iter()
        .filter_map(|(shard, report)| Some((shard.as_str(), report.relay.as_deref()?)))
        .collect();
    let each = |mut family: Family, value: &dyn Fn(&RelayStats) -> f64| {
        for (shard, relay) in &relays {
            family.add(&[("shard", *shard)], value(relay));
        }
        family
    };
    let counters = COUNTERS
        .iter()
        .map(|(name, help, value)| each(Family::counter(name, help), &|relay| number(value(relay))));
    let gauges = GAUGES
        .iter()
        .map(|(name, help, value)| each(Family::gauge(name, help), &|relay| number(value(relay))));
    let cpu = Family::counter(
        "weever_relay_cpu_seconds_total",
        "CPU time of the relay's thread.",
    );
    let cpu = each(cpu, &|relay| number(relay.cpu_ns) / 1e9);
    let mut drops = Family::counter(
        "weever_relay_dropped_messages_total",
        "Messages that the relay threw away, by reason.",
    );
    let mut delays = Family::histogram(
        "weever_relay_delay_seconds",
        "From the arrival of a burst's first packet at its origin to its arrival here, as good as the two clocks.",
    );
    let bounds = DELAY_BUCKETS_US.map(|bound| f64::from(bound) / 1e6);
    for (shard, relay) in &relays {
        for (reason, count) in &relay.drops {
            drops.add(&[("shard", *shard), ("reason", reason.as_str())], number(*count));
        }
        let sum = number(relay.delay_sum_us) / 1e6;
        delays.add_counts(&[("shard", *shard)], &bounds, &relay.delays, sum);
    }
    let all = counters.chain(gauges).chain([cpu, drops, delays]);
    all.filter_map(Family::finish).collect()
}
