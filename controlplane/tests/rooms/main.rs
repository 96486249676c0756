//! The rooms as a whole, with a played data plane and played clients: no socket, no clock, no chance.

#![allow(unreachable_pub, missing_docs, clippy::unwrap_used, clippy::panic)]

mod bench;
mod chat;
mod elsewhere;
mod joining;
mod limits;
mod notices;
mod offers;
mod packets;
mod players;
mod restart;
mod stage;
mod storm;
mod strict;
mod traces;
mod viewers;
mod watching;
