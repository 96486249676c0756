//! Checked views over bytes that strangers sent, and the writers that make such bytes.
//!
//! Nothing here allocates, keeps state or can panic, whatever the input: every access is bounds-checked, every loop
//! consumes at least one byte a turn. A view borrows the datagram; a writer fills a slice that the caller owns.

#![deny(clippy::indexing_slicing)]

pub mod client_hello;
mod cursor;
pub mod payload;
pub mod red;
pub mod rtcp;
pub mod rtp;
pub mod stun;

pub use rtcp::{Compound, ReportBlock, RtcpPacket};
pub use rtp::{Demux, ExtensionWriter, RtpHeader, RtpHeaderWriter, RtpView};
pub use stun::StunView;

/// Why bytes were not understood, or could not be written. Copyable and fieldless: an index into drop counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[repr(u8)]
pub enum WireError {
    /// The fixed part of the header doesn't fit in what arrived.
    #[error("shorter than its header")]
    Truncated,
    /// RTP or RTCP of a version other than 2 (RFC 3550 §5.1).
    #[error("version is not 2")]
    BadVersion,
    /// The CSRC list runs past the end (RFC 3550 §5.1).
    #[error("CSRC list longer than the packet")]
    CsrcOverrun,
    /// The header extension runs past the end (RFC 3550 §5.3.1).
    #[error("header extension longer than the packet")]
    ExtensionOverrun,
    /// Padding count 0, or more than the payload holds (RFC 3550 §5.1).
    #[error("padding is 0 or longer than the payload")]
    BadPadding,
    /// Not STUN: the first two bits or the magic cookie differ (RFC 8489 §5).
    #[error("no STUN message")]
    NotStun,
    /// A length field disagrees with what arrived.
    #[error("length field disagrees with the packet")]
    BadLength,
    /// An attribute, element or argument that its format forbids.
    #[error("malformed element")]
    BadElement,
    /// The slice to write to is too small.
    #[error("output too small")]
    NoSpace,
}

impl WireError {
    /// Every reason, in the order of its discriminant.
    pub const ALL: [Self; 9] = [
        Self::Truncated,
        Self::BadVersion,
        Self::CsrcOverrun,
        Self::ExtensionOverrun,
        Self::BadPadding,
        Self::NotStun,
        Self::BadLength,
        Self::BadElement,
        Self::NoSpace,
    ];
}
