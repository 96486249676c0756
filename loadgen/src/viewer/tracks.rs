//! What a payload type or an SSRC is, by what was negotiated.

use crate::media::Codec;
use crate::sdp::{PtUse, Track};

/// What a packet of an SSRC not seen before is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Belongs {
    /// Media of this m-line.
    Media(usize),
    /// Retransmissions for this m-line, of this payload type; the SSRC that they repeat, where the SDP says it.
    Rtx {
        track: usize,
        apt: u8,
        primary: Option<u32>,
    },
}

/// Finds the m-line by its mid, then by SSRC, then by payload type (RFC 9143 §9.2).
pub(super) fn belongs(
    tracks: &[Track],
    ssrc: u32,
    pt: u8,
    mid: impl Fn(u8) -> Option<String>,
) -> Option<Belongs> {
    let use_of = |track: &Track| {
        let (_, what) = track.pts.iter().find(|(one, _)| *one == pt)?;
        Some(*what)
    };
    let by_mid = tracks.iter().position(|track| {
        use_of(track).is_some() && track.mid_id.and_then(&mid).is_some_and(|mid| mid == track.mid)
    });
    let by_pair = || {
        tracks
            .iter()
            .position(|track| track.pairs.iter().any(|pair| pair.0 == ssrc || pair.1 == ssrc))
    };
    let by_pt = || tracks.iter().position(|track| use_of(track).is_some());
    let index = by_mid.or_else(by_pair).or_else(by_pt)?;
    let track = tracks.get(index)?;
    Some(match use_of(track)? {
        PtUse::Media(_) => Belongs::Media(index),
        PtUse::Rtx(apt) => Belongs::Rtx {
            track: index,
            apt,
            primary: track
                .pairs
                .iter()
                .find(|(_, rtx)| *rtx == ssrc)
                .map(|(primary, _)| *primary),
        },
    })
}

/// The codec of a payload type in an m-line.
pub(super) fn codec(track: &Track, pt: u8) -> Option<Codec> {
    track.pts.iter().find_map(|(one, what)| match what {
        PtUse::Media(codec) if *one == pt => *codec,
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(mid: &str, pts: &[(u8, PtUse)], pairs: &[(u32, u32)]) -> Track {
        Track {
            mid: mid.into(),
            video: true,
            clock_rate: 90_000,
            pts: pts.to_vec(),
            pairs: pairs.to_vec(),
            nack: true,
            pli: true,
            mid_id: Some(1),
            twcc_id: None,
        }
    }

    #[test]
    fn an_ssrc_is_found_by_what_is_known_of_it() {
        let pts = [(96, PtUse::Media(Some(Codec::Vp8))), (97, PtUse::Rtx(96))];
        let tracks = [track("a", &pts, &[(10, 11)]), track("b", &pts, &[])];
        let nothing = |_| None;
        let says_b = |id| (id == 1).then(|| "b".to_owned());
        assert_eq!(belongs(&tracks, 5, 96, nothing), Some(Belongs::Media(0)));
        assert_eq!(belongs(&tracks, 5, 96, says_b), Some(Belongs::Media(1)));
        assert_eq!(
            belongs(&tracks, 11, 97, nothing),
            Some(Belongs::Rtx {
                track: 0,
                apt: 96,
                primary: Some(10)
            })
        );
        assert_eq!(
            belongs(&tracks, 12, 97, says_b),
            Some(Belongs::Rtx {
                track: 1,
                apt: 96,
                primary: None
            })
        );
        assert_eq!(belongs(&tracks, 5, 50, nothing), None);
        assert_eq!(codec(&tracks[0], 96), Some(Codec::Vp8));
        assert_eq!(codec(&tracks[0], 97), None);
    }
}
