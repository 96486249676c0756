//! Prometheus metrics: who is in, what the data planes say of themselves.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::Mutex;

use metrics::{Key, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use weever_proto::{DELAY_BUCKETS_US, Role, WorkerStats};

use crate::names::RoomName;
use crate::rooms::Notice;

static META: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// A registry of this process's own: nothing global.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    pod: String,
    /// Workers of each data plane that is there.
    workers: Mutex<HashMap<String, Vec<WorkerStats>>>,
    described: Mutex<HashSet<&'static str>>,
}

/// Counters of a worker: name, help, value.
type Counter = (&'static str, &'static str, fn(&WorkerStats) -> u64);
/// Gauges of a worker: name, help, value.
type Gauge = (&'static str, &'static str, fn(&WorkerStats) -> f64);
/// What is worked out from a worker's last two reports: name, help, value.
type Rate = (&'static str, &'static str, fn(&Since) -> f64);

/// What a worker did between two reports.
struct Since {
    packets: f64,
    sends: f64,
    cpu_seconds: f64,
}

const WORKER_COUNTERS: [Counter; 9] = [
    ("weever_packets_received_total", "Datagrams received.", |s| {
        s.packets_in
    }),
    ("weever_bytes_received_total", "Bytes received.", |s| s.bytes_in),
    ("weever_packets_sent_total", "Media packets sent.", |s| {
        s.packets_out
    }),
    ("weever_bytes_sent_total", "Bytes of media sent.", |s| s.bytes_out),
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
        "weever_sessions_refused_total",
        "Sessions that a worker did not let in.",
        |s| s.refused,
    ),
];

const WORKER_GAUGES: [Gauge; 5] = [
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

const WORKER_RATES: [Rate; 2] = [
    (
        "weever_burst_packets",
        "Media packets in one send, on average over the last second.",
        |since| since.packets / since.sends.max(1.0),
    ),
    (
        "weever_packet_cpu_seconds",
        "CPU time of a worker for each packet that it sent in the last second.",
        |since| since.cpu_seconds / since.packets.max(1.0),
    ),
];

const DELAY: &str = "weever_forwarding_delay_seconds";

impl Metrics {
    /// `pod` labels the peer counts.
    pub fn new(pod: &str) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        Self {
            handle: recorder.handle(),
            recorder,
            pod: pod.to_owned(),
            workers: Mutex::default(),
            described: Mutex::default(),
        }
    }

    /// The exposition text, with the publishers and subscribers of each room. Rooms come and go by the thousand, so they
    /// are written from what is, and leave nothing behind.
    pub fn render(&self, rooms: &[(RoomName, usize, usize)]) -> String {
        self.handle.run_upkeep();
        let mut text = self.handle.render();
        text.push_str(
            "# HELP sfu_pod_peer_count Publishers and subscribers of a room on this node.\n\
             # TYPE sfu_pod_peer_count gauge\n",
        );
        let pod = quoted(&self.pod);
        for (room, publishers, subscribers) in rooms {
            let room = quoted(room.as_str());
            for (kind, count) in [("pub", publishers), ("sub", subscribers)] {
                // Writing to a String can't fail.
                let _ = writeln!(
                    text,
                    "sfu_pod_peer_count{{pod=\"{pod}\",room=\"{room}\",type=\"{kind}\"}} {count}"
                );
            }
        }
        self.render_delays(&mut text);
        text
    }

    /// Counted where the packets are, so that there is nothing to be observed here.
    fn render_delays(&self, text: &mut String) {
        let Ok(known) = self.workers.lock() else { return };
        let _ = writeln!(
            text,
            "# HELP {DELAY} From the arrival of a burst's first packet to the sending of its last copy.\n\
             # TYPE {DELAY} histogram"
        );
        for (shard, workers) in known.iter() {
            for stats in workers {
                let labels = format!("shard=\"{}\",worker=\"{}\"", quoted(shard), stats.worker.0);
                let mut total = 0;
                for (bound, count) in DELAY_BUCKETS_US.iter().zip(&stats.delays) {
                    total += count;
                    let le = f64::from(*bound) / 1e6;
                    let _ = writeln!(text, "{DELAY}_bucket{{{labels},le=\"{le}\"}} {total}");
                }
                let total: u64 = stats.delays.iter().sum();
                #[allow(clippy::cast_precision_loss)]
                let sum = stats.delay_sum_us as f64 / 1e6;
                let _ = writeln!(text, "{DELAY}_bucket{{{labels},le=\"+Inf\"}} {total}");
                let _ = writeln!(text, "{DELAY}_sum{{{labels}}} {sum}");
                let _ = writeln!(text, "{DELAY}_count{{{labels}}} {total}");
            }
        }
    }

    fn describe_gauge(&self, name: &'static str, help: &'static str) {
        if self.described.lock().is_ok_and(|mut all| all.insert(name)) {
            self.recorder
                .describe_gauge(name.into(), Some(Unit::Count), help.into());
        }
    }

    fn describe_counter(&self, name: &'static str, help: &'static str) {
        if self.described.lock().is_ok_and(|mut all| all.insert(name)) {
            self.recorder
                .describe_counter(name.into(), Some(Unit::Count), help.into());
        }
    }

    /// How many data planes are connected.
    pub fn set_shards(&self, count: usize) {
        self.describe_gauge("weever_shards", "Data planes that are connected.");
        self.recorder
            .register_gauge(&Key::from_static_name("weever_shards"), &META)
            .set(u32::try_from(count).unwrap_or(u32::MAX));
    }

    /// Counts a change of state.
    pub fn note(&self, notice: &Notice) {
        let role = |role: Role| {
            Label::from_static_parts("role", if role == Role::Publisher { "pub" } else { "sub" })
        };
        let (name, help, labels) = match notice {
            Notice::Joined { role: r, .. } => {
                ("weever_joins_total", "Sessions that were let in.", vec![role(*r)])
            }
            Notice::Connected { role: r, .. } => (
                "weever_connects_total",
                "Sessions whose handshake completed.",
                vec![role(*r)],
            ),
            Notice::Left { role: r, reason, .. } => (
                "weever_leaves_total",
                "Sessions that ended, by reason.",
                vec![role(*r), Label::from_static_parts("reason", reason)],
            ),
            Notice::ShardLost { .. } => ("weever_shards_lost_total", "Data planes that were lost.", vec![]),
            _ => return,
        };
        self.describe_counter(name, help);
        self.recorder
            .register_counter(&Key::from_parts(name, labels), &META)
            .increment(1);
    }

    /// What a data plane's workers say of themselves.
    pub fn set_workers(&self, shard: &str, workers: &[WorkerStats]) {
        let before = self
            .workers
            .lock()
            .ok()
            .and_then(|mut known| known.insert(shard.to_owned(), workers.to_vec()))
            .unwrap_or_default();
        for stats in workers {
            if let Some(before) = before.iter().find(|before| before.worker == stats.worker) {
                self.set_rates(shard, stats, &Since::between(before, stats));
            }
            let labels = || worker_labels(shard, stats);
            for (name, help, value) in WORKER_COUNTERS {
                self.describe_counter(name, help);
                self.recorder
                    .register_counter(&Key::from_parts(name, labels()), &META)
                    .absolute(value(stats));
            }
            self.set_gauges(shard, stats, |value| value(stats));
            self.describe_gauge("weever_worker_cpu_seconds", "CPU time of a worker's thread.");
            let key = Key::from_parts("weever_worker_cpu_seconds", labels());
            #[allow(clippy::cast_precision_loss)]
            self.recorder
                .register_gauge(&key, &META)
                .set(stats.cpu_ns as f64 / 1e9);
            self.describe_counter(
                "weever_dropped_total",
                "Datagrams and packets thrown away, by reason.",
            );
            for (reason, count) in stats.drops.iter().filter(|(_, count)| *count > 0) {
                let mut labels = labels();
                labels.push(Label::new("reason", reason.clone()));
                let key = Key::from_parts("weever_dropped_total", labels);
                self.recorder.register_counter(&key, &META).absolute(*count);
            }
        }
    }

    fn set_rates(&self, shard: &str, stats: &WorkerStats, since: &Since) {
        for (name, help, value) in WORKER_RATES {
            self.describe_gauge(name, help);
            self.recorder
                .register_gauge(&Key::from_parts(name, worker_labels(shard, stats)), &META)
                .set(value(since));
        }
    }

    fn set_gauges(&self, shard: &str, stats: &WorkerStats, of: impl Fn(fn(&WorkerStats) -> f64) -> f64) {
        for (name, help, value) in WORKER_GAUGES {
            self.describe_gauge(name, help);
            self.recorder
                .register_gauge(&Key::from_parts(name, worker_labels(shard, stats)), &META)
                .set(of(value));
        }
    }

    /// What a data plane holds, bytes.
    pub fn set_resident_memory(&self, shard: &str, bytes: u64) {
        self.describe_gauge(
            "weever_shard_resident_memory_bytes",
            "Memory of a data plane's process.",
        );
        let labels = vec![Label::new("shard", shard.to_owned())];
        #[allow(clippy::cast_precision_loss)]
        self.recorder
            .register_gauge(
                &Key::from_parts("weever_shard_resident_memory_bytes", labels),
                &META,
            )
            .set(bytes as f64);
    }

    /// A data plane is gone: it has no sessions any more.
    pub fn forget_workers(&self, shard: &str) {
        self.set_resident_memory(shard, 0);
        let gone = self.workers.lock().ok().and_then(|mut known| known.remove(shard));
        for stats in gone.iter().flatten() {
            self.set_gauges(shard, stats, |_| 0.0);
            self.set_rates(shard, stats, &Since::between(stats, stats));
        }
    }
}

impl Since {
    #[allow(clippy::cast_precision_loss)]
    fn between(before: &WorkerStats, after: &WorkerStats) -> Self {
        let more = |of: fn(&WorkerStats) -> u64| of(after).saturating_sub(of(before)) as f64;
        Self {
            packets: more(|stats| stats.packets_out),
            sends: more(|stats| stats.sends),
            cpu_seconds: more(|stats| stats.cpu_ns) / 1e9,
        }
    }
}

fn worker_labels(shard: &str, stats: &WorkerStats) -> Vec<Label> {
    vec![
        Label::new("shard", shard.to_owned()),
        Label::new("worker", stats.worker.0.to_string()),
        Label::new("io", stats.io.clone()),
    ]
}

/// A label's value, as the exposition format has it.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use weever_proto::WorkerId;

    use super::*;

    fn worker() -> WorkerStats {
        WorkerStats {
            worker: WorkerId(3),
            sessions: 7,
            tracks: 2,
            routes: 12,
            packets_in: 1000,
            bytes_in: 1_000_000,
            packets_out: 12_000,
            bytes_out: 12_000_000,
            sends: 900,
            rtx_packets: 5,
            nacked_packets: 6,
            keyframe_requests: 1,
            refused: 3,
            load_permille: 620,
            egress_window_us: 2750,
            delays: vec![9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 1],
            delay_sum_us: 1_230_000,
            cpu_ns: 2_500_000_000,
            drops: vec![("unknown-address".into(), 4)],
            io: "uring".into(),
        }
    }

    #[test]
    fn rooms_are_labelled_and_leave_nothing_behind() {
        let metrics = Metrics::new("po\"d");
        let room = RoomName::new("a\"b\\c").unwrap();
        let text = metrics.render(&[(room, 2, 300)]);
        let line = "sfu_pod_peer_count{pod=\"po\\\"d\",room=\"a\\\"b\\\\c\",type=\"sub\"} 300";
        assert!(text.lines().any(|one| one == line), "{text}");
        assert!(!metrics.render(&[]).contains("room="));
    }

    #[test]
    fn workers_are_shown_until_they_are_gone() {
        let metrics = Metrics::new("pod");
        metrics.set_workers("one", &[worker()]);
        metrics.set_workers("one", &[worker()]);
        metrics.set_resident_memory("one", 64 << 20);
        metrics.set_workers(
            "one",
            &[WorkerStats {
                packets_out: 12_900,
                sends: 1000,
                cpu_ns: 2_500_900_000,
                ..worker()
            }],
        );
        let labels = "{shard=\"one\",worker=\"3\",io=\"uring\"";
        let has = |text: &str, line: String| assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        let text = metrics.render(&[]);
        has(&text, format!("weever_packets_sent_total{labels}}} 12900"));
        has(&text, format!("weever_sessions{labels}}} 7"));
        has(&text, format!("weever_worker_cpu_seconds{labels}}} 2.5009"));
        has(&text, format!("weever_worker_load_ratio{labels}}} 0.62"));
        has(&text, format!("weever_egress_window_seconds{labels}}} 0.00275"));
        has(&text, format!("weever_burst_packets{labels}}} 9"));
        has(&text, format!("weever_packet_cpu_seconds{labels}}} 0.000001"));
        let delay = "weever_forwarding_delay_seconds";
        let of_worker = "{shard=\"one\",worker=\"3\"";
        has(&text, format!("{delay}_bucket{of_worker},le=\"0.00025\"}} 17"));
        has(&text, format!("{delay}_bucket{of_worker},le=\"0.5\"}} 45"));
        has(&text, format!("{delay}_bucket{of_worker},le=\"+Inf\"}} 46"));
        has(&text, format!("{delay}_count{of_worker}}} 46"));
        has(&text, format!("{delay}_sum{of_worker}}} 1.23"));
        let memory = |bytes| format!("weever_shard_resident_memory_bytes{{shard=\"one\"}} {bytes}");
        has(&text, memory(64 << 20));
        has(
            &text,
            format!("weever_dropped_total{labels},reason=\"unknown-address\"}} 4"),
        );
        assert!(text.contains("# HELP weever_packets_sent_total Media packets sent."));
        metrics.forget_workers("one");
        let text = metrics.render(&[]);
        has(&text, format!("weever_sessions{labels}}} 0"));
        has(&text, memory(0));
        has(&text, format!("weever_burst_packets{labels}}} 0"));
        has(&text, format!("weever_packets_sent_total{labels}}} 12900"));
        assert!(!text.contains("_bucket{shard"));
    }
}
