//! Prometheus metrics: who is in, how joins and requests went, what the data planes say of themselves.
//!
//! What this process counts itself stands in [`Metrics`]. Everything that comes and goes (rooms, data planes and their
//! workers) is written at each scrape from what is there, so that nothing is left behind by what is gone.

mod directory;
mod family;
mod node;
mod process;
mod published;
mod relay;
mod workers;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder};
use weever_proto::{RelayStats, Role, TrackStats, WorkerStats};

pub use self::directory::DirectoryMetrics;
use self::family::Family;
use self::published::Published;
use crate::rooms::{Census, JoinTrace, Notice};

/// Seconds: from a request that is answered from memory to one that waits for a webhook.
const REQUEST_BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

/// Seconds: from what a client on the same machine needs to what nobody waits for.
const JOIN_BUCKETS: [f64; 13] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0,
];

/// What is exported under `/metrics`. A registry of this process's own: nothing global.
pub struct Metrics {
    registry: Registry,
    pod: String,
    joins: IntCounterVec,
    connects: IntCounterVec,
    leaves: IntCounterVec,
    refusals: IntCounterVec,
    join_seconds: HistogramVec,
    lost_shards: IntCounterVec,
    shard_connections: IntCounterVec,
    shard_disconnects: IntCounterVec,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    traces: IntCounterVec,
    webhooks: IntCounterVec,
    webhook_seconds: HistogramVec,
    lost_events: IntCounterVec,
    /// The data planes that are connected, by name.
    shards: Mutex<BTreeMap<String, ShardReport>>,
}

/// What a data plane said last.
#[derive(Debug, Default)]
struct ShardReport {
    workers: Vec<WorkerStats>,
    published: Published,
    /// Bytes; 0 when it is not known.
    resident_memory: u64,
    relay: Option<Box<RelayStats>>,
}

/// A request as it is counted.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `public` or `private`.
    pub server: &'static str,
    /// Of a closed set: a client must not be able to make series.
    pub method: &'static str,
    /// The route's template, never the path itself.
    pub route: &'a str,
    /// The answer's; `None` when there was none: the client hung up, or time was up.
    pub status: Option<u16>,
    /// Until the answer's headers were there.
    pub took: Duration,
}

impl Metrics {
    /// `pod` labels this node.
    ///
    /// # Panics
    /// Never: the names below are valid and different.
    #[allow(clippy::expect_used)]
    pub fn new(pod: &str) -> Self {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels).expect("a valid name");
            registry.register(Box::new(counter.clone())).expect("a new name");
            counter
        };
        let histogram = |name: &str, help: &str, buckets: &[f64], labels: &[&str]| {
            let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            let histogram = HistogramVec::new(opts, labels).expect("a valid name");
            registry
                .register(Box::new(histogram.clone()))
                .expect("a new name");
            histogram
        };
        let metrics = Self {
            joins: counter("weever_joins_total", "Sessions that were let in.", &["role"]),
            connects: counter(
                "weever_connects_total",
                "Sessions whose handshake completed.",
                &["role"],
            ),
            leaves: counter(
                "weever_leaves_total",
                "Sessions that ended, by reason.",
                &["role", "reason"],
            ),
            refusals: counter(
                "weever_join_refusals_total",
                "Joins that were refused, by reason.",
                &["role", "reason"],
            ),
            join_seconds: histogram(
                "weever_join_seconds",
                "From a join's POST until each stage was reached: answer, ice, dtls, media.",
                &JOIN_BUCKETS,
                &["role", "stage"],
            ),
            lost_shards: counter("weever_lost_shards_total", "Data planes that were lost.", &[]),
            shard_connections: counter(
                "weever_control_connections_total",
                "Data planes that were welcomed on the control socket.",
                &[],
            ),
            shard_disconnects: counter(
                "weever_control_disconnects_total",
                "Connections to the control socket that ended, by reason.",
                &["reason"],
            ),
            requests: counter(
                "weever_http_requests_total",
                "HTTP requests answered, by server, method, route and status.",
                &["server", "method", "route", "status"],
            ),
            request_seconds: histogram(
                "weever_http_request_duration_seconds",
                "From an HTTP request to the headers of its answer.",
                &REQUEST_BUCKETS,
                &["server", "method", "route"],
            ),
            traces: counter(
                "weever_traces_total",
                "Joins for the OpenTelemetry collector, by what became of their traces: sent or dropped.",
                &["outcome"],
            ),
            webhooks: counter(
                "weever_webhook_requests_total",
                "Calls of webhooks, by outcome.",
                &["webhook", "outcome"],
            ),
            webhook_seconds: histogram(
                "weever_webhook_request_duration_seconds",
                "How long webhooks took to answer.",
                &REQUEST_BUCKETS,
                &["webhook"],
            ),
            lost_events: counter(
                "weever_lost_events_total",
                "Events that the event webhook did not take, or was too slow for.",
                &[],
            ),
            registry,
            pod: pod.to_owned(),
            shards: Mutex::default(),
        };
        metrics.begin_at_zero();
        metrics
    }

    /// A rate sees a series' first increment only if there was a zero before it.
    fn begin_at_zero(&self) {
        for role in [Role::Publisher, Role::Subscriber] {
            for counter in [&self.joins, &self.connects] {
                counter.with_label_values(&[role_label(role)]);
            }
            for stage in ["answer", "ice", "dtls", "media"] {
                self.join_seconds.with_label_values(&[role_label(role), stage]);
            }
        }
        self.shard_disconnects.with_label_values(&["closed"]);
        for counter in [&self.lost_shards, &self.shard_connections, &self.lost_events] {
            counter.with_label_values::<&str>(&[]);
        }
    }

    /// What counts a directory. To be asked for once.
    pub fn directory(&self) -> DirectoryMetrics {
        DirectoryMetrics::new(&self.registry)
    }

    /// The exposition text (format 0.0.4).
    pub fn render(&self, census: &Census) -> String {
        let mut families = self.registry.gather();
        families.extend(process::families());
        families.extend(node::families(&self.pod, census));
        if let Ok(shards) = self.shards.lock() {
            families.extend(workers::families(&shards));
            families.extend(relay::families(&shards));
        }
        families.sort_by(|one, other| one.name().cmp(other.name()));
        // It fails for families without series, and of those there are none.
        TextEncoder::new().encode_to_string(&families).unwrap_or_default()
    }

    /// Counts a change of state.
    pub fn note(&self, notice: &Notice) {
        match notice {
            Notice::Joined(who) => self.joins.with_label_values(&[role_label(who.role)]).inc(),
            Notice::Connected(who) => self.connects.with_label_values(&[role_label(who.role)]).inc(),
            Notice::Left { who, reason, .. } => {
                self.leaves
                    .with_label_values(&[role_label(who.role), reason])
                    .inc();
            }
            Notice::ShardLost { .. } => self.lost_shards.with_label_values::<&str>(&[]).inc(),
            _ => {}
        }
    }

    /// Takes the times of a join.
    pub fn joined(&self, trace: &JoinTrace) {
        for (stage, at) in trace.stages() {
            self.join_seconds
                .with_label_values(&[role_label(trace.role), stage])
                .observe(at.as_secs_f64());
        }
    }

    /// Counts a join that was refused. `reason` is one of a few words of ours.
    pub fn refused(&self, role: Role, reason: &'static str) {
        self.refusals.with_label_values(&[role_label(role), reason]).inc();
    }

    /// Counts a request that was answered.
    pub fn answered(&self, request: Request<'_>) {
        let Request {
            server,
            method,
            route,
            status,
            took,
        } = request;
        let status = status.map_or("none".to_owned(), |status| status.to_string());
        self.requests
            .with_label_values(&[server, method, route, &status])
            .inc();
        self.request_seconds
            .with_label_values(&[server, method, route])
            .observe(took.as_secs_f64());
    }

    /// Counts a call of a webhook. `webhook` and `outcome` are words of ours: `auth`, `event`; `ok`, `timeout`, `error`.
    pub fn called(&self, webhook: &'static str, outcome: &'static str, took: Duration) {
        self.webhooks.with_label_values(&[webhook, outcome]).inc();
        self.webhook_seconds
            .with_label_values(&[webhook])
            .observe(took.as_secs_f64());
    }

    /// The event webhook did not take so many events, or was too slow for them.
    pub fn events_lost(&self, events: u64) {
        self.lost_events.with_label_values::<&str>(&[]).inc_by(events);
    }

    /// The collector has taken the traces of so many joins.
    pub fn traces_sent(&self, joins: usize) {
        self.traces.with_label_values(&["sent"]).inc_by(joins as u64);
    }

    /// The collector gets no traces of so many joins.
    pub fn traces_dropped(&self, joins: usize) {
        self.traces.with_label_values(&["dropped"]).inc_by(joins as u64);
    }

    /// A data plane was welcomed.
    pub fn shard_connected(&self) {
        self.shard_connections.with_label_values::<&str>(&[]).inc();
    }

    /// A connection to the control socket ended. `reason` is one of a few words of ours.
    pub fn shard_disconnected(&self, reason: &'static str) {
        self.shard_disconnects.with_label_values(&[reason]).inc();
    }

    /// What a data plane says of its workers, tracks, memory (bytes; 0 when it is not known) and relay.
    pub fn set_workers(
        &self,
        shard: &str,
        workers: Vec<WorkerStats>,
        tracks: &[TrackStats],
        resident_memory: u64,
        relay: Option<Box<RelayStats>>,
    ) {
        if let Ok(mut shards) = self.shards.lock() {
            let report = shards.entry(shard.to_owned()).or_default();
            report.workers = workers;
            report.published.take(tracks);
            report.resident_memory = resident_memory;
            report.relay = relay;
        }
    }

    /// A data plane is gone, and its figures with it.
    pub fn forget_workers(&self, shard: &str) {
        if let Ok(mut shards) = self.shards.lock() {
            shards.remove(shard);
        }
    }
}

fn role_label(role: Role) -> &'static str {
    match role {
        Role::Publisher => "pub",
        Role::Subscriber => "sub",
    }
}

#[cfg(test)]
mod tests;
