//! What the benches measure with: packets and messages as browsers and a busy room make them.
//!
//! Nothing here is timed. Sizes are those of a 2 Mbit/s camera: payloads of 1150 bytes, one keyframe in ten seconds.

pub mod messages;
pub mod packets;
