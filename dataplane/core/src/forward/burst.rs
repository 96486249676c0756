//! A burst to one viewer: its packets sealed side by side, sent with as few sends as their sizes allow.

use std::time::Instant;

use super::{Route, Sender, Sent};
use crate::drops::DropReason;
use crate::egress::{Egress, MAX_SEGMENTS, Path, SLOT};
use crate::packet::{MAX_PAYLOAD, Packet};
use crate::track::History;

/// A protected packet never is larger; what would be is dropped before.
const MAX_DATAGRAM: usize = MAX_PAYLOAD + 512;

/// Datagrams gathered in the current slot: all of one size, but for a shorter last one.
#[derive(Default)]
struct Train {
    len: usize,
    segment: usize,
    count: usize,
}

impl Train {
    /// Whether a datagram of `len` may still ride.
    fn takes(&self, len: usize) -> bool {
        self.count == 0 || (len <= self.segment && self.len == self.segment * self.count)
    }

    fn add(&mut self, len: usize) {
        if self.count == 0 {
            self.segment = len;
        }
        self.len += len;
        self.count += 1;
    }

    /// Whether the next datagram certainly needs another slot.
    fn is_full(&self, next: usize) -> bool {
        self.count >= MAX_SEGMENTS || self.len < self.segment * self.count || self.len + next > SLOT
    }

    fn send(&mut self, to: Path, egress: &mut impl Egress, sent: &mut Sent) {
        if self.count > 0 {
            egress.send(to, self.len, self.segment);
            sent.packets += self.count as u64;
            sent.bytes += self.len as u64;
            sent.sends += 1;
        }
        *self = Self::default();
    }
}

/// Sends the packets `burst` of `history` along `route`.
pub(crate) fn forward_burst(
    route: &mut Route,
    sender: &mut Sender,
    history: &History,
    burst: &[u64],
    now: Instant,
    egress: &mut impl Egress,
    sent: &mut Sent,
) {
    let mut train = Train::default();
    for packet in burst.iter().filter_map(|seq| history.get(*seq)) {
        if !route.admit(packet, now, &mut sent.begun) {
            continue;
        }
        if let Err(reason) = append(route, sender, packet, now, &mut train, egress, sent) {
            sent.drops.count(reason);
        }
    }
    train.send(sender.path, egress, sent);
}

fn append(
    route: &mut Route,
    sender: &mut Sender,
    packet: &Packet,
    now: Instant,
    train: &mut Train,
    egress: &mut impl Egress,
    sent: &mut Sent,
) -> Result<(), DropReason> {
    if train.count > 0 && train.is_full(Route::bound(packet)) {
        train.send(sender.path, egress, sent);
    }
    let slot = egress.slot().ok_or(DropReason::NoSendBuffer)?;
    let room = slot.get_mut(train.len..).ok_or(DropReason::Oversized)?;
    let len = route.emit(packet, sender, now, room)?;
    if train.takes(len) {
        train.add(len);
        return Ok(());
    }
    // Larger than those before: it starts the next train. A second seal would use its nonce twice, so it moves.
    let mut moved = [0u8; MAX_DATAGRAM];
    let moved = moved.get_mut(..len).ok_or(DropReason::Oversized)?;
    moved.copy_from_slice(&room[..len]);
    train.send(sender.path, egress, sent);
    let slot = egress.slot().ok_or(DropReason::NoSendBuffer)?;
    slot.get_mut(..len)
        .ok_or(DropReason::Oversized)?
        .copy_from_slice(moved);
    train.add(len);
    Ok(())
}
