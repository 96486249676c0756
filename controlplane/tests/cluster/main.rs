//! Several control planes that know each other by a directory: in memory, and in a real Redis.

#![allow(unreachable_pub, missing_docs, clippy::unwrap_used, clippy::panic)]

mod conformance;
mod faults;
#[allow(dead_code)]
#[path = "../service/house.rs"]
mod house;
mod nodes;
mod proxy;
mod redis_server;
