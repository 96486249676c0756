//! What hostile and broken peers do to a control plane: at the HTTP ports, with sessions that are not theirs, and at the
//! control socket. Each test says what was done, that it happened, and that everybody else is served.

#![allow(unreachable_pub, missing_docs, clippy::unwrap_used, clippy::panic)]

#[allow(dead_code)]
#[path = "../service/house.rs"]
mod house;

mod data_planes;
mod dawdlers;
mod floods;
mod fragments;
mod http2;
mod liars;
mod offers;
mod program;
mod secrets;
mod sessions;
mod unread;
mod websockets;
mod wire;
