//! Whole workers under a simulated network: real ICE, DTLS, SCTP and SRTP peers (str0m), a virtual clock, and a network
//! whose every loss, delay and duplicate follows from a seed.

#![allow(
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::field_reassign_with_default
)]

mod bursts;
mod channels;
mod client;
mod joins;
mod network;
mod relay;
mod scenarios;
mod strangers;
mod taps;
mod world;
