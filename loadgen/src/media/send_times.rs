//! When frames of a file were sent: their bytes are the encoder's, so no time stamp can be in them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustc_hash::FxHasher;
use std::hash::Hasher;

/// Frames that are remembered: half an hour of one publisher.
const SLOTS: usize = 1 << 16;
/// A frame is known by so many of its last bytes.
const TAIL: usize = 24;
/// A slot holds 40 bits of microseconds (12 days) and 24 bits of the hash. A frame that was not recorded is found with a
/// chance of 2^-24 where its slot is taken.
const TIME_BITS: u32 = 40;

/// A table that publishers write and viewers read, without a lock.
#[derive(Debug)]
pub(crate) struct SendTimes(Box<[AtomicU64]>);

impl Default for SendTimes {
    fn default() -> Self {
        Self((0..SLOTS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl SendTimes {
    /// A frame, or the payload that ends it.
    fn key(bytes: &[u8]) -> (usize, u64) {
        let tail = bytes.get(bytes.len().saturating_sub(TAIL)..).unwrap_or_default();
        let mut hasher = FxHasher::default();
        hasher.write(tail);
        let hash = hasher.finish();
        // Never 0, which is an empty slot.
        let tag = (hash >> TIME_BITS) | 1;
        (
            usize::try_from(hash & (SLOTS as u64 - 1)).unwrap_or(0),
            tag << TIME_BITS,
        )
    }

    pub(crate) fn record(&self, frame: &[u8], at: Duration) {
        let (slot, tag) = Self::key(frame);
        let us = u64::try_from(at.as_micros()).unwrap_or(u64::MAX) & ((1 << TIME_BITS) - 1);
        if let Some(slot) = self.0.get(slot) {
            slot.store(tag | us, Ordering::Relaxed);
        }
    }

    /// When the frame that ends with this payload was sent.
    pub(crate) fn find(&self, payload: &[u8]) -> Option<Duration> {
        let (slot, tag) = Self::key(payload);
        let found = self.0.get(slot)?.load(Ordering::Relaxed);
        let time = found & ((1 << TIME_BITS) - 1);
        (found - time == tag).then(|| Duration::from_micros(time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_found_by_its_last_packet() {
        let times = SendTimes::default();
        let frame: Vec<u8> = (0u8..200).collect();
        assert_eq!(times.find(&frame), None);
        times.record(&frame, Duration::from_millis(1234));
        assert_eq!(times.find(&frame[150..]), Some(Duration::from_millis(1234)));
        assert_eq!(times.find(&frame[..150]), None);
        times.record(&frame, Duration::from_millis(2345));
        assert_eq!(times.find(&frame), Some(Duration::from_millis(2345)));
        times.record(&[], Duration::ZERO);
        assert_eq!(times.find(&[]), Some(Duration::ZERO));
    }
}
