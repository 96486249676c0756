//! The control plane as its users meet it: over HTTP, and over the control socket, with a played data plane behind.

#![allow(unreachable_pub, missing_docs, clippy::unwrap_used, clippy::panic)]

mod admission;
mod events;
mod hand_over;
mod house;
mod older;
mod openapi;
mod otlp;
mod packets;
mod patience;
mod private;
mod public;
mod socket;
mod strict;
mod tls;
mod tokens;
mod webhook;
mod websocket;
