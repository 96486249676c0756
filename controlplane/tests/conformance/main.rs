//! WHIP (RFC 9725), WHEP (draft-ietf-wish-whep) and what we promise beyond them, one test for each requirement: over HTTP, with
//! a played data plane behind.

#![allow(unreachable_pub, missing_docs, clippy::unwrap_used, clippy::panic)]

#[path = "../service/house.rs"]
#[allow(dead_code)]
mod house;
#[path = "../rooms/offers.rs"]
#[allow(dead_code)]
mod offers;
mod stage;

mod clients;
mod creation;
mod cross_origin;
mod events;
mod ice;
mod layers;
mod leaving;
mod methods;
mod names;
mod redirects;
mod refusals;
mod tokens;
