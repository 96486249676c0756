//! Joins as OpenTelemetry traces, sent to a collector by OTLP over HTTP.
//!
//! A join takes seconds and two processes, so its spans are not held open: they are made when it is over, with the times
//! that the rooms tell. Nobody waits for the collector: what it doesn't take is counted and dropped.

mod spans;

use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;
use tokio::sync::mpsc;

use crate::metrics::Metrics;
use crate::rooms::JoinTrace;

/// Joins that wait to be sent: 5000 may come in a few seconds.
const QUEUE: usize = 8192;
/// Joins sent in one request; each is at most five spans of a few hundred bytes.
const BATCH: usize = 256;
/// So many are waited for this long.
const GATHER: Duration = Duration::from_secs(1);
/// For the collector to take a batch.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is said that it doesn't.
const COMPLAIN: Duration = Duration::from_secs(60);

/// Why there can be no traces.
#[derive(Debug, thiserror::Error)]
#[error("--otlp-endpoint: {0}")]
pub struct OtlpError(String);

/// The way to the collector.
#[derive(Clone)]
pub struct Otlp {
    queue: mpsc::Sender<JoinTrace>,
    metrics: Arc<Metrics>,
}

impl Otlp {
    /// Starts the task that sends. `endpoint` is an HTTP or HTTPS URL; without `/v1/traces` at its end, that is added.
    ///
    /// # Errors
    /// The endpoint is no such URL, or no TLS could be had.
    pub fn start(endpoint: &str, pod: &str, metrics: Arc<Metrics>) -> Result<Self, OtlpError> {
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .build()
            .map_err(|error| OtlpError(error.to_string()))?;
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(traces_url(endpoint))
            .with_timeout(PATIENCE)
            .build()
            .map_err(|error| OtlpError(error.to_string()))?;
        exporter.set_resource(
            &Resource::builder_empty()
                .with_attributes([
                    KeyValue::new("service.name", "weever"),
                    KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                    KeyValue::new("service.instance.id", pod.to_owned()),
                    KeyValue::new("k8s.pod.name", pod.to_owned()),
                ])
                .build(),
        );
        let (queue, joins) = mpsc::channel(QUEUE);
        tokio::spawn(send(exporter, joins, metrics.clone()));
        Ok(Self { queue, metrics })
    }

    /// Hands over a join that is over. Never waits.
    pub fn offer(&self, trace: &JoinTrace) {
        // What the caller doesn't record, we don't either.
        if trace.parent.is_some_and(|parent| !parent.sampled) {
            return;
        }
        if self.queue.try_send(trace.clone()).is_err() {
            self.metrics.traces_dropped(1);
        }
    }
}

fn traces_url(endpoint: &str) -> String {
    let base = endpoint.trim_end_matches('/');
    if base.ends_with("/v1/traces") {
        base.to_owned()
    } else {
        format!("{base}/v1/traces")
    }
}

async fn send(exporter: SpanExporter, mut joins: mpsc::Receiver<JoinTrace>, metrics: Arc<Metrics>) {
    let mut complained: Option<Instant> = None;
    let mut batch = Vec::with_capacity(BATCH);
    while joins.recv_many(&mut batch, BATCH).await > 0 {
        let gathered = tokio::time::Instant::now() + GATHER;
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            match tokio::time::timeout_at(gathered, joins.recv_many(&mut batch, room)).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => break,
            }
        }
        let count = batch.len();
        let (now, wall) = (Instant::now(), std::time::SystemTime::now());
        let spans = batch
            .drain(..)
            .flat_map(|trace| spans::of(&trace, now, wall))
            .collect();
        // The exporter has a limit of its own; this one holds whatever it does.
        let sent = tokio::time::timeout(PATIENCE + GATHER, exporter.export(spans)).await;
        let error = match sent {
            Ok(Ok(())) => {
                metrics.traces_sent(count);
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it took too long".to_owned(),
        };
        metrics.traces_dropped(count);
        if complained.is_none_or(|at| at.elapsed() >= COMPLAIN) {
            complained = Some(Instant::now());
            tracing::warn!(
                error,
                "the OpenTelemetry collector takes no traces; they are dropped"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use weever_proto::{Role, SessionId, WorkerId};

    use super::*;
    use crate::names::{FullId, RoomName};
    use crate::rooms::{Census, JoinOutcome};

    #[test]
    fn a_full_queue_drops_and_counts() {
        let metrics = Arc::new(Metrics::new("pod"));
        let (queue, _held) = mpsc::channel(1);
        let otlp = Otlp {
            queue,
            metrics: metrics.clone(),
        };
        let trace = JoinTrace {
            session: SessionId(1),
            role: Role::Publisher,
            room: RoomName::new("r").unwrap(),
            id: FullId::new("alice").unwrap(),
            shard: String::new(),
            worker: WorkerId(0),
            posted: Instant::now(),
            parent: None,
            answer: None,
            ice: None,
            dtls: None,
            media: None,
            outcome: JoinOutcome::NoMedia,
            ended: Duration::ZERO,
        };
        for _ in 0..3 {
            otlp.offer(&trace);
        }
        let text = metrics.render(&Census::default());
        assert!(
            text.contains("weever_traces_total{outcome=\"dropped\"} 2"),
            "{text}"
        );
    }

    #[test]
    fn an_endpoint_with_or_without_its_path() {
        for endpoint in [
            "http://c:4318",
            "http://c:4318/",
            "http://c:4318/v1/traces",
            "http://c:4318/v1/traces/",
        ] {
            assert_eq!(traces_url(endpoint), "http://c:4318/v1/traces");
        }
        assert_eq!(traces_url("https://c/otlp"), "https://c/otlp/v1/traces");
    }
}
