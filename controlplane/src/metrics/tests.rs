use std::collections::BTreeSet;

use weever_proto::WorkerId;

use super::*;
use crate::names::RoomName;
use crate::rooms::ChatCounts;

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
        cpu_ns: 2_500_900_000,
        drops: vec![("unknown-address".into(), 4), ("not-ours".into(), 0)],
        io: "uring".into(),
    }
}

fn has(text: &str, line: &str) {
    assert!(text.lines().any(|one| one == line), "{line}\n{text}");
}

#[test]
fn rooms_are_labelled_and_leave_nothing_behind() {
    let metrics = Metrics::new("po\"d");
    let census = Census {
        rooms: vec![(RoomName::new("a\"b\\c").unwrap(), 2, 300)],
        ..Census::default()
    };
    let text = metrics.render(&census);
    has(
        &text,
        "sfu_pod_peer_count{pod=\"po\\\"d\",room=\"a\\\"b\\\\c\",type=\"sub\"} 300",
    );
    has(&text, "weever_rooms 1");
    let text = metrics.render(&Census::default());
    assert!(!text.contains("room="), "{text}");
    has(&text, "weever_rooms 0");
}

#[test]
fn workers_are_shown_until_they_are_gone() {
    let metrics = Metrics::new("pod");
    let track = TrackStats {
        track: weever_proto::TrackId(1),
        packets: 990,
        bytes: 990_000,
        keyframes: 4,
        lost: 10,
        viewers: 12,
    };
    let relay = weever_proto::RelayStats {
        connected: true,
        packets_out: 77,
        cpu_ns: 1_500_000_000,
        delays: vec![1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        delay_sum_us: 900_000,
        drops: vec![("congested".into(), 3), ("forged".into(), 0)],
        ..Default::default()
    };
    let relay = Some(Box::new(relay));
    metrics.set_workers("one", vec![worker()], &[track], 64 << 20, relay);
    metrics.set_workers("two", Vec::new(), &[], 0, None);
    let labels = "{shard=\"one\",worker=\"3\",io=\"uring\"";
    let text = metrics.render(&Census::default());
    let has = |line: String| has(&text, &line);
    has(format!("weever_sent_packets_total{labels}}} 12000"));
    has(format!("weever_sessions{labels}}} 7"));
    has(format!("weever_worker_cpu_seconds_total{labels}}} 2.5009"));
    has("# TYPE weever_worker_cpu_seconds_total counter".into());
    has(format!("weever_worker_load_ratio{labels}}} 0.62"));
    has(format!("weever_egress_window_seconds{labels}}} 0.00275"));
    let delay = "weever_forwarding_delay_seconds";
    let of_worker = "{shard=\"one\",worker=\"3\"";
    has(format!("{delay}_bucket{of_worker},le=\"0.00025\"}} 17"));
    has(format!("{delay}_bucket{of_worker},le=\"0.5\"}} 45"));
    has(format!("{delay}_bucket{of_worker},le=\"+Inf\"}} 46"));
    has(format!("{delay}_count{of_worker}}} 46"));
    has(format!("{delay}_sum{of_worker}}} 1.23"));
    has(format!(
        "weever_shard_resident_memory_bytes{{shard=\"one\"}} {}",
        64 << 20
    ));
    has("weever_published_lost_packets_total{shard=\"one\"} 10".into());
    let dropped = "weever_dropped_packets_total";
    has(format!("{dropped}{labels},reason=\"unknown-address\"}} 4"));
    has(format!("{dropped}{labels},reason=\"not-ours\"}} 0"));
    has("# HELP weever_sent_packets_total Media packets sent.".into());
    has("weever_relay_connected{shard=\"one\"} 1".into());
    has("weever_relay_sent_packets_total{shard=\"one\"} 77".into());
    has("weever_relay_cpu_seconds_total{shard=\"one\"} 1.5".into());
    has("weever_relay_dropped_messages_total{shard=\"one\",reason=\"congested\"} 3".into());
    has("weever_relay_dropped_messages_total{shard=\"one\",reason=\"forged\"} 0".into());
    has("weever_relay_delay_seconds_bucket{shard=\"one\",le=\"0.00025\"} 3".into());
    has("weever_relay_delay_seconds_sum{shard=\"one\"} 0.9".into());
    assert!(
        !text.contains("weever_relay_connected{shard=\"two\"}"),
        "a data plane without a relay"
    );

    metrics.forget_workers("one");
    let text = metrics.render(&Census::default());
    assert!(!text.contains("shard=\"one\""), "{text}");
}

#[test]
fn what_may_be_counted_begins_at_zero() {
    let text = Metrics::new("pod").render(&Census::default());
    has(&text, "weever_joins_total{role=\"pub\"} 0");
    has(&text, "weever_connects_total{role=\"sub\"} 0");
    has(&text, "weever_lost_shards_total 0");
    has(
        &text,
        &format!(
            "weever_build_info{{version=\"{}\",pod=\"pod\"}} 1",
            env!("CARGO_PKG_VERSION")
        ),
    );
}

#[test]
fn requests_refusals_and_webhooks_are_counted() {
    let metrics = Metrics::new("pod");
    let mut request = Request {
        server: "public",
        method: "POST",
        route: "/pub/{room}/{id}",
        status: Some(201),
        took: Duration::from_millis(20),
    };
    metrics.answered(request);
    request.status = None;
    metrics.answered(request);
    metrics.refused(Role::Subscriber, "duplicate");
    metrics.called("auth", "timeout", Duration::from_secs(2));
    let text = metrics.render(&Census::default());
    let labels = "method=\"POST\",route=\"/pub/{room}/{id}\",server=\"public\"";
    has(
        &text,
        &format!("weever_http_requests_total{{{labels},status=\"201\"}} 1"),
    );
    has(
        &text,
        &format!("weever_http_requests_total{{{labels},status=\"none\"}} 1"),
    );
    let duration = "weever_http_request_duration_seconds";
    has(&text, &format!("{duration}_bucket{{{labels},le=\"0.01\"}} 0"));
    has(&text, &format!("{duration}_bucket{{{labels},le=\"0.025\"}} 2"));
    has(
        &text,
        "weever_join_refusals_total{reason=\"duplicate\",role=\"sub\"} 1",
    );
    has(
        &text,
        "weever_webhook_requests_total{outcome=\"timeout\",webhook=\"auth\"} 1",
    );
}

#[test]
fn the_process_is_shown() {
    let text = Metrics::new("pod").render(&Census::default());
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let line = line.unwrap_or_else(|| panic!("no {name}: {text}"));
        line.trim().parse::<f64>().unwrap()
    };
    assert!(value("process_resident_memory_bytes ") > 1e6);
    assert!(value("process_open_fds ") >= 3.0);
    assert!(value("process_max_fds ") > value("process_open_fds "));
    assert!(value("process_cpu_seconds_total ") < 3600.0);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    // The machine's start is told in whole seconds.
    let age = now - value("process_start_time_seconds ");
    assert!((-2.0..86_400.0).contains(&age), "{age} s old");
}

/// Each metric has a line in the guide, and the guide tells of no other.
#[test]
fn the_guide_names_every_metric_and_no_other() {
    let sources = [
        include_str!("../metrics.rs"),
        include_str!("node.rs"),
        include_str!("published.rs"),
        include_str!("workers.rs"),
        include_str!("directory.rs"),
        include_str!("relay.rs"),
    ];
    let of_ours = |name: &&str| name.starts_with("weever_") || name.starts_with("sfu_");
    let exposed: BTreeSet<String> = sources
        .iter()
        .flat_map(|source| source.split('"').skip(1).step_by(2))
        .filter(of_ours)
        .map(str::to_owned)
        .collect();
    let rendered = Metrics::new("pod").render(&Census::default());
    for line in rendered.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap();
        assert!(exposed.contains(name) || name.starts_with("process_"), "{name}");
    }
    let guide = include_str!("../../../deploy/README.md");
    let table = guide.split_once("| metrics | what |").unwrap().1;
    let table = table.split_once("\n\n").unwrap().0;
    let told: BTreeSet<String> = table
        .lines()
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter(of_ours)
        .flat_map(|name| spelt_out(without_labels(name)))
        .collect();
    assert_eq!(told, exposed);
}

/// `name{label,...}`; but a brace behind an underscore holds parts of names.
fn without_labels(name: &str) -> &str {
    match name.rfind('{') {
        Some(at) if name.ends_with('}') && !name[..at].ends_with('_') => &name[..at],
        _ => name,
    }
}

/// As the shell does it: `a_{b,c}_d` is `a_b_d` and `a_c_d`.
fn spelt_out(name: &str) -> Vec<String> {
    let Some((before, rest)) = name.split_once('{') else {
        return vec![name.to_owned()];
    };
    let (parts, after) = rest.split_once('}').unwrap();
    let one = |part: &str| spelt_out(&format!("{before}{part}{after}"));
    parts.split(',').flat_map(one).collect()
}

#[test]
fn chat_is_counted() {
    let census = Census {
        chat: ChatCounts {
            relayed: 7,
            refused: 3,
        },
        ..Census::default()
    };
    let text = Metrics::new("pod").render(&census);
    has(&text, "weever_chat_messages_total{outcome=\"relayed\"} 7");
    has(&text, "weever_chat_messages_total{outcome=\"refused\"} 3");
}
