//! Prometheus metrics: who is in, what the data planes say of themselves.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use metrics::{Key, Label, Level, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use weever_proto::{Role, WorkerStats};

use crate::names::RoomName;
use crate::rooms::Notice;

static META: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// A registry of this process's own: nothing global.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    pod: SharedString,
    rooms: Mutex<HashMap<RoomName, (usize, usize)>>,
    described: Mutex<HashSet<&'static str>>,
}

/// Counters of a worker: name, help, value.
type Counter = (&'static str, &'static str, fn(&WorkerStats) -> u64);
/// Gauges of a worker: name, help, value.
type Gauge = (&'static str, &'static str, fn(&WorkerStats) -> u32);

const WORKER_COUNTERS: [Counter; 8] = [
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
];

const WORKER_GAUGES: [Gauge; 3] = [
    ("weever_sessions", "Sessions of a worker.", |s| s.sessions),
    (
        "weever_tracks",
        "Tracks that a worker receives or follows.",
        |s| s.tracks,
    ),
    ("weever_routes", "Tracks on their way to subscribers.", |s| {
        s.routes
    }),
];

impl Metrics {
    /// `pod` labels the peer counts.
    pub fn new(pod: &str) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let metrics = Self {
            handle: recorder.handle(),
            recorder,
            pod: pod.to_owned().into(),
            rooms: Mutex::default(),
            described: Mutex::default(),
        };
        metrics.describe_gauge(
            "sfu_pod_peer_count",
            "Publishers and subscribers of a room on this node.",
        );
        metrics
    }

    /// The exposition text.
    pub fn render(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
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

    /// How many are in each room. Rooms that are gone go to 0.
    pub fn set_peers(&self, counts: &[(RoomName, usize, usize)]) {
        let Ok(mut known) = self.rooms.lock() else { return };
        let mut next: HashMap<RoomName, (usize, usize)> = HashMap::with_capacity(counts.len());
        for (room, publishers, subscribers) in counts {
            next.insert(room.clone(), (*publishers, *subscribers));
        }
        if *known == next {
            return;
        }
        for room in known.keys().filter(|room| !next.contains_key(*room)) {
            self.set_room(room, 0, 0);
        }
        for (room, (publishers, subscribers)) in &next {
            if known.get(room) != Some(&(*publishers, *subscribers)) {
                self.set_room(room, *publishers, *subscribers);
            }
        }
        *known = next;
    }

    fn set_room(&self, room: &RoomName, publishers: usize, subscribers: usize) {
        for (kind, count) in [("pub", publishers), ("sub", subscribers)] {
            let labels = vec![
                Label::new("pod", self.pod.clone()),
                Label::new("room", room.to_string()),
                Label::from_static_parts("type", kind),
            ];
            let key = Key::from_parts("sfu_pod_peer_count", labels);
            self.recorder
                .register_gauge(&key, &META)
                .set(u32::try_from(count).unwrap_or(u32::MAX));
        }
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
        for stats in workers {
            let labels = || {
                vec![
                    Label::new("shard", shard.to_owned()),
                    Label::new("worker", stats.worker.0.to_string()),
                    Label::new("io", stats.io.clone()),
                ]
            };
            for (name, help, value) in WORKER_COUNTERS {
                self.describe_counter(name, help);
                self.recorder
                    .register_counter(&Key::from_parts(name, labels()), &META)
                    .absolute(value(stats));
            }
            for (name, help, value) in WORKER_GAUGES {
                self.describe_gauge(name, help);
                self.recorder
                    .register_gauge(&Key::from_parts(name, labels()), &META)
                    .set(value(stats));
            }
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
}
