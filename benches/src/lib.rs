//! What the benches measure with: packets and messages as browsers and a busy room make them, and the room itself.
//!
//! Nothing here is timed. Sizes are those of a 2 Mbit/s camera: payloads of 1150 bytes, one keyframe in ten seconds.

// The simulated network's peer: one client for both, so that they can't drift apart.
#[path = "../../dataplane/core/tests/simulation/client.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::field_reassign_with_default,
    reason = "a test's peer"
)]
mod client;
pub mod messages;
pub mod packets;
pub mod room;
