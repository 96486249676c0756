//! One function for each parser of ours: it takes whatever bytes come, uses all that the parser offers, and asserts what
//! must hold of any input. libFuzzer's binaries (`fuzz_targets/`) and the replay of the corpora (`tests/replay.rs`)
//! call the same functions.

mod http;
mod ipc;
mod relay;
mod sdp;
mod settings;
mod wire;
mod worker;

pub use http::{event_topics, webhook_reply};
pub use ipc::{from_shard, to_shard};
pub use relay::relay;
pub use sdp::{sdp_answer, sdp_fragment, sdp_offer};
pub use settings::settings;
pub use wire::{payload, red, rtcp, rtp, stun};
pub use worker::worker;

/// A target by its name, which is also that of its binary and of its folder under `corpus/`.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("rtp", rtp),
    ("rtcp", rtcp),
    ("stun", stun),
    ("payload", payload),
    ("red", red),
    ("to_shard", to_shard),
    ("from_shard", from_shard),
    ("relay", relay),
    ("worker", worker),
    ("sdp_offer", sdp_offer),
    ("sdp_answer", sdp_answer),
    ("sdp_fragment", sdp_fragment),
    ("settings", settings),
    ("webhook_reply", webhook_reply),
    ("event_topics", event_topics),
];
