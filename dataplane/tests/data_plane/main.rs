//! A whole data plane, from its Unix socket to its UDP sockets: real threads, a control plane that the test plays, and
//! clients that check connectivity as ICE does.
#![allow(clippy::unwrap_used, clippy::panic)] // all of this is test code

mod broadcast;
mod data_plane;
mod drain;
mod link;
mod media;
mod older;
mod peer;
mod played_control_plane;
mod relay;
mod stun_client;
mod taps;

/// Longer than any of this takes on the slowest machine.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);
