//! Every bound of the protocol, by name.

/// Largest frame body. Holds the largest SDP (see [`MAX_TEXT`]) with room for everything around it.
pub const MAX_FRAME: usize = 1024 * 1024;
/// Largest text on a control channel, bytes: `SDP_OFFER ` and a 256 KiB SDP.
pub const MAX_TEXT: usize = 256 * 1024 + 64;
/// Text that a client may say on its chat channel, bytes. With the sender's name before it, it reaches the others.
pub const MAX_CHAT: usize = 4096;
/// Sessions of one [`crate::Command::Broadcast`]: 512 KiB of ids, beside which the largest text has room in a frame.
pub const MAX_BROADCAST: usize = 65_536;
/// Opaque signalling state of one session, bytes.
pub const MAX_STATE: usize = 512 * 1024;
/// A data plane's name, bytes.
pub const MAX_NAME: usize = 128;
/// Free text in refusals and versions, bytes.
pub const MAX_DETAIL: usize = 1024;
/// RFC 8839 §5.4: ice-ufrag and ice-pwd are at most 256 characters, at least 4 and 22.
pub const MAX_ICE: usize = 256;
/// RFC 8839 §5.4.
pub const MIN_UFRAG: usize = 4;
/// RFC 8839 §5.4.
pub const MIN_PASSWORD: usize = 22;
/// SHA-512 digest, the longest that RFC 8122 §5 names.
pub const MAX_FINGERPRINT: usize = 64;
/// RFC 8843 §15 wants MIDs short (at most 3 bytes); real clients send more. 16 is what the RTP stack carries.
pub const MAX_MID: usize = 16;
/// CNAME of RFC 3550 §6.5.1; ours are Full IDs.
pub const MAX_CNAME: usize = 255;
/// m-lines of one publisher.
pub const MAX_RECEIVE: usize = 64;
/// Payload types of one m-line. RFC 3551 has 128 in all.
pub const MAX_PAYLOAD_TYPES: usize = 64;
/// Routes of one session.
pub const MAX_ROUTES: usize = 4096;
/// One-byte header extension ids (RFC 8285 §4.2) that a session maps.
pub const MAX_EXTENSIONS: usize = 14;
/// Workers of one data plane.
pub const MAX_WORKERS: usize = 256;
/// Candidates of one worker.
pub const MAX_CANDIDATES: usize = 32;
/// Track statistics in one [`crate::FromShard::Stats`].
pub const MAX_TRACK_STATS: usize = 8192;
/// Counts of a worker's delay histogram.
pub const MAX_DELAY_BUCKETS: usize = 32;
/// Drop reasons that a worker reports.
pub const MAX_DROP_REASONS: usize = 64;
/// Headers in one [`crate::Packets`].
pub const MAX_PACKET_RECORDS: usize = 256;
/// Bytes of one of them: an Ethernet frame's worth of RTCP.
pub const MAX_PACKET_HEADER: usize = 1500;
/// How long a tap lasts that nobody renews, seconds: a control plane that died leaves none running.
pub const WATCH_LEASE_SECS: u64 = 10;
