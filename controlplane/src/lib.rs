//! Weever's control plane: HTTP signalling, rooms, tokens, metrics, the demo site. It never sees a media packet.

pub mod names;
pub mod rooms;
pub mod sdp;
