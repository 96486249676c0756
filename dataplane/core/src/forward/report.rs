//! Sender reports: what the publisher says of its clock, in each viewer's numbers, so that a publisher's audio and
//! video stay in step (RFC 3550 §6.4.1).

use super::{Route, Sender, Sent};
use crate::drops::DropReason;
use crate::egress::Egress;
use crate::track::SenderReport;
use crate::wire::rtcp::{emit_sdes_cname, emit_sender_report};

/// Sends the report along a route that media went along.
pub(crate) fn send_report(
    route: &Route,
    cname: &str,
    report: SenderReport,
    sender: &mut Sender,
    egress: &mut impl Egress,
    sent: &mut Sent,
) {
    let Some(slot) = egress.slot() else {
        return sent.drops.count(DropReason::NoSendBuffer);
    };
    let timestamp = route.timestamp(report.timestamp);
    let compound = emit_sender_report(
        slot,
        route.ssrc,
        report.ntp,
        timestamp,
        route.packets,
        route.octets,
    )
    .and_then(|sr| {
        let rest = slot.get_mut(sr..).unwrap_or_default();
        Ok(sr + emit_sdes_cname(rest, route.ssrc, cname)?)
    });
    let protected = match compound {
        Ok(len) => sender.protect.rtcp(slot, len).ok(),
        Err(_) => None,
    };
    let Some(len) = protected else {
        return sent.drops.count(DropReason::Oversized);
    };
    egress.send(sender.path, len, len);
    sent.packets += 1;
    sent.bytes += len as u64;
    sent.sends += 1;
}
