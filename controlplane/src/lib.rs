//! Weever's control plane: HTTP signalling, rooms, tokens, metrics, the demo site. It never sees a media packet.
//!
//! [`rooms`] and [`sdp`] are pure; [`signalling`] is the one task that owns the rooms; everything else is a shell around
//! them. [`main()`] is the whole program, [`start()`] the same on an executor that is there already.

pub mod auth;
pub mod cluster;
pub mod config;
mod descriptors;
pub mod directory;
pub mod events;
mod files;
pub mod http;
pub mod metrics;
pub mod names;
pub mod otlp;
pub mod player_events;
pub mod rooms;
pub mod sdp;
pub mod shards;
pub mod signalling;
mod start;
pub mod timestamps;
pub mod traceparent;
pub mod windows;

pub use config::{Admission, Config, PROGRAM, SETTINGS};
pub use start::{End, Running, StartError, check, main, run, start, start_in};
