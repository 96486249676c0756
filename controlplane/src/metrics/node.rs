//! What there is on this node: rooms and data planes.

use prometheus::proto::MetricFamily;

use super::Family;
use crate::rooms::Census;

/// The metrics of the node as it is.
pub(super) fn families(pod: &str, census: &Census) -> Vec<MetricFamily> {
    let flag = |name, help, on: bool| Family::gauge(name, help).with(&[], f64::from(u8::from(on)));
    let build = Family::gauge(
        "weever_build_info",
        "The version of this control plane, and the node's name.",
    )
    .with(&[("version", env!("CARGO_PKG_VERSION")), ("pod", pod)], 1.0);
    let mut peers = Family::gauge(
        "sfu_pod_peer_count",
        "Publishers and subscribers of a room on this node.",
    );
    for (room, publishers, subscribers) in &census.rooms {
        for (kind, count) in [("pub", *publishers), ("sub", *subscribers)] {
            peers.add(
                &[("pod", pod), ("room", room.as_str()), ("type", kind)],
                number(count),
            );
        }
    }
    let rooms = Family::gauge("weever_rooms", "Rooms on this node.").with(&[], number(census.rooms.len()));
    let shards = Family::gauge("weever_shards", "Data planes that are connected.")
        .with(&[], number(census.shards.len()));
    let mut ready = Family::gauge("weever_shard_ready", "Whether a data plane gets new sessions.");
    let mut draining = Family::gauge("weever_shard_draining", "Whether a data plane is being drained.");
    let mut info = Family::gauge("weever_shard_info", "The version of a data plane.");
    for shard in &census.shards {
        let name = ("shard", shard.name.as_str());
        ready.add(&[name], f64::from(u8::from(shard.ready)));
        draining.add(&[name], f64::from(u8::from(shard.draining)));
        info.add(&[name, ("version", shard.software.as_str())], 1.0);
    }
    let mut chat = Family::counter(
        "weever_chat_messages_total",
        "Messages on chat channels: relayed, or refused since their room said too much.",
    );
    for (outcome, count) in [("relayed", census.chat.relayed), ("refused", census.chat.refused)] {
        chat.add(&[("outcome", outcome)], total(count));
    }
    let all = [
        build,
        chat,
        flag(
            "weever_ready",
            "Whether somebody could be let in, as /readiness says.",
            census.ready,
        ),
        flag(
            "weever_draining",
            "Whether this node lets nobody in any more, and waits for the last to leave.",
            census.draining,
        ),
        peers,
        rooms,
        shards,
        ready,
        draining,
        info,
    ];
    all.into_iter().filter_map(Family::finish).collect()
}

#[allow(clippy::cast_precision_loss)]
fn total(count: u64) -> f64 {
    count as f64
}

#[allow(clippy::cast_precision_loss)]
fn number(count: usize) -> f64 {
    count as f64
}
