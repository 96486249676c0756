//! Why something was thrown away. Peers are hostile: their noise is counted, never logged.

/// Reasons, each with its own counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// First byte of no protocol that we speak (RFC 7983 §7).
    NotOurs,
    /// STUN that doesn't parse, or isn't a Binding request.
    StunMalformed,
    /// STUN for a username fragment that no session has.
    StunUnknownUser,
    /// STUN whose MESSAGE-INTEGRITY is missing or wrong.
    StunIntegrity,
    /// DTLS, SRTP or SRTCP from an address that no valid check came from.
    UnknownAddress,
    /// DTLS that the session's association refused.
    Dtls,
    /// DTLS of a handshake when too many are going on; the client sends it again.
    HandshakeBacklog,
    /// RTP that doesn't parse.
    RtpMalformed,
    /// SRTP that was not accepted: unknown stream, replayed, or not authentic.
    RtpRejected,
    /// Media before the keys were there.
    NoKeys,
    /// SRTCP that doesn't parse or isn't authentic.
    RtcpRejected,
    /// SRTCP seen before.
    RtcpReplayed,
    /// A packet too old for the history of its track.
    Late,
    /// Received twice.
    Duplicate,
    /// Payload type that the subscriber didn't negotiate.
    PayloadTypeUnmapped,
    /// Larger than a datagram can be after protection.
    Oversized,
    /// No send buffer was free.
    NoSendBuffer,
    /// NACK for a packet that the history no longer or never had.
    NackUnknown,
    /// NACK for a packet that was sent again moments ago.
    NackCooldown,
    /// NACK beyond the subscriber's budget.
    NackBudget,
    /// Message on the control channel that is too long or not text.
    ChannelMessage,
    /// Message on a control channel from who signals far more than there can be to signal.
    ChannelTooFast,
    /// Message for a channel that is not open or that doesn't drain.
    ChannelBacklog,
    /// Message on a chat channel that is too long or not text.
    ChatMessage,
    /// Message on a chat channel from who says too much.
    ChatTooFast,
    /// Handed to a worker that didn't want it any more.
    Handover,
}

impl DropReason {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// All of them, in the order of their counters.
    pub const ALL: [Self; 26] = [
        Self::NotOurs,
        Self::StunMalformed,
        Self::StunUnknownUser,
        Self::StunIntegrity,
        Self::UnknownAddress,
        Self::Dtls,
        Self::HandshakeBacklog,
        Self::RtpMalformed,
        Self::RtpRejected,
        Self::NoKeys,
        Self::RtcpRejected,
        Self::RtcpReplayed,
        Self::Late,
        Self::Duplicate,
        Self::PayloadTypeUnmapped,
        Self::Oversized,
        Self::NoSendBuffer,
        Self::NackUnknown,
        Self::NackCooldown,
        Self::NackBudget,
        Self::ChannelMessage,
        Self::ChannelTooFast,
        Self::ChannelBacklog,
        Self::ChatMessage,
        Self::ChatTooFast,
        Self::Handover,
    ];

    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotOurs => "not_ours",
            Self::StunMalformed => "stun_malformed",
            Self::StunUnknownUser => "stun_unknown_user",
            Self::StunIntegrity => "stun_integrity",
            Self::UnknownAddress => "unknown_address",
            Self::Dtls => "dtls",
            Self::HandshakeBacklog => "handshake_backlog",
            Self::RtpMalformed => "rtp_malformed",
            Self::RtpRejected => "rtp_rejected",
            Self::NoKeys => "no_keys",
            Self::RtcpRejected => "rtcp_rejected",
            Self::RtcpReplayed => "rtcp_replayed",
            Self::Late => "late",
            Self::Duplicate => "duplicate",
            Self::PayloadTypeUnmapped => "payload_type_unmapped",
            Self::Oversized => "oversized",
            Self::NoSendBuffer => "no_send_buffer",
            Self::NackUnknown => "nack_unknown",
            Self::NackCooldown => "nack_cooldown",
            Self::NackBudget => "nack_budget",
            Self::ChannelMessage => "channel_message",
            Self::ChannelTooFast => "channel_too_fast",
            Self::ChannelBacklog => "channel_backlog",
            Self::ChatMessage => "chat_message",
            Self::ChatTooFast => "chat_too_fast",
            Self::Handover => "handover",
        }
    }
}

/// One counter a reason.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drops([u64; DropReason::COUNT]);

impl Drops {
    pub(crate) fn count(&mut self, reason: DropReason) {
        self.0[reason as usize] += 1;
    }

    pub(crate) fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_and_name() {
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert_eq!(
                DropReason::ALL
                    .iter()
                    .filter(|r| r.as_str() == reason.as_str())
                    .count(),
                1
            );
        }
    }
}
