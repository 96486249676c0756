//! The cluster's directory, as this node sees it.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Seconds: from a Redis next door to one that is given up.
const BUCKETS: [f64; 10] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0,
];

/// Figures of a directory. Clones count together.
#[derive(Clone)]
pub struct DirectoryMetrics {
    connected: IntGauge,
    reconnects: IntCounter,
    operations: IntCounterVec,
    seconds: HistogramVec,
    nodes: IntGauge,
    remote_publishers: IntGauge,
    ignored: IntCounter,
}

impl DirectoryMetrics {
    /// # Panics
    /// Never: the names below are valid, and it is made once.
    #[allow(clippy::expect_used)]
    pub(super) fn new(registry: &Registry) -> Self {
        let labels = ["operation", "outcome"];
        let metrics = Self {
            connected: IntGauge::new(
                "weever_directory_connected",
                "Whether there is a connection to Redis.",
            )
            .expect("a valid name"),
            reconnects: IntCounter::new(
                "weever_directory_reconnects_total",
                "Connections to Redis that were made after one was lost.",
            )
            .expect("a valid name"),
            operations: IntCounterVec::new(
                Opts::new(
                    "weever_directory_operations_total",
                    "Operations of the directory, by outcome: ok, timeout, unreachable, refused.",
                ),
                &labels,
            )
            .expect("a valid name"),
            seconds: HistogramVec::new(
                HistogramOpts::new(
                    "weever_directory_operation_duration_seconds",
                    "How long operations of the directory took.",
                )
                .buckets(BUCKETS.to_vec()),
                &["operation"],
            )
            .expect("a valid name"),
            nodes: IntGauge::new(
                "weever_directory_nodes",
                "Nodes of the cluster that live, this one too.",
            )
            .expect("a valid name"),
            remote_publishers: IntGauge::new(
                "weever_directory_remote_publishers",
                "Publishers that are live at other nodes.",
            )
            .expect("a valid name"),
            ignored: IntCounter::new(
                "weever_directory_ignored_total",
                "Entries and messages in the directory that no node of ours has written.",
            )
            .expect("a valid name"),
        };
        let all: [Box<dyn prometheus::core::Collector>; 7] = [
            Box::new(metrics.connected.clone()),
            Box::new(metrics.reconnects.clone()),
            Box::new(metrics.operations.clone()),
            Box::new(metrics.seconds.clone()),
            Box::new(metrics.nodes.clone()),
            Box::new(metrics.remote_publishers.clone()),
            Box::new(metrics.ignored.clone()),
        ];
        for one in all {
            registry.register(one).expect("a new name");
        }
        for operation in ["claim", "renew", "change"] {
            metrics.operations.with_label_values(&[operation, "ok"]);
        }
        metrics
    }

    /// There is a connection, or none any more.
    pub fn connected(&self, is: bool) {
        self.connected.set(i64::from(is));
    }

    /// A lost connection was replaced.
    pub fn reconnected(&self) {
        self.reconnects.inc();
    }

    /// Counts an operation. Both words are of ours.
    pub fn operation(&self, what: &'static str, outcome: &'static str, took: Duration) {
        self.operations.with_label_values(&[what, outcome]).inc();
        self.seconds
            .with_label_values(&[what])
            .observe(took.as_secs_f64());
    }

    /// How many nodes live.
    pub fn nodes(&self, count: usize) {
        self.nodes.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How many publishers are live elsewhere.
    pub fn remote_publishers(&self, count: usize) {
        self.remote_publishers
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// So much was no use.
    pub fn ignored(&self, count: usize) {
        self.ignored.inc_by(count as u64);
    }
}
