//! A packet of a track: plaintext, parsed once, shared by every viewer.

use std::sync::Arc;

use weever_proto::ExtensionKind;

/// One RTP packet of a track.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    /// Extended sequence number in the track's own, never broken count.
    pub(crate) seq: u64,
    /// In the track's own, never broken count, at the codec's clock.
    pub(crate) timestamp: u32,
    pub(crate) pt: u8,
    pub(crate) marker: bool,
    /// It begins a keyframe.
    pub(crate) keyframe: bool,
    /// Header extensions that travel with the media.
    pub(crate) extensions: Extensions,
    /// With `padding`.
    pub(crate) payload: Arc<[u8]>,
    /// Bytes at the end of the payload that mean nothing (RFC 3550 §5.1).
    pub(crate) padding: u8,
}

impl Packet {
    /// The payload without padding.
    pub(crate) fn media(&self) -> &[u8] {
        let end = self.payload.len().saturating_sub(usize::from(self.padding));
        self.payload.get(..end).unwrap_or_default()
    }

    /// Pads the payload to `len` bytes; not if that takes more than 255, or if it is padded already.
    pub(crate) fn pad_to(&mut self, len: usize) {
        let missing = len.saturating_sub(self.payload.len());
        let (Ok(count @ 1..), 0) = (u8::try_from(missing), self.padding) else {
            return;
        };
        let zeros = std::iter::repeat_n(0, missing - 1);
        let padded = self.payload.iter().copied().chain(zeros).chain([count]);
        self.payload = padded.collect();
        self.padding = count;
    }
}

/// Largest payload that is forwarded, bytes: what an Ethernet frame carries.
pub(crate) const MAX_PAYLOAD: usize = 1500;

/// Header extensions as they came, without their ids: what they mean, length, bytes, one after the other. Viewers put
/// their own ids to them; the contents are never looked at.
#[derive(Debug, Clone)]
pub(crate) enum Extensions {
    /// Up to [`INLINE`] bytes; most packets carry an audio level (3) or nothing.
    Inline { len: u8, bytes: [u8; INLINE] },
    /// More: AV1's dependency structure comes with keyframes.
    Shared(Arc<[u8]>),
}

const INLINE: usize = 22;

/// Kinds that belong to the media.
const TRAVEL: [ExtensionKind; 5] = [
    ExtensionKind::AudioLevel,
    ExtensionKind::PlayoutDelay,
    ExtensionKind::VideoOrientation,
    ExtensionKind::DependencyDescriptor,
    ExtensionKind::AbsCaptureTime,
];

impl Default for Extensions {
    fn default() -> Self {
        Self::Inline {
            len: 0,
            bytes: [0; INLINE],
        }
    }
}

impl Extensions {
    /// Whether an extension belongs to the media and so is forwarded. The others are each side's own.
    pub(crate) fn travels(kind: ExtensionKind) -> bool {
        TRAVEL.contains(&kind)
    }

    /// Collects extensions; those that are too long for the form (255 bytes, RFC 8285 §4.3) don't exist.
    pub(crate) fn collect<'a>(items: impl Iterator<Item = (ExtensionKind, &'a [u8])>) -> Self {
        let mut inline = [0u8; INLINE];
        let mut used = 0;
        let mut overflow: Option<Vec<u8>> = None;
        for (kind, data) in items {
            let Ok(len) = u8::try_from(data.len()) else {
                continue;
            };
            let head = [kind as u8, len];
            let end = used + 2 + data.len();
            if let Some(bytes) = &mut overflow {
                bytes.extend_from_slice(&head);
                bytes.extend_from_slice(data);
            } else if let Some(room) = inline.get_mut(used..end) {
                room[..2].copy_from_slice(&head);
                room[2..].copy_from_slice(data);
                used = end;
            } else {
                let mut bytes = inline[..used].to_vec();
                bytes.extend_from_slice(&head);
                bytes.extend_from_slice(data);
                overflow = Some(bytes);
            }
        }
        match overflow {
            Some(bytes) => Self::Shared(bytes.into()),
            None => Self::Inline {
                len: u8::try_from(used).unwrap_or(0),
                bytes: inline,
            },
        }
    }

    /// All of them as they travel: the kind's number, length, bytes, one after the other.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Shared(bytes) => bytes,
        }
    }

    /// From such bytes, which are well-formed. Kinds that are no media's don't get in.
    pub(crate) fn relayed(bytes: &[u8]) -> Self {
        let known = Items(bytes).filter_map(|(number, data)| {
            let kind = TRAVEL.into_iter().find(|kind| *kind as u8 == number)?;
            Some((kind, data))
        });
        Self::collect(known)
    }

    /// Bytes of all, two for each that say what it is.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Inline { len, .. } => usize::from(*len),
            Self::Shared(bytes) => bytes.len(),
        }
    }

    /// What is in it: the kind's number and the bytes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        Items(self.bytes())
    }
}

/// Extensions one by one.
struct Items<'a>(&'a [u8]);

impl<'a> Iterator for Items<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let [kind, len, tail @ ..] = self.0 else {
            return None;
        };
        let (data, rest) = tail.split_at_checked(usize::from(*len))?;
        self.0 = rest;
        Some((*kind, data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(items: &[(ExtensionKind, Vec<u8>)]) {
        let extensions = Extensions::collect(items.iter().map(|(k, d)| (*k, d.as_slice())));
        let back: Vec<_> = extensions.iter().map(|(k, d)| (k, d.to_vec())).collect();
        let want: Vec<_> = items.iter().map(|(k, d)| (*k as u8, d.clone())).collect();
        assert_eq!(back, want);
    }

    #[test]
    fn small_ones_stay_inline_and_large_ones_overflow() {
        round_trip(&[]);
        round_trip(&[(ExtensionKind::AudioLevel, vec![0x85])]);
        round_trip(&[
            (ExtensionKind::VideoOrientation, vec![1]),
            (ExtensionKind::PlayoutDelay, vec![1, 2, 3]),
        ]);
        round_trip(&[
            (ExtensionKind::AudioLevel, vec![1]),
            (ExtensionKind::DependencyDescriptor, vec![7; 120]),
        ]);
        round_trip(&[
            (ExtensionKind::DependencyDescriptor, vec![7; 255]),
            (ExtensionKind::AbsCaptureTime, vec![9; 16]),
        ]);
    }

    #[test]
    fn what_does_not_fit_the_form_is_left_out() {
        let long = vec![0; 256];
        let extensions = Extensions::collect([(ExtensionKind::AudioLevel, long.as_slice())].into_iter());
        assert_eq!(extensions.iter().count(), 0);
    }
}
