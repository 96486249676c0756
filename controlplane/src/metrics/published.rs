//! What publishers sent, of all their tracks together: tracks come and go, sums only grow.

use std::collections::HashMap;

use weever_proto::{TrackId, TrackStats};

/// Of one data plane, since it connected.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) keyframes: u64,
    /// Never received, also not by retransmission.
    pub(super) lost: u64,
}

/// Adds up what tracks say of themselves.
#[derive(Debug, Default)]
pub(super) struct Published {
    pub(super) sums: Sums,
    /// As each track said last.
    tracks: HashMap<TrackId, TrackStats>,
}

impl Published {
    /// Takes the absolute counts of all tracks that there are.
    pub(super) fn take(&mut self, tracks: &[TrackStats]) {
        for now in tracks {
            let before = self.tracks.get(&now.track);
            // A track that began anew under its old id says less than before: then nothing is added.
            let more = |of: fn(&TrackStats) -> u64| of(now).saturating_sub(before.map_or(0, of));
            let add = |sum: &mut u64, more| *sum = sum.saturating_add(more);
            add(&mut self.sums.packets, more(|track| track.packets));
            add(&mut self.sums.bytes, more(|track| track.bytes));
            add(&mut self.sums.keyframes, more(|track| track.keyframes));
            add(&mut self.sums.lost, more(|track| track.lost));
        }
        self.tracks = tracks.iter().map(|track| (track.track, *track)).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(id: u64, packets: u64, lost: u64) -> TrackStats {
        TrackStats {
            track: TrackId(id),
            packets,
            bytes: packets * 1000,
            keyframes: 1,
            lost,
            viewers: 9,
        }
    }

    #[test]
    fn sums_only_grow() {
        let mut published = Published::default();
        published.take(&[track(1, 100, 1), track(2, 50, 0)]);
        published.take(&[track(1, 150, 3), track(2, 60, 0)]);
        let sums = published.sums;
        assert_eq!((sums.packets, sums.bytes, sums.lost), (210, 210_000, 3));
        published.take(&[track(2, 70, 0)]);
        published.take(&[track(2, 70, 0), track(3, 5, 2)]);
        assert_eq!((published.sums.packets, published.sums.lost), (225, 5));
        assert_eq!(published.sums.keyframes, 3);
    }
}
