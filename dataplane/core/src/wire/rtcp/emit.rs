//! Writing RTCP. Each function writes one packet to the start of `out` and returns its bytes; a compound is made by
//! writing one behind the other.

use super::super::WireError;
use super::super::cursor::Writer;
use super::{CNAME, ReportBlock, format, packet_type};

type Result<T> = std::result::Result<T, WireError>;

/// Report blocks and chunks that five bits can count.
const MAX_COUNT: usize = 31;

/// Header with the length still 0.
fn begin(out: &mut [u8], count: u8, packet_type: u8) -> Result<Writer<'_>> {
    let mut writer = Writer::new(out);
    writer.put(&[0x80 | count, packet_type, 0, 0])?;
    Ok(writer)
}

/// Fills in the length: 32-bit words without the first (RFC 3550 §6.4.1).
fn end(mut writer: Writer<'_>) -> Result<usize> {
    let words = u16::try_from(writer.len() / 4 - 1).map_err(|_| WireError::BadLength)?;
    writer.patch_u16(2, words)?;
    Ok(writer.len())
}

fn count_of<T>(list: &[T]) -> Result<u8> {
    u8::try_from(list.len())
        .ok()
        .filter(|n| usize::from(*n) <= MAX_COUNT)
        .ok_or(WireError::BadElement)
}

fn put_report(writer: &mut Writer<'_>, block: &ReportBlock) -> Result<()> {
    // RFC 3550 §6.4.1: 24 bits, signed; clamped, not wrapped (appendix A.3).
    let lost = block.cumulative_lost.clamp(-0x0080_0000, 0x007F_FFFF);
    let [_, high, middle, low] = lost.to_be_bytes();
    writer.u32(block.ssrc)?;
    writer.put(&[block.fraction_lost, high, middle, low])?;
    writer.u32(block.highest_sequence)?;
    writer.u32(block.jitter)?;
    writer.u32(block.last_sr)?;
    writer.u32(block.delay_since_last_sr)
}

/// A sender report without report blocks: 28 bytes. `ntp` is 32.32, `rtp` the same moment in the media clock.
///
/// # Errors
/// [`WireError::NoSpace`]
pub fn emit_sender_report(
    out: &mut [u8],
    ssrc: u32,
    ntp: u64,
    rtp: u32,
    packets: u32,
    octets: u32,
) -> Result<usize> {
    emit_sender_report_with(out, ssrc, ntp, rtp, (packets, octets), &[])
}

/// A sender report (RFC 3550 §6.4.1) with up to 31 report blocks. `sent` is packets and payload bytes.
///
/// # Errors
/// [`WireError::NoSpace`]; [`WireError::BadElement`] for more than 31 blocks.
pub fn emit_sender_report_with(
    out: &mut [u8],
    ssrc: u32,
    ntp: u64,
    rtp: u32,
    sent: (u32, u32),
    reports: &[ReportBlock],
) -> Result<usize> {
    let mut writer = begin(out, count_of(reports)?, packet_type::SENDER_REPORT)?;
    writer.u32(ssrc)?;
    writer.u64(ntp)?;
    writer.u32(rtp)?;
    writer.u32(sent.0)?;
    writer.u32(sent.1)?;
    reports
        .iter()
        .try_for_each(|block| put_report(&mut writer, block))?;
    end(writer)
}

/// A receiver report (RFC 3550 §6.4.2) with up to 31 report blocks.
///
/// # Errors
/// [`WireError::NoSpace`]; [`WireError::BadElement`] for more than 31 blocks.
pub fn emit_receiver_report(out: &mut [u8], ssrc: u32, reports: &[ReportBlock]) -> Result<usize> {
    let mut writer = begin(out, count_of(reports)?, packet_type::RECEIVER_REPORT)?;
    writer.u32(ssrc)?;
    reports
        .iter()
        .try_for_each(|block| put_report(&mut writer, block))?;
    end(writer)
}

/// A source description with one chunk that holds the CNAME (RFC 3550 §6.5.1), at most 255 bytes.
///
/// # Errors
/// [`WireError::NoSpace`]; [`WireError::BadElement`] for a longer name.
pub fn emit_sdes_cname(out: &mut [u8], ssrc: u32, cname: &str) -> Result<usize> {
    let len = u8::try_from(cname.len()).map_err(|_| WireError::BadElement)?;
    let mut writer = begin(out, 1, packet_type::SDES)?;
    writer.u32(ssrc)?;
    writer.put(&[CNAME, len])?;
    writer.put(cname.as_bytes())?;
    writer.u8(0)?; // end of the chunk
    writer.pad()?;
    end(writer)
}

/// Goodbye (RFC 3550 §6.6) of up to 31 sources, without a reason.
///
/// # Errors
/// [`WireError::NoSpace`]; [`WireError::BadElement`] for more than 31 sources.
pub fn emit_bye(out: &mut [u8], sources: &[u32]) -> Result<usize> {
    let mut writer = begin(out, count_of(sources)?, packet_type::BYE)?;
    sources.iter().try_for_each(|ssrc| writer.u32(*ssrc))?;
    end(writer)
}

/// Picture loss indication (RFC 4585 §6.3.1): 12 bytes.
///
/// # Errors
/// [`WireError::NoSpace`]
pub fn emit_pli(out: &mut [u8], sender: u32, media: u32) -> Result<usize> {
    let mut writer = begin(out, format::PLI, packet_type::PAYLOAD_FEEDBACK)?;
    writer.u32(sender)?;
    writer.u32(media)?;
    end(writer)
}

/// Full intra request (RFC 5104 §4.3.1) for streams and their command sequence numbers.
///
/// # Errors
/// [`WireError::NoSpace`]
pub fn emit_fir(out: &mut [u8], sender: u32, entries: &[(u32, u8)]) -> Result<usize> {
    let mut writer = begin(out, format::FIR, packet_type::PAYLOAD_FEEDBACK)?;
    writer.u32(sender)?;
    writer.u32(0)?; // RFC 5104 §4.3.1.2: the media source stands in the entries
    for (ssrc, sequence) in entries {
        writer.u32(*ssrc)?;
        writer.put(&[*sequence, 0, 0, 0])?;
    }
    end(writer)
}

/// Generic NACK (RFC 4585 §6.2.1). `lost` in ascending order (wrapping) is packed best; nothing at all is an error.
///
/// # Errors
/// [`WireError::NoSpace`]; [`WireError::BadElement`] when nothing is lost.
pub fn emit_nack(
    out: &mut [u8],
    sender: u32,
    media: u32,
    lost: impl IntoIterator<Item = u16>,
) -> Result<usize> {
    let mut writer = begin(out, format::NACK, packet_type::TRANSPORT_FEEDBACK)?;
    writer.u32(sender)?;
    writer.u32(media)?;
    let mut lost = lost.into_iter();
    let mut pid = lost.next().ok_or(WireError::BadElement)?;
    let mut blp = 0u16;
    for sequence in lost {
        match sequence.wrapping_sub(pid) {
            0 => {}
            distance @ 1..=16 => blp |= 1 << (distance - 1),
            _ => {
                writer.u16(pid)?;
                writer.u16(blp)?;
                (pid, blp) = (sequence, 0);
            }
        }
    }
    writer.u16(pid)?;
    writer.u16(blp)?;
    end(writer)
}

/// Receiver estimated maximum bit rate (draft-alvestrand-rmcat-remb-03 §2.2), bit/s, rounded down to 18 bits.
///
/// # Errors
/// [`WireError::NoSpace`]; [`WireError::BadElement`] for more than 255 sources.
pub fn emit_remb(out: &mut [u8], sender: u32, bitrate: u64, sources: &[u32]) -> Result<usize> {
    let count = u8::try_from(sources.len()).map_err(|_| WireError::BadElement)?;
    let exponent = (u64::BITS - bitrate.leading_zeros()).saturating_sub(18);
    let [.., high, middle, low] = (bitrate >> exponent).to_be_bytes();
    let exponent = u8::try_from(exponent).map_err(|_| WireError::BadElement)?;
    let mut writer = begin(out, format::APPLICATION, packet_type::PAYLOAD_FEEDBACK)?;
    writer.u32(sender)?;
    writer.u32(0)?;
    writer.put(b"REMB")?;
    writer.put(&[count, exponent << 2 | high, middle, low])?;
    sources.iter().try_for_each(|ssrc| writer.u32(*ssrc))?;
    end(writer)
}
