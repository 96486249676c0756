//! An RTP header, read while its packet is still encrypted (RFC 3550 §5.1, RFC 8285). The padding's length lies in the
//! encrypted part, so that libraries that check it refuse what is in order.

const FIXED: usize = 12;
const CSRC: usize = 4;
const EXTENSION: usize = 4;
const ONE_BYTE: u16 = 0xBEDE;
const TWO_BYTE: u16 = 0x1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) padded: bool,
    pub(super) marker: bool,
    pub(super) pt: u8,
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    pub(super) ssrc: u32,
    /// With CSRCs and extensions.
    pub(super) length: usize,
    extensions: usize,
}

impl Header {
    /// `None`: it is shorter than it says.
    pub(super) fn parse(packet: &[u8]) -> Option<Self> {
        let fixed: &[u8; FIXED] = packet.first_chunk()?;
        let [flags, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *fixed;
        let extensions = FIXED + usize::from(flags & 0x0F) * CSRC;
        let length = if flags & 0x10 == 0 {
            extensions
        } else {
            let [_, _, high, low]: [u8; EXTENSION] = *packet.get(extensions..)?.first_chunk()?;
            extensions + EXTENSION + usize::from(u16::from_be_bytes([high, low])) * 4
        };
        (length <= packet.len()).then_some(Self {
            padded: flags & 0x20 != 0,
            marker: second & 0x80 != 0,
            pt: second & 0x7F,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            length,
            extensions,
        })
    }

    /// The extension element with this id.
    pub(super) fn extension<'a>(&self, packet: &'a [u8], wanted: u8) -> Option<&'a [u8]> {
        let (profile, mut rest) = packet
            .get(self.extensions..self.length)?
            .split_first_chunk::<EXTENSION>()
            .map(|(head, rest)| (u16::from_be_bytes([head[0], head[1]]), rest))?;
        let two = profile & 0xFFF0 == TWO_BYTE;
        if !two && profile != ONE_BYTE {
            return None;
        }
        while let [first, after @ ..] = rest {
            // RFC 8285 §4.2 and §4.3: 0 is padding.
            if *first == 0 {
                rest = after;
                continue;
            }
            let (id, length, body) = if two {
                let (length, body) = after.split_first()?;
                (*first, usize::from(*length), body)
            } else {
                (first >> 4, usize::from(first & 0x0F) + 1, after)
            };
            let (data, next) = body.split_at_checked(length)?;
            if id == wanted {
                return Some(data);
            }
            rest = next;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Padding, one CSRC, extensions 1 (two bytes) and 3 (one byte).
    const PACKET: &[u8] = &[
        0xB1, 0xE0, 0x12, 0x34, 0, 0, 0, 9, 0, 0, 0, 7, 1, 2, 3, 4, 0xBE, 0xDE, 0, 2, 0x11, 0xAA, 0xBB, 0,
        0x30, 0xCC, 0, 0, 0xFF, 0xFF,
    ];

    #[test]
    fn all_fields_are_found() {
        let header = Header::parse(PACKET).unwrap();
        assert!(header.padded && header.marker);
        assert_eq!(
            (
                header.pt,
                header.sequence,
                header.timestamp,
                header.ssrc,
                header.length
            ),
            (96, 0x1234, 9, 7, 28)
        );
        assert_eq!(header.extension(PACKET, 1), Some(&[0xAA, 0xBB][..]));
        assert_eq!(header.extension(PACKET, 3), Some(&[0xCC][..]));
        assert_eq!(header.extension(PACKET, 2), None);
    }

    #[test]
    fn two_byte_elements_are_read() {
        let mut packet = vec![0x90, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0x10, 0x00, 0, 2];
        packet.extend([20, 3, 1, 2, 3, 5, 0, 0]);
        let header = Header::parse(&packet).unwrap();
        assert_eq!(header.extension(&packet, 20), Some(&[1, 2, 3][..]));
        assert_eq!(header.extension(&packet, 5), Some(&[][..]));
    }

    #[test]
    fn what_is_too_short_is_refused() {
        for length in 0..28 {
            assert_eq!(Header::parse(&PACKET[..length]), None, "{length}");
        }
        let mut lying = PACKET.to_vec();
        lying[24] = 0x3F;
        let header = Header::parse(&lying).unwrap();
        assert_eq!(header.extension(&lying, 3), None);
    }
}
