//! Retransmission (RFC 4588): a viewer's NACK is answered from the history that all viewers share.

use std::time::{Duration, Instant};

use super::rewrite::Stream;
use super::{Route, Sender, Sent};
use crate::drops::DropReason;
use crate::egress::Egress;
use crate::packet::{MAX_PAYLOAD, Packet};

/// A packet is not sent again to the same viewer within this time: shorter than any useful round trip, longer than the
/// spread of the NACKs that one loss provokes.
const COOLDOWN: Duration = Duration::from_millis(10);
/// Remembered retransmissions of one viewer.
const REMEMBERED: usize = 32;
/// Retransmissions to one viewer in [`BUDGET_INTERVAL`]: 3 Mbit/s of 1200-byte packets, so a viewer at twice that rate
/// may lose half of it.
const BUDGET: u32 = 32;
/// The same when the core has hardly time for packets that are sent once.
const STRAINED_BUDGET: u32 = BUDGET / 4;
const BUDGET_INTERVAL: Duration = Duration::from_millis(100);

/// Keeps one viewer from having its losses amplified.
#[derive(Debug)]
pub(crate) struct RtxBudget {
    left: u32,
    refill: Instant,
    /// SSRC, sequence number and time, direct-mapped by sequence number. Made with the first NACK.
    recent: Option<Box<[(u32, u16, Instant); REMEMBERED]>>,
}

impl RtxBudget {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            left: BUDGET,
            refill: now + BUDGET_INTERVAL,
            recent: None,
        }
    }

    /// Takes one retransmission from the budget. `strained`: from a small one.
    pub(crate) fn take(
        &mut self,
        ssrc: u32,
        sequence: u16,
        now: Instant,
        strained: bool,
    ) -> Result<(), DropReason> {
        if now >= self.refill {
            self.left = if strained { STRAINED_BUDGET } else { BUDGET };
            self.refill = now + BUDGET_INTERVAL;
        }
        let recent = self
            .recent
            .get_or_insert_with(|| Box::new([(0, 0, now); REMEMBERED]));
        let slot = &mut recent[usize::from(sequence) % REMEMBERED];
        if (slot.0, slot.1) == (ssrc, sequence) && now.saturating_duration_since(slot.2) < COOLDOWN {
            return Err(DropReason::NackCooldown);
        }
        if self.left == 0 {
            return Err(DropReason::NackBudget);
        }
        self.left -= 1;
        *slot = (ssrc, sequence, now);
        Ok(())
    }
}

/// Sends `packet` again along `route`, which knows it under `sequence`, without its padding.
pub(crate) fn resend(
    route: &mut Route,
    sender: &mut Sender,
    packet: &Packet,
    sequence: u16,
    now: Instant,
    egress: &mut impl Egress,
    sent: &mut Sent,
) -> Result<(), DropReason> {
    let (map, payload) = route.payload(packet).ok_or(DropReason::PayloadTypeUnmapped)?;
    let media = payload.len().saturating_sub(usize::from(packet.padding));
    let payload = payload.get(..media).unwrap_or_default();
    let (Some(ssrc), Some(pt)) = (route.cold.rtx_ssrc, map.rtx_to) else {
        return Err(DropReason::NackUnknown);
    };
    // RFC 4588 §4: the original sequence number, then the original payload.
    let mut original = [0u8; 2 + MAX_PAYLOAD];
    let original = original
        .get_mut(..2 + payload.len())
        .ok_or(DropReason::Oversized)?;
    original[..2].copy_from_slice(&sequence.to_be_bytes());
    original[2..].copy_from_slice(payload);

    let stream = Stream {
        pt,
        ssrc,
        index: route.cold.rtx_next,
        timestamp: route.timestamp(packet.timestamp),
    };
    let slot = egress.slot().ok_or(DropReason::NoSendBuffer)?;
    let header = route.write_header(packet, stream, sender, now, slot)?;
    let len = sender
        .protect
        .rtp(slot, header, ssrc, route.cold.rtx_next, original)
        .map_err(|_| DropReason::Oversized)?;
    route.cold.rtx_next += 1;
    egress.send(sender.path, len, len);
    sent.packets += 1;
    sent.bytes += len as u64;
    sent.sends += 1;
    sent.rtx_packets += 1;
    Ok(())
}
