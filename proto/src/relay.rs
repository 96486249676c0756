//! What data planes say to each other about a track, by a message bus: its media to those that follow it, their wishes back.
//!
//! A message is a clear head ([`Form`]), which says whether the rest is sealed and by which key, and that rest
//! ([`Message`]). All numbers are big-endian.
//!
//! ```text
//! head     version 1 (u8), form (u8): 0 plain, 1 sealed by AES-256-GCM: key id (4 bytes), nonce (12 bytes)
//! message  kind (u8), track (u64), source (u64), number (u64), and by kind:
//!   burst          came (u64, µs since 1970), count (u16), packets
//!   sender report  NTP time (u64), RTP timestamp (u32)
//!   follow         lease (u16, ms)
//!   unfollow, keyframe request: nothing
//! packet   flags (u8), then what they announce: number (u64), timestamp (u32), payload type (u8),
//!          extensions (u16 length, bytes); payload (u16 length, bytes)
//! ```
//!
//! Most packets of a burst differ from the one before by one in number and nothing else: a flag says so, and 3 bytes stand
//! before the payload instead of 16.

mod burst;

pub use burst::{BurstWriter, Packets, RelayPacket};

use crate::TrackId;

/// First byte of every message.
pub const VERSION: u8 = 1;
/// Clear bytes before a plain message.
pub const PLAIN_HEAD: usize = 2;
/// Clear bytes before a sealed one.
pub const SEALED_HEAD: usize = PLAIN_HEAD + KEY_ID + NONCE;
/// What names a key, bytes.
pub const KEY_ID: usize = 4;
/// Nonce of AES-GCM (NIST SP 800-38D §8.2), bytes.
pub const NONCE: usize = 12;
/// Tag of AES-GCM behind a sealed message, bytes.
pub const TAG: usize = 16;
/// Largest message, head and tag included. A bus takes 1 MiB by default and likes less.
pub const MAX_MESSAGE: usize = 256 * 1024;
/// Packets of one burst message. A larger burst is several messages.
pub const MAX_PACKETS: usize = 128;
/// Payload of one packet, bytes: what an Ethernet frame carries.
pub const MAX_PAYLOAD: usize = 1500;
/// Header extensions of one packet, bytes: five of the largest (255) and what names them.
pub const MAX_EXTENSIONS: usize = 5 * 257;
/// A follower that isn't heard of for this long is gone, whatever lease it asked for. Milliseconds.
pub const MAX_LEASE_MS: u16 = 6000;

const PLAIN: u8 = 0;
const SEALED: u8 = 1;

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RelayError {
    /// It ends too early, or goes on behind its end.
    #[error("its length is wrong")]
    Length,
    /// Another version's.
    #[error("version {0}")]
    Version(u8),
    /// A form or kind that doesn't exist.
    #[error("of an unknown kind")]
    Kind,
    /// Beyond one of this module's limits.
    #[error("{0}")]
    Limit(&'static str),
}

/// What the clear head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form<'a> {
    /// The message follows.
    Plain(&'a [u8]),
    /// The message follows, sealed.
    Sealed {
        /// The head, which the seal covers too.
        head: &'a [u8],
        /// Which key.
        key: [u8; KEY_ID],
        /// Once for each message.
        nonce: [u8; NONCE],
        /// Message and tag.
        sealed: &'a [u8],
    },
}

impl<'a> Form<'a> {
    /// Reads the head.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RelayError> {
        if bytes.len() > MAX_MESSAGE {
            return Err(RelayError::Limit("larger than a message may be"));
        }
        let mut reader = Reader(bytes);
        match (reader.u8()?, reader.u8()?) {
            (VERSION, PLAIN) => Ok(Self::Plain(reader.0)),
            (VERSION, SEALED) => {
                let (key, nonce) = (reader.array()?, reader.array()?);
                let (head, sealed) = bytes.split_at(SEALED_HEAD);
                if sealed.len() < TAG {
                    return Err(RelayError::Length);
                }
                Ok(Self::Sealed {
                    head,
                    key,
                    nonce,
                    sealed,
                })
            }
            (VERSION, _) => Err(RelayError::Kind),
            (version, _) => Err(RelayError::Version(version)),
        }
    }

    /// The head of a plain message.
    pub fn plain_head() -> [u8; PLAIN_HEAD] {
        [VERSION, PLAIN]
    }

    /// The head of a sealed one.
    pub fn sealed_head(key: [u8; KEY_ID], nonce: [u8; NONCE]) -> [u8; SEALED_HEAD] {
        let mut head = [0; SEALED_HEAD];
        let parts = [VERSION, SEALED].into_iter().chain(key).chain(nonce);
        for (byte, part) in head.iter_mut().zip(parts) {
            *byte = part;
        }
        head
    }
}

/// Of whom a message is, and which of its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// What it is about.
    pub track: TrackId,
    /// Towards followers: drawn when the track began to be sent, later ones larger. Towards the origin: the follower's own,
    /// random.
    pub source: u64,
    /// Counts the source's messages on this track, from 0, without a gap.
    pub number: u64,
}

/// A message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Whose.
    pub stamp: Stamp,
    /// What it says.
    pub says: Says<'a>,
}

/// What a message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says<'a> {
    /// Origin → followers: packets.
    Burst {
        /// When the first of them came to the origin, microseconds since 1970; 0 if that is not known.
        came_us: u64,
        /// In the order in which they came.
        packets: Packets<'a>,
    },
    /// Origin → followers: what the publisher says of its clock (RFC 3550 §6.4.1), in the track's own timestamps.
    SenderReport {
        /// 64-bit NTP time.
        ntp: u64,
        /// The RTP timestamp of the same moment.
        timestamp: u32,
    },
    /// Follower → origin: send, for as long as the lease lasts.
    Follow {
        /// Milliseconds, at most [`MAX_LEASE_MS`] count.
        lease_ms: u16,
    },
    /// Follower → origin: enough.
    Unfollow,
    /// Follower → origin.
    RequestKeyframe,
}

const BURST: u8 = 1;
const SENDER_REPORT: u8 = 2;
const FOLLOW: u8 = 3;
const UNFOLLOW: u8 = 4;
const REQUEST_KEYFRAME: u8 = 5;

impl<'a> Message<'a> {
    /// Reads a message whole: whoever walks through its packets meets no error any more.
    ///
    /// # Errors
    /// It is none, or it goes beyond a limit.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RelayError> {
        let mut reader = Reader(bytes);
        let kind = reader.u8()?;
        let stamp = Stamp {
            track: TrackId(reader.u64()?),
            source: reader.u64()?,
            number: reader.u64()?,
        };
        let says = match kind {
            BURST => Says::Burst {
                came_us: reader.u64()?,
                packets: Packets::parse(&mut reader)?,
            },
            SENDER_REPORT => Says::SenderReport {
                ntp: reader.u64()?,
                timestamp: reader.u32()?,
            },
            FOLLOW => Says::Follow {
                lease_ms: reader.u16()?,
            },
            UNFOLLOW => Says::Unfollow,
            REQUEST_KEYFRAME => Says::RequestKeyframe,
            _ => return Err(RelayError::Kind),
        };
        match reader.0 {
            [] => Ok(Self { stamp, says }),
            _ => Err(RelayError::Length),
        }
    }

    /// Writes a message behind what is in `out`. Of a burst [`BurstWriter`] writes the packets one by one.
    pub fn emit(&self, out: &mut Vec<u8>) {
        match self.says {
            Says::Burst { came_us, packets } => {
                let mut writer = BurstWriter::new(out, self.stamp, came_us, usize::MAX);
                for packet in packets {
                    writer.push(&packet);
                }
                writer.finish();
            }
            Says::SenderReport { ntp, timestamp } => {
                self.stamp.emit(SENDER_REPORT, out);
                out.extend_from_slice(&ntp.to_be_bytes());
                out.extend_from_slice(&timestamp.to_be_bytes());
            }
            Says::Follow { lease_ms } => {
                self.stamp.emit(FOLLOW, out);
                out.extend_from_slice(&lease_ms.to_be_bytes());
            }
            Says::Unfollow => self.stamp.emit(UNFOLLOW, out),
            Says::RequestKeyframe => self.stamp.emit(REQUEST_KEYFRAME, out),
        }
    }
}

impl Stamp {
    fn emit(self, kind: u8, out: &mut Vec<u8>) {
        out.push(kind);
        for number in [self.track.0, self.source, self.number] {
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

/// What is left to be read.
#[derive(Debug, Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> Result<&'a [u8], RelayError> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(RelayError::Length)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RelayError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(RelayError::Length)?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn u8(&mut self) -> Result<u8, RelayError> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, RelayError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, RelayError> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, RelayError> {
        self.array().map(u64::from_be_bytes)
    }
}
