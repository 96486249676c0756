//! The time stamp at a payload's end: behind all headers, whatever the codec.

use std::time::Duration;

/// Says that it is ours.
const MAGIC: [u8; 4] = *b"WvLg";
/// Magic and microseconds.
pub(crate) const STAMP: usize = MAGIC.len() + 8;

/// Writes over the last [`STAMP`] bytes; a shorter payload stays as it is.
pub(crate) fn write_stamp(payload: &mut [u8], stamp: Duration) {
    let us = u64::try_from(stamp.as_micros()).unwrap_or(u64::MAX);
    if let Some(end) = payload.last_chunk_mut::<STAMP>() {
        end[..MAGIC.len()].copy_from_slice(&MAGIC);
        end[MAGIC.len()..].copy_from_slice(&us.to_be_bytes());
    }
}

/// The stamp of a payload of ours, `None` of any other.
pub(crate) fn stamp_of(payload: &[u8]) -> Option<Duration> {
    let (magic, us) = payload.last_chunk::<STAMP>()?.split_first_chunk()?;
    let us = u64::from_be_bytes(us.try_into().ok()?);
    (*magic == MAGIC).then(|| Duration::from_micros(us))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_found_again() {
        let stamp = Duration::from_micros(987_654_321);
        let mut payload = vec![0; 50];
        assert_eq!(stamp_of(&payload), None);
        write_stamp(&mut payload, stamp);
        assert_eq!(stamp_of(&payload), Some(stamp));
        assert_eq!(stamp_of(&payload[1..]), Some(stamp));
        assert_eq!(stamp_of(&payload[..49]), None);
        let mut short = [0; STAMP - 1];
        write_stamp(&mut short, stamp);
        assert_eq!(short, [0; STAMP - 1]);
        assert_eq!(stamp_of(&[]), None);
    }
}
