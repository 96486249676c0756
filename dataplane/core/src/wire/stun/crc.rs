//! CRC-32 of ITU-T V.42, as FINGERPRINT wants it (RFC 8489 §14.7).

/// The generator polynomial, bits reversed.
const POLYNOMIAL: u32 = 0xEDB8_8320;

static TABLE: [u32; 256] = table();

#[allow(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn table() -> [u32; 256] {
    let mut table = [0u32; 256];
    let mut index = 0;
    let mut byte = 0u32;
    while index < 256 {
        let mut value = byte;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                value >> 1 ^ POLYNOMIAL
            } else {
                value >> 1
            };
            bit += 1;
        }
        table[index] = value;
        index += 1;
        byte += 1;
    }
    table
}

pub(super) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        // A u8 can't miss a table of 256.
        crc >> 8 ^ TABLE.get(usize::from(low ^ byte)).copied().unwrap_or_default()
    })
}
