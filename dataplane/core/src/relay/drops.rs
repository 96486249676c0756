//! Why the relay threw something away.

/// Reasons, each with its own counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RelayDrop {
    /// A message that doesn't parse, or whose counts can't be.
    Malformed,
    /// About another track than the subject that it came on.
    WrongTrack,
    /// In clear, where messages are sealed.
    Unsealed,
    /// Sealed, where there are no keys.
    Sealed,
    /// Sealed by a key that isn't known here.
    UnknownKey,
    /// Its seal is broken: changed, or meant for another track.
    Forged,
    /// Seen before, or overtaken.
    Old,
    /// A wish of somebody who doesn't follow.
    NotFollowing,
    /// One follower too many for a track.
    TooManyFollowers,
    /// Not connected.
    Disconnected,
    /// The bus takes no more at the moment.
    Congested,
    /// Media that had waited here for too long.
    Stale,
    /// Larger than the bus takes.
    Oversized,
    /// The relay's own queue was full.
    QueueFull,
    /// What the bus delivered came faster than it was taken.
    SlowConsumer,
}

impl RelayDrop {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 15] = [
        Self::Malformed,
        Self::WrongTrack,
        Self::Unsealed,
        Self::Sealed,
        Self::UnknownKey,
        Self::Forged,
        Self::Old,
        Self::NotFollowing,
        Self::TooManyFollowers,
        Self::Disconnected,
        Self::Congested,
        Self::Stale,
        Self::Oversized,
        Self::QueueFull,
        Self::SlowConsumer,
    ];

    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::WrongTrack => "wrong_track",
            Self::Unsealed => "unsealed",
            Self::Sealed => "sealed",
            Self::UnknownKey => "unknown_key",
            Self::Forged => "forged",
            Self::Old => "old",
            Self::NotFollowing => "not_following",
            Self::TooManyFollowers => "too_many_followers",
            Self::Disconnected => "disconnected",
            Self::Congested => "congested",
            Self::Stale => "stale",
            Self::Oversized => "oversized",
            Self::QueueFull => "queue_full",
            Self::SlowConsumer => "slow_consumer",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_and_name() {
        for (index, reason) in RelayDrop::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            let namesakes = RelayDrop::ALL.iter().filter(|r| r.as_str() == reason.as_str());
            assert_eq!(namesakes.count(), 1);
        }
    }
}
