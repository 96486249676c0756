//! Session descriptions: from text to what we make of it, and back. Pure.
//!
//! The text is taken apart by a library; what its attributes mean to an SFU is read here, once, into [`Description`].
//! [`publish`] answers those who send, [`view`] those who watch: m-lines that are filled by whoever is there, or, with a
//! control channel, offers of all tracks of a room. [`fragment`] is for trickle ICE and restarts.

pub mod codecs;
pub mod description;
pub mod emit;
pub mod fragment;
pub mod publish;
pub mod view;

pub use description::{Description, Direction, Section, SectionKind, Setup};
pub use fragment::Fragment;

/// Largest SDP that is read, bytes.
pub const MAX_SDP: usize = 256 * 1024;
/// m-lines beyond this are not served: real offers have a handful, our own recycle.
pub const MAX_SECTIONS: usize = 1024;

/// Why a description was not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// It is no SDP: 400. The text keeps the words that old clients look for.
    #[error("bad SDP: {0}")]
    Malformed(String),
    /// It is, but not one that can be served: 422.
    #[error("{0}")]
    Unservable(String),
}

impl SdpError {
    pub(crate) fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed(what.into())
    }

    pub(crate) fn unservable(what: impl Into<String>) -> Self {
        Self::Unservable(what.into())
    }
}
