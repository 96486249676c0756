//! The packets of a burst.

use super::{BURST, MAX_EXTENSIONS, MAX_PACKETS, MAX_PAYLOAD, Reader, RelayError, Stamp};

const MARKER: u8 = 1;
const KEYFRAME: u8 = 1 << 1;
/// The number is not one more than the one before, and follows.
const NUMBER: u8 = 1 << 2;
/// The timestamp is not the one before, and follows.
const TIMESTAMP: u8 = 1 << 3;
/// The payload type likewise.
const PAYLOAD_TYPE: u8 = 1 << 4;
const EXTENSIONS: u8 = 1 << 5;
const KNOWN: u8 = (1 << 6) - 1;

/// Bytes before the count of a burst: kind, track, source, number, came.
const BEFORE_COUNT: usize = 1 + 4 * 8;

/// One packet, as it travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayPacket<'a> {
    /// In the track's own, never broken count.
    pub seq: u64,
    /// In the track's own, never broken count.
    pub timestamp: u32,
    /// 0 to 127.
    pub pt: u8,
    /// RFC 3550 §5.1.
    pub marker: bool,
    /// It begins a keyframe.
    pub keyframe: bool,
    /// Header extensions: for each the number of its [`crate::ExtensionKind`], its length, its bytes. Well-formed.
    pub extensions: &'a [u8],
    /// Without padding.
    pub payload: &'a [u8],
}

/// What a packet may leave unsaid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Before {
    seq: u64,
    timestamp: u32,
    pt: u8,
}

impl<'a> RelayPacket<'a> {
    fn parse(reader: &mut Reader<'a>, before: Option<Before>) -> Result<Self, RelayError> {
        let flags = reader.u8()?;
        if flags & !KNOWN != 0 {
            return Err(RelayError::Kind);
        }
        let said = |flag| flags & flag != 0;
        let before = before.ok_or(RelayError::Limit("the first packet leaves something unsaid"));
        let seq = match said(NUMBER) {
            true => reader.u64()?,
            false => before?.seq.wrapping_add(1),
        };
        let timestamp = match said(TIMESTAMP) {
            true => reader.u32()?,
            false => before?.timestamp,
        };
        let pt = match said(PAYLOAD_TYPE) {
            true => reader.u8()?,
            false => before?.pt,
        };
        if pt > 127 {
            return Err(RelayError::Limit("payload type above 127"));
        }
        let extensions = match said(EXTENSIONS) {
            true => sized(reader, MAX_EXTENSIONS, "extensions too long")?,
            false => &[],
        };
        if !are_extensions(extensions) {
            return Err(RelayError::Length);
        }
        Ok(Self {
            seq,
            timestamp,
            pt,
            marker: said(MARKER),
            keyframe: said(KEYFRAME),
            extensions,
            payload: sized(reader, MAX_PAYLOAD, "payload too long")?,
        })
    }

    fn as_before(&self) -> Before {
        Before {
            seq: self.seq,
            timestamp: self.timestamp,
            pt: self.pt,
        }
    }

    fn emit(&self, before: Option<Before>, out: &mut Vec<u8>) {
        let unlike = |like: Option<bool>, flag: u8| if like == Some(true) { 0 } else { flag };
        let is = |so: bool, flag: u8| if so { flag } else { 0 };
        let flags = is(self.marker, MARKER)
            | is(self.keyframe, KEYFRAME)
            | unlike(before.map(|b| b.seq.wrapping_add(1) == self.seq), NUMBER)
            | unlike(before.map(|b| b.timestamp == self.timestamp), TIMESTAMP)
            | unlike(before.map(|b| b.pt == self.pt), PAYLOAD_TYPE)
            | is(!self.extensions.is_empty(), EXTENSIONS);
        out.push(flags);
        if flags & NUMBER != 0 {
            out.extend_from_slice(&self.seq.to_be_bytes());
        }
        if flags & TIMESTAMP != 0 {
            out.extend_from_slice(&self.timestamp.to_be_bytes());
        }
        if flags & PAYLOAD_TYPE != 0 {
            out.push(self.pt);
        }
        if flags & EXTENSIONS != 0 {
            put(self.extensions, out);
        }
        put(self.payload, out);
    }

    /// Bytes that it takes at most.
    fn bound(&self) -> usize {
        1 + 8 + 4 + 1 + 2 + self.extensions.len() + 2 + self.payload.len()
    }

    fn is_within_limits(&self) -> bool {
        self.payload.len() <= MAX_PAYLOAD && self.extensions.len() <= MAX_EXTENSIONS && self.pt <= 127
    }
}

fn sized<'a>(reader: &mut Reader<'a>, most: usize, too_long: &'static str) -> Result<&'a [u8], RelayError> {
    match usize::from(reader.u16()?) {
        len if len > most => Err(RelayError::Limit(too_long)),
        len => reader.bytes(len),
    }
}

fn put(bytes: &[u8], out: &mut Vec<u8>) {
    // Both kinds of bytes are within their limits, which are below 64 KiB.
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(bytes);
}

fn are_extensions(mut bytes: &[u8]) -> bool {
    loop {
        match bytes {
            [] => return true,
            [_, len, rest @ ..] => match rest.get(usize::from(*len)..) {
                Some(rest) => bytes = rest,
                None => return false,
            },
            [_] => return false,
        }
    }
}

/// Packets that were read whole once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packets<'a> {
    bytes: &'a [u8],
    before: Option<Before>,
    left: u16,
}

impl<'a> Packets<'a> {
    pub(super) fn parse(reader: &mut Reader<'a>) -> Result<Self, RelayError> {
        let left = reader.u16()?;
        if left == 0 || usize::from(left) > MAX_PACKETS {
            return Err(RelayError::Limit("a burst has 1 to 128 packets"));
        }
        let bytes = reader.0;
        let mut before = None;
        for _ in 0..left {
            before = Some(RelayPacket::parse(reader, before)?.as_before());
        }
        let len = bytes.len() - reader.0.len();
        Ok(Self {
            bytes: bytes.get(..len).unwrap_or_default(),
            before: None,
            left,
        })
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = RelayPacket<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let mut reader = Reader(self.bytes);
        let packet = RelayPacket::parse(&mut reader, self.before).ok()?;
        (self.bytes, self.before) = (reader.0, Some(packet.as_before()));
        Some(packet)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left.into(), Some(self.left.into()))
    }
}

impl ExactSizeIterator for Packets<'_> {}

/// Writes a burst packet by packet.
#[derive(Debug)]
pub struct BurstWriter<'v> {
    out: &'v mut Vec<u8>,
    began: usize,
    most: usize,
    count: u16,
    before: Option<Before>,
}

impl<'v> BurstWriter<'v> {
    /// A message behind what is in `out`, of at most `most` bytes.
    pub fn new(out: &'v mut Vec<u8>, stamp: Stamp, came_us: u64, most: usize) -> Self {
        let began = out.len();
        stamp.emit(BURST, out);
        out.extend_from_slice(&came_us.to_be_bytes());
        out.extend_from_slice(&0u16.to_be_bytes());
        Self {
            out,
            began,
            most,
            count: 0,
            before: None,
        }
    }

    /// False: it has no room in this message, nor in any if this is the first packet.
    pub fn push(&mut self, packet: &RelayPacket<'_>) -> bool {
        let len = self.out.len() - self.began + packet.bound();
        if usize::from(self.count) >= MAX_PACKETS || len > self.most || !packet.is_within_limits() {
            return false;
        }
        packet.emit(self.before, self.out);
        self.before = Some(packet.as_before());
        self.count += 1;
        true
    }

    /// How many packets it has. A message without any says nothing and is taken back.
    pub fn finish(self) -> u16 {
        let at = self.began + BEFORE_COUNT;
        match self.out.get_mut(at..at + 2) {
            Some(count) if self.count > 0 => count.copy_from_slice(&self.count.to_be_bytes()),
            _ => self.out.truncate(self.began),
        }
        self.count
    }
}
