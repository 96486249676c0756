//! What a viewer's RTCP asks for, sorted by what it takes to do it.

use crate::wire::rtcp::{Compound, RtcpPacket};

/// Packets looked at in one compound: real ones have a handful.
const MAX_PACKETS: usize = 64;
/// Lost packets looked at in one compound: more than any history that could repair them.
const MAX_LOST: usize = 1024;

/// One wish of a viewer, about the stream that it knows as `ssrc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Send this packet again (RFC 4585 §6.2.1).
    Resend { ssrc: u32, sequence: u16 },
    /// Send a keyframe: PLI (RFC 4585 §6.3.1) or FIR (RFC 5104 §4.3.1).
    Keyframe { ssrc: u32 },
    /// Its report on a stream (RFC 3550 §6.4.2): it goes no further than us.
    Report,
}

/// Reads a plain compound packet. Bounded, whatever it says.
pub(crate) fn read(compound: &[u8], mut wish: impl FnMut(Wish)) {
    let mut lost_left = MAX_LOST;
    for packet in Compound::parse(compound).take(MAX_PACKETS) {
        match packet {
            RtcpPacket::Nack { media, lost, .. } => {
                for sequence in lost.take(lost_left) {
                    lost_left -= 1;
                    wish(Wish::Resend {
                        ssrc: media,
                        sequence,
                    });
                }
            }
            RtcpPacket::Pli { media, .. } => wish(Wish::Keyframe { ssrc: media }),
            RtcpPacket::Fir { entries, .. } => {
                for (ssrc, _) in entries.take(MAX_PACKETS) {
                    wish(Wish::Keyframe { ssrc });
                }
            }
            RtcpPacket::ReceiverReport { .. } => wish(Wish::Report),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::rtcp::{emit_fir, emit_nack, emit_pli, emit_receiver_report};

    fn wishes(compound: &[u8]) -> Vec<Wish> {
        let mut out = Vec::new();
        read(compound, |wish| out.push(wish));
        out
    }

    #[test]
    fn a_browsers_compound_is_understood() {
        let mut bytes = [0u8; 512];
        let mut len = emit_receiver_report(&mut bytes, 1, &[]).unwrap();
        len += emit_nack(&mut bytes[len..], 1, 7, [10u16, 12, 300]).unwrap();
        len += emit_pli(&mut bytes[len..], 1, 8).unwrap();
        len += emit_fir(&mut bytes[len..], 1, &[(9, 1)]).unwrap();
        assert_eq!(
            wishes(&bytes[..len]),
            [
                Wish::Report,
                Wish::Resend {
                    ssrc: 7,
                    sequence: 10
                },
                Wish::Resend {
                    ssrc: 7,
                    sequence: 12
                },
                Wish::Resend {
                    ssrc: 7,
                    sequence: 300
                },
                Wish::Keyframe { ssrc: 8 },
                Wish::Keyframe { ssrc: 9 },
            ]
        );
    }

    #[test]
    fn a_greedy_nack_is_cut() {
        let mut bytes = vec![0u8; 60_000];
        bytes[..12].copy_from_slice(&[0x81, 205, 0x3a, 0x97, 0, 0, 0, 1, 0, 0, 0, 7]);
        let words = u16::try_from(bytes.len() / 4 - 1).unwrap();
        bytes[2..4].copy_from_slice(&words.to_be_bytes());
        bytes[12..].fill(0xff);
        assert_eq!(wishes(&bytes).len(), MAX_LOST);
    }
}
