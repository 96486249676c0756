//! The session descriptions of a viewer: what it offers, what it is told, how it answers (RFC 8866, RFC 9429).

mod answer;
mod description;
mod offer;

pub(crate) use answer::answer;
pub(crate) use description::{Description, PtUse, SdpError, Track};
pub(crate) use offer::{Local, Wishes, offer};

#[cfg(test)]
mod tests;
