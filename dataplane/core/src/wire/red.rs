//! Redundant audio data (RFC 2198 §3): older blocks first, the primary one last.

use super::cursor::Reader;

/// Header of a redundant block, bytes; the primary one's is a single byte.
const BLOCK_HEADER: usize = 4;

/// One block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedBlock<'a> {
    /// Payload type of its data, 0 to 127.
    pub pt: u8,
    /// How much older than the packet's timestamp it is, in units of the clock, 0 to 16383. 0 for the primary block.
    pub timestamp_offset: u16,
    /// Its data.
    pub data: &'a [u8],
}

/// Iterator over the blocks of a payload, oldest first; the last is the primary one.
#[derive(Debug, Clone)]
pub struct RedBlocks<'a> {
    headers: Reader<'a>,
    data: Reader<'a>,
}

/// The blocks of a RED payload; `None` when headers or lengths run past its end.
#[must_use]
pub fn blocks(payload: &[u8]) -> Option<RedBlocks<'_>> {
    let mut rest = Reader(payload);
    let mut redundant = 0;
    let mut data_len = 0;
    while let [head, ..] = rest.0
        && head & 0x80 != 0
    {
        let [_, _, high, low] = rest.array::<BLOCK_HEADER>()?;
        redundant += 1;
        data_len += usize::from(u16::from_be_bytes([high & 0x03, low]));
    }
    rest.u8()?;
    let data = rest;
    rest.take(data_len)?;
    let headers = Reader(payload.get(..BLOCK_HEADER * redundant + 1)?);
    Some(RedBlocks { headers, data })
}

/// Payload type and data of the primary block; `None` when the payload is malformed.
#[must_use]
pub fn primary_block(payload: &[u8]) -> Option<(u8, &[u8])> {
    blocks(payload)?.last().map(|block| (block.pt, block.data))
}

impl<'a> Iterator for RedBlocks<'a> {
    type Item = RedBlock<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let head = self.headers.u8()?;
        let pt = head & 0x7F;
        if head & 0x80 == 0 {
            let data = std::mem::replace(&mut self.data, Reader(&[])).0;
            self.headers = Reader(&[]);
            return Some(RedBlock {
                pt,
                timestamp_offset: 0,
                data,
            });
        }
        // 14 bits of timestamp offset, 10 bits of length.
        let [high, middle, low] = self.headers.array()?;
        let timestamp_offset = u16::from_be_bytes([high, middle]) >> 2;
        let data = self
            .data
            .take(usize::from(u16::from_be_bytes([middle & 0x03, low])))?;
        Some(RedBlock {
            pt,
            timestamp_offset,
            data,
        })
    }
}

impl std::iter::FusedIterator for RedBlocks<'_> {}

#[cfg(test)]
mod tests;
