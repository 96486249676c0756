//! Segmentation offload wants datagrams of one size, and an encoder's packets differ by a few bytes. RTP padding
//! (RFC 3550 §5.1) makes up for that: once for each packet, in the plaintext that all viewers share.

use crate::packet::Packet;
use crate::track::History;

/// RFC 3550 §5.1: the count is one byte and counts itself.
const MAX_PADDING: usize = 255;
/// At most this part of what is sent is padding: a send less is worth about four packets' time, but links have limits.
const PADDING_SHARE: usize = 20;

/// Pads packets of the burst such that runs of them have one size, but for a shorter last one.
pub(crate) fn equalise(history: &mut History, burst: &[u64]) {
    let mut rest = burst;
    while !rest.is_empty() {
        let train = Train::longest(rest.iter().map_while(|seq| history.get(*seq)));
        let (members, next) = rest.split_at(train.count.clamp(1, rest.len()));
        // The last one may be shorter as it is.
        for seq in members
            .split_last()
            .map_or(members, |(_, all_but_last)| all_but_last)
        {
            if let Some(packet) = history.get_mut(*seq) {
                packet.pad_to(train.largest);
            }
        }
        rest = next;
    }
}

/// Packets that are worth being made equal.
#[derive(Debug, Default, PartialEq, Eq)]
struct Train {
    count: usize,
    /// The size that they get: bytes of payload.
    largest: usize,
    smallest: usize,
    sum: usize,
    /// Bytes of the extensions that travel along: with the same, equal payloads are equal datagrams for every viewer.
    extensions: usize,
}

impl Train {
    fn longest<'p>(packets: impl Iterator<Item = &'p Packet>) -> Self {
        let mut train = Self::default();
        for packet in packets {
            let (len, extensions) = (packet.payload.len(), packet.extensions.len());
            if let Some(longer) = train.with(len, extensions) {
                train = longer;
                continue;
            }
            // As a shorter last one it still rides.
            if len + extensions <= train.largest + train.extensions {
                train.count += 1;
            }
            break;
        }
        train
    }

    /// With one more, if the padding stays small.
    fn with(&self, len: usize, extensions: usize) -> Option<Self> {
        if self.count == 0 {
            return Some(Self {
                count: 1,
                largest: len,
                smallest: len,
                sum: len,
                extensions,
            });
        }
        let longer = Self {
            count: self.count + 1,
            largest: self.largest.max(len),
            smallest: self.smallest.min(len),
            sum: self.sum + len,
            extensions,
        };
        let padding = longer.largest * longer.count - longer.sum;
        let fits = extensions == self.extensions
            && longer.largest - longer.smallest <= MAX_PADDING
            && padding * PADDING_SHARE <= longer.sum;
        fits.then_some(longer)
    }
}

#[cfg(test)]
mod tests {
    use weever_proto::{ExtensionKind, Kind};

    use super::*;
    use crate::packet::Extensions;
    use crate::track::Track;

    /// Sizes of packets that went in, with the bytes of their extensions; out come payloads and their padding.
    fn equalised(sizes: &[(usize, usize)]) -> Vec<(usize, u8)> {
        let mut track = Track::new(weever_proto::TrackId(1), Kind::Video);
        let mut drops = crate::drops::Drops::default();
        let content = vec![7; 255];
        for (seq, (len, extension)) in (1u64..).zip(sizes) {
            let items =
                (*extension > 0).then(|| (ExtensionKind::DependencyDescriptor, &content[..*extension]));
            let packet = Packet {
                seq,
                timestamp: 0,
                pt: 96,
                marker: false,
                keyframe: false,
                extensions: Extensions::collect(items.into_iter()),
                payload: vec![1; *len].into(),
                padding: 0,
            };
            track.push(packet, std::time::Instant::now(), &mut drops);
        }
        let burst = std::mem::take(&mut track.pending.seqs);
        equalise(&mut track.history, &burst);
        let packets = burst.iter().filter_map(|seq| track.history.get(*seq));
        packets
            .map(|packet| {
                let (media, padding) = packet.payload.split_at(packet.media().len());
                assert!(media.iter().all(|byte| *byte == 1));
                assert_eq!(padding.len(), usize::from(packet.padding));
                assert!(padding.split_last().is_none_or(|(count, zeros)| {
                    *count == packet.padding && zeros.iter().all(|byte| *byte == 0)
                }));
                (packet.payload.len(), packet.padding)
            })
            .collect()
    }

    fn payloads(sizes: &[usize]) -> Vec<(usize, u8)> {
        equalised(&sizes.iter().map(|size| (*size, 0)).collect::<Vec<_>>())
    }

    #[test]
    fn packets_that_differ_a_little_become_equal() {
        assert_eq!(payloads(&[]), []);
        assert_eq!(payloads(&[100]), [(100, 0)]);
        assert_eq!(
            payloads(&[1100, 1101, 1100, 1101]),
            [(1101, 1), (1101, 0), (1101, 1), (1101, 0)]
        );
        assert_eq!(payloads(&[1150, 1100, 1150]), [(1150, 0), (1150, 50), (1150, 0)]);
    }

    #[test]
    fn the_last_may_be_shorter_and_so_may_the_last_of_a_frame_in_between() {
        assert_eq!(payloads(&[1100, 1100, 30]), [(1100, 0), (1100, 0), (30, 0)]);
        assert_eq!(payloads(&[1100, 1090]), [(1100, 0), (1090, 0)]);
        assert_eq!(
            payloads(&[1100, 300, 1100, 1099, 1100]),
            [(1100, 0), (300, 0), (1100, 0), (1100, 1), (1100, 0)]
        );
    }

    #[test]
    fn padding_stays_a_small_part() {
        // Parameter sets before a keyframe: a train of their own.
        assert_eq!(
            payloads(&[30, 8, 1100, 1100]),
            [(30, 0), (8, 0), (1100, 0), (1100, 0)]
        );
        assert_eq!(payloads(&[1000, 1100]), [(1100, 100), (1100, 0)]);
        assert_eq!(payloads(&[900, 1100]), [(900, 0), (1100, 0)]);
        for spread in 1..400 {
            let sizes: Vec<_> = (0..40).map(|n| 1000 - (n * 37) % spread).collect();
            let out = payloads(&sizes);
            let padding: usize = out.iter().map(|(_, padding)| usize::from(*padding)).sum();
            assert!(padding * PADDING_SHARE <= sizes.iter().sum(), "{spread}: {out:?}");
        }
    }

    #[test]
    fn packets_with_other_extensions_begin_a_train() {
        assert_eq!(
            equalised(&[(1000, 40), (1040, 3), (1041, 3), (1039, 3)]),
            [(1000, 0), (1041, 1), (1041, 0), (1039, 0)]
        );
    }
}
