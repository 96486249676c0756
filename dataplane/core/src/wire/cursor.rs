//! Reading and writing in network byte order, one checked step at a time.

use super::WireError;

/// What is left to read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }
}

/// What was written, from the start of `out`.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether `len` bytes in all have room.
    pub(super) fn fits(&self, len: usize) -> bool {
        len <= self.out.len()
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let end = self.len.checked_add(bytes.len()).ok_or(WireError::NoSpace)?;
        self.out
            .get_mut(self.len..end)
            .ok_or(WireError::NoSpace)?
            .copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    pub(super) fn u8(&mut self, value: u8) -> Result<(), WireError> {
        self.put(&[value])
    }

    pub(super) fn u16(&mut self, value: u16) -> Result<(), WireError> {
        self.put(&value.to_be_bytes())
    }

    pub(super) fn u32(&mut self, value: u32) -> Result<(), WireError> {
        self.put(&value.to_be_bytes())
    }

    pub(super) fn u64(&mut self, value: u64) -> Result<(), WireError> {
        self.put(&value.to_be_bytes())
    }

    /// Zeros up to the next multiple of 4.
    pub(super) fn pad(&mut self) -> Result<(), WireError> {
        while !self.len.is_multiple_of(4) {
            self.u8(0)?;
        }
        Ok(())
    }

    /// Overwrites two bytes written before.
    pub(super) fn patch_u16(&mut self, at: usize, value: u16) -> Result<(), WireError> {
        let end = at
            .checked_add(2)
            .filter(|end| *end <= self.len)
            .ok_or(WireError::NoSpace)?;
        self.out
            .get_mut(at..end)
            .ok_or(WireError::NoSpace)?
            .copy_from_slice(&value.to_be_bytes());
        Ok(())
    }

    pub(super) fn written(&self) -> &[u8] {
        self.out.get(..self.len).unwrap_or_default()
    }
}
