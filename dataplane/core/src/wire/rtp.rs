//! RTP headers (RFC 3550 §5.1) and their extensions (RFC 8285), and which protocol a datagram belongs to.
//!
//! SRTP leaves the header in the clear, so that a [`RtpView`] reads encrypted packets too. It never looks at the payload
//! by itself; [`RtpView::unpadded_payload`] is for plaintext only.

use super::WireError;
use super::cursor::{Reader, Writer};

/// Fixed part of the header, bytes (RFC 3550 §5.1).
pub const FIXED_HEADER: usize = 12;
/// `defined by profile` of the one-byte form (RFC 8285 §4.2).
const ONE_BYTE: u16 = 0xBEDE;
/// The same of the two-byte form, whose lowest four bits are for the application (RFC 8285 §4.3).
const TWO_BYTE: u16 = 0x1000;
const TWO_BYTE_MASK: u16 = 0xFFF0;
/// Padding, extension and marker bits of the first two bytes.
const PADDING: u8 = 0x20;
const EXTENSION: u8 = 0x10;
const MARKER: u8 = 0x80;

/// The protocol of a datagram by its first bytes (RFC 7983 §7, RFC 5761 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Demux {
    /// First byte 0 to 3.
    Stun,
    /// First byte 20 to 63.
    Dtls,
    /// First byte 128 to 191, and the second not RTCP's.
    Rtp,
    /// First byte 128 to 191, and the second 192 to 223.
    Rtcp,
    /// Empty, or anything else: ZRTP, TURN channels, noise.
    Unknown,
}

impl Demux {
    /// Looks at no more than two bytes.
    #[must_use]
    pub fn of(datagram: &[u8]) -> Self {
        match datagram {
            [0..=3, ..] => Self::Stun,
            [20..=63, ..] => Self::Dtls,
            [first @ 128..=191, second, ..] if is_rtcp([*first, *second]) => Self::Rtcp,
            [128..=191, _, ..] => Self::Rtp,
            _ => Self::Unknown,
        }
    }
}

/// Whether a packet that starts with these two bytes is RTCP rather than RTP (RFC 5761 §4): RTCP packet types 192 to 223
/// stand where RTP has the marker and payload types 64 to 95, which are never negotiated.
#[must_use]
pub fn is_rtcp(first_two: [u8; 2]) -> bool {
    let [first, second] = first_two;
    first >> 6 == 2 && matches!(second, 192..=223)
}

/// A packet whose header was checked: version, CSRC list and extension lie within it.
#[derive(Debug, Clone, Copy)]
pub struct RtpView<'a> {
    packet: &'a [u8],
    fixed: [u8; FIXED_HEADER],
    profile: u16,
    extension: &'a [u8],
    header_len: usize,
}

impl<'a> RtpView<'a> {
    /// Checks the header (RFC 3550 §5.1, §5.3.1). The payload, and so the padding, isn't looked at.
    ///
    /// # Errors
    /// [`WireError::Truncated`], [`WireError::BadVersion`], [`WireError::CsrcOverrun`], [`WireError::ExtensionOverrun`].
    pub fn parse(packet: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader(packet);
        let fixed: [u8; FIXED_HEADER] = reader.array().ok_or(WireError::Truncated)?;
        let [first, ..] = fixed;
        if first >> 6 != 2 {
            return Err(WireError::BadVersion);
        }
        let csrcs = usize::from(first & 0x0F);
        reader.take(4 * csrcs).ok_or(WireError::CsrcOverrun)?;
        let (mut profile, mut extension): (u16, &[u8]) = (0, &[]);
        if first & EXTENSION != 0 {
            profile = reader.u16().ok_or(WireError::ExtensionOverrun)?;
            let words = reader.u16().ok_or(WireError::ExtensionOverrun)?;
            extension = reader
                .take(4 * usize::from(words))
                .ok_or(WireError::ExtensionOverrun)?;
        }
        let header_len = packet.len() - reader.0.len();
        Ok(Self {
            packet,
            fixed,
            profile,
            extension,
            header_len,
        })
    }

    /// The marker bit.
    #[must_use]
    pub fn marker(&self) -> bool {
        let [_, second, ..] = self.fixed;
        second & MARKER != 0
    }

    /// The payload type, 0 to 127.
    #[must_use]
    pub fn pt(&self) -> u8 {
        let [_, second, ..] = self.fixed;
        second & 0x7F
    }

    /// The sequence number.
    #[must_use]
    pub fn sequence(&self) -> u16 {
        let [_, _, a, b, ..] = self.fixed;
        u16::from_be_bytes([a, b])
    }

    /// The timestamp, in units of the payload type's clock.
    #[must_use]
    pub fn timestamp(&self) -> u32 {
        let [_, _, _, _, a, b, c, d, ..] = self.fixed;
        u32::from_be_bytes([a, b, c, d])
    }

    /// The synchronization source.
    #[must_use]
    pub fn ssrc(&self) -> u32 {
        let [.., a, b, c, d] = self.fixed;
        u32::from_be_bytes([a, b, c, d])
    }

    /// Whether the payload ends in padding.
    #[must_use]
    pub fn has_padding(&self) -> bool {
        let [first, ..] = self.fixed;
        first & PADDING != 0
    }

    /// Whether the header has an extension, of whatever profile.
    #[must_use]
    pub fn has_extension(&self) -> bool {
        let [first, ..] = self.fixed;
        first & EXTENSION != 0
    }

    /// Bytes of the header with CSRC list and extension: where the payload starts.
    #[must_use]
    pub fn header_len(&self) -> usize {
        self.header_len
    }

    /// The header's bytes.
    #[must_use]
    pub fn header(&self) -> &'a [u8] {
        self.packet.get(..self.header_len).unwrap_or_default()
    }

    /// All behind the header: payload, padding and, in SRTP, the authentication tag.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.packet.get(self.header_len..).unwrap_or_default()
    }

    /// The payload of a plaintext packet without its padding (RFC 3550 §5.1); empty for a packet of padding only.
    ///
    /// # Errors
    /// [`WireError::BadPadding`] when the count is 0 or larger than the payload.
    pub fn unpadded_payload(&self) -> Result<&'a [u8], WireError> {
        let payload = self.payload();
        if !self.has_padding() {
            return Ok(payload);
        }
        let count = usize::from(*payload.last().ok_or(WireError::BadPadding)?);
        if count == 0 {
            return Err(WireError::BadPadding);
        }
        let len = payload.len().checked_sub(count).ok_or(WireError::BadPadding)?;
        payload.get(..len).ok_or(WireError::BadPadding)
    }

    /// The extension elements (RFC 8285) with their ids, in order. Padding is skipped; an element that runs past the
    /// block ends the iteration; an extension of another profile has none.
    #[must_use]
    pub fn extensions(&self) -> Extensions<'a> {
        let form = match self.profile {
            ONE_BYTE => Some(Form::OneByte),
            profile if profile & TWO_BYTE_MASK == TWO_BYTE => Some(Form::TwoByte),
            _ => None,
        };
        let rest = if form.is_some() { self.extension } else { &[] };
        Extensions {
            rest: Reader(rest),
            two_byte: form == Some(Form::TwoByte),
        }
    }

    /// The first element with this id.
    #[must_use]
    pub fn extension(&self, id: u8) -> Option<&'a [u8]> {
        self.extensions()
            .find(|(found, _)| *found == id)
            .map(|(_, data)| data)
    }
}

/// Iterator over extension elements: id and data.
#[derive(Debug, Clone)]
pub struct Extensions<'a> {
    rest: Reader<'a>,
    two_byte: bool,
}

impl<'a> Extensions<'a> {
    fn one_byte_element(&mut self, head: u8) -> Option<(u8, &'a [u8])> {
        let (id, len) = (head >> 4, head & 0x0F);
        // RFC 8285 §4.2: 15 ends the block, and so does an id 0 with a length.
        if id == 15 || id == 0 {
            return None;
        }
        Some((id, self.rest.take(usize::from(len) + 1)?))
    }

    fn two_byte_element(&mut self, id: u8) -> Option<(u8, &'a [u8])> {
        let len = self.rest.u8()?;
        Some((id, self.rest.take(usize::from(len))?))
    }
}

impl<'a> Iterator for Extensions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let element = loop {
            match self.rest.u8()? {
                0 => {} // one byte of padding, in both forms (RFC 8285 §4.1)
                id if self.two_byte => break self.two_byte_element(id),
                head => break self.one_byte_element(head),
            }
        };
        if element.is_none() {
            self.rest = Reader(&[]);
        }
        element
    }
}

impl std::iter::FusedIterator for Extensions<'_> {}

/// How extension elements are written (RFC 8285 §4.2, §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// Ids 1 to 14, 1 to 16 bytes each.
    OneByte,
    /// Ids 1 to 255, 0 to 255 bytes each.
    TwoByte,
}

impl Form {
    /// Whether an element can be written in this form.
    #[must_use]
    pub fn holds(self, id: u8, len: usize) -> bool {
        match self {
            Self::OneByte => matches!(id, 1..=14) && matches!(len, 1..=16),
            Self::TwoByte => id != 0 && len <= 255,
        }
    }
}

/// The fixed part of a header, without CSRCs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RtpHeader {
    /// The marker bit.
    pub marker: bool,
    /// Payload type, 0 to 127.
    pub pt: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Synchronization source.
    pub ssrc: u32,
}

impl RtpHeader {
    /// Writes the 12 bytes of the fixed part: no padding, no CSRC, no extension ([`set_extension_bit`] and
    /// [`set_padding_bit`] say otherwise later). Returns 12.
    ///
    /// # Errors
    /// [`WireError::NoSpace`], or [`WireError::BadElement`] for a payload type above 127.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, WireError> {
        if self.pt > 127 {
            return Err(WireError::BadElement);
        }
        let out = out.first_chunk_mut::<FIXED_HEADER>().ok_or(WireError::NoSpace)?;
        let [s0, s1] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [r0, r1, r2, r3] = self.ssrc.to_be_bytes();
        let second = self.pt | if self.marker { MARKER } else { 0 };
        *out = [0x80, second, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3];
        Ok(FIXED_HEADER)
    }
}

/// Says in the first byte that an extension follows. Does nothing to an empty slice.
pub fn set_extension_bit(packet: &mut [u8]) {
    if let Some(first) = packet.first_mut() {
        *first |= EXTENSION;
    }
}

/// Says in the first byte that the payload ends in padding. Does nothing to an empty slice.
pub fn set_padding_bit(packet: &mut [u8]) {
    if let Some(first) = packet.first_mut() {
        *first |= PADDING;
    }
}

/// Writes one extension block, to stand behind the fixed header.
#[derive(Debug)]
pub struct ExtensionWriter<'a> {
    writer: Writer<'a>,
    form: Form,
}

/// `defined by profile` and length of a block.
const BLOCK_HEADER: usize = 4;

impl<'a> ExtensionWriter<'a> {
    /// Starts a block of ids 1 to 14 with 1 to 16 bytes each.
    ///
    /// # Errors
    /// [`WireError::NoSpace`]
    pub fn one_byte(out: &'a mut [u8]) -> Result<Self, WireError> {
        Self::new(out, Form::OneByte)
    }

    /// Starts a block of ids 1 to 255 with up to 255 bytes each.
    ///
    /// # Errors
    /// [`WireError::NoSpace`]
    pub fn two_byte(out: &'a mut [u8]) -> Result<Self, WireError> {
        Self::new(out, Form::TwoByte)
    }

    /// Starts a block in the given form.
    ///
    /// # Errors
    /// [`WireError::NoSpace`]
    pub fn new(out: &'a mut [u8], form: Form) -> Result<Self, WireError> {
        let mut writer = Writer::new(out);
        writer.u16(if form == Form::OneByte { ONE_BYTE } else { TWO_BYTE })?;
        writer.u16(0)?;
        Ok(Self { writer, form })
    }

    /// Appends an element. Nothing is written when it fails.
    ///
    /// # Errors
    /// [`WireError::BadElement`] when the form can't hold it, [`WireError::NoSpace`] when it and the block's padding
    /// don't fit.
    pub fn push(&mut self, id: u8, data: &[u8]) -> Result<(), WireError> {
        if !self.form.holds(id, data.len()) {
            return Err(WireError::BadElement);
        }
        let len = u8::try_from(data.len()).map_err(|_| WireError::BadElement)?;
        let head = if self.form == Form::OneByte { 1 } else { 2 };
        if !self
            .writer
            .fits((self.writer.len() + head + data.len()).next_multiple_of(4))
        {
            return Err(WireError::NoSpace);
        }
        match self.form {
            Form::OneByte => self.writer.u8(id << 4 | (len - 1))?,
            Form::TwoByte => self.writer.put(&[id, len])?,
        }
        self.writer.put(data)
    }

    /// Pads the block to 32 bits and fills in its length. Returns its bytes; 0 when nothing was pushed, and then no
    /// extension bit is to be set.
    #[must_use]
    pub fn finish(mut self) -> usize {
        if self.writer.len() == BLOCK_HEADER {
            return 0;
        }
        let words = (self.writer.len() - BLOCK_HEADER).div_ceil(4);
        // Neither fails: `push` made sure of the room, and no slice of 2^16 words is written for one packet.
        let padded = self.writer.pad();
        let patched = u16::try_from(words).map_or(Err(WireError::NoSpace), |w| self.writer.patch_u16(2, w));
        if padded.is_err() || patched.is_err() {
            0
        } else {
            self.writer.len()
        }
    }
}

/// Writes a whole header: fixed part, then extensions.
#[derive(Debug)]
pub struct RtpHeaderWriter<'a> {
    first: &'a mut u8,
    extensions: ExtensionWriter<'a>,
}

impl<'a> RtpHeaderWriter<'a> {
    /// Writes the fixed part and starts an extension block.
    ///
    /// # Errors
    /// [`WireError::NoSpace`] (16 bytes are needed, even when no element follows) and [`WireError::BadElement`] for a
    /// payload type above 127.
    pub fn new(out: &'a mut [u8], header: &RtpHeader, form: Form) -> Result<Self, WireError> {
        header.emit(out)?;
        let (fixed, rest) = out.split_at_mut_checked(FIXED_HEADER).ok_or(WireError::NoSpace)?;
        let first = fixed.first_mut().ok_or(WireError::NoSpace)?;
        Ok(Self {
            first,
            extensions: ExtensionWriter::new(rest, form)?,
        })
    }

    /// Appends an element: see [`ExtensionWriter::push`].
    ///
    /// # Errors
    /// See [`ExtensionWriter::push`].
    pub fn push(&mut self, id: u8, data: &[u8]) -> Result<(), WireError> {
        self.extensions.push(id, data)
    }

    /// Ends the header. Returns its bytes.
    #[must_use]
    pub fn finish(self) -> usize {
        let len = self.extensions.finish();
        if len > 0 {
            *self.first |= EXTENSION;
        }
        FIXED_HEADER + len
    }
}

#[cfg(test)]
mod tests;
