//! Where a track's publisher is: who elsewhere wants it.

use std::time::{Duration, Instant};

use weever_proto::relay::{MAX_LEASE_MS, Says, Stamp};

use super::RelayDrop;

/// Followers of a track, those that were among them: each is a data plane.
const MAX_FOLLOWERS: usize = 1024;

/// The data planes that follow one track.
#[derive(Debug, Default)]
pub struct Followers {
    /// Those whose lease is over are kept: a message of theirs that is played again is then known to be old.
    known: Vec<Follower>,
}

#[derive(Debug)]
struct Follower {
    source: u64,
    /// Messages below are old.
    next: u64,
    until: Option<Instant>,
}

/// What a follower's message comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Somebody has just come.
    New,
    /// Somebody is still there.
    Renewed,
    /// Somebody left.
    Left,
    /// Somebody needs a keyframe.
    Keyframe,
}

impl Followers {
    /// Takes a message.
    ///
    /// # Errors
    /// It is old, says what only the origin says, or is one too many.
    pub fn take(&mut self, now: Instant, stamp: Stamp, says: &Says<'_>) -> Result<Wish, RelayDrop> {
        let lease_ms = match says {
            Says::Follow { lease_ms } => Some((*lease_ms).min(MAX_LEASE_MS)),
            Says::Unfollow | Says::RequestKeyframe => None,
            Says::Burst { .. } | Says::SenderReport { .. } => return Err(RelayDrop::Malformed),
        };
        let position = self.known.iter().position(|known| known.source == stamp.source);
        let follower = match (position.and_then(|at| self.known.get_mut(at)), lease_ms) {
            (Some(follower), _) => follower,
            (None, None) => return Err(RelayDrop::NotFollowing),
            (None, Some(_)) => self.insert(stamp)?,
        };
        if stamp.number < follower.next {
            return Err(RelayDrop::Old);
        }
        follower.next = stamp.number.checked_add(1).ok_or(RelayDrop::Malformed)?;
        let follows = follower.until.is_some();
        if let Some(lease_ms) = lease_ms {
            follower.until = Some(now + Duration::from_millis(lease_ms.into()));
            return Ok(if follows { Wish::Renewed } else { Wish::New });
        }
        match (follows, says) {
            (false, _) => Err(RelayDrop::NotFollowing),
            (true, Says::Unfollow) => {
                follower.until = None;
                Ok(Wish::Left)
            }
            (true, _) => Ok(Wish::Keyframe),
        }
    }

    fn insert(&mut self, stamp: Stamp) -> Result<&mut Follower, RelayDrop> {
        if self.known.len() >= MAX_FOLLOWERS {
            let gone = self.known.iter().position(|known| known.until.is_none());
            self.known.remove(gone.ok_or(RelayDrop::TooManyFollowers)?);
        }
        self.known.push(Follower {
            source: stamp.source,
            next: stamp.number,
            until: None,
        });
        self.known.last_mut().ok_or(RelayDrop::TooManyFollowers)
    }

    /// Lets go of those whose lease is over.
    pub fn expire(&mut self, now: Instant) {
        for follower in &mut self.known {
            follower.until = follower.until.filter(|until| *until > now);
        }
    }

    /// How many follow.
    pub fn count(&self) -> usize {
        self.known.iter().filter(|known| known.until.is_some()).count()
    }
}

#[cfg(test)]
mod tests {
    use weever_proto::TrackId;

    use super::*;

    const FOLLOW: Says<'_> = Says::Follow { lease_ms: u16::MAX };

    fn stamp(source: u64, number: u64) -> Stamp {
        let track = TrackId(1);
        Stamp {
            track,
            source,
            number,
        }
    }

    #[test]
    fn who_follows_is_heard_until_it_leaves_or_its_lease_is_over() {
        let (mut followers, start) = (Followers::default(), Instant::now());
        let keyframe = Says::RequestKeyframe;
        assert_eq!(
            followers.take(start, stamp(1, 0), &keyframe),
            Err(RelayDrop::NotFollowing)
        );
        assert_eq!(followers.take(start, stamp(1, 0), &FOLLOW), Ok(Wish::New));
        assert_eq!(followers.take(start, stamp(1, 1), &FOLLOW), Ok(Wish::Renewed));
        assert_eq!(followers.take(start, stamp(1, 4), &keyframe), Ok(Wish::Keyframe));
        assert_eq!(followers.take(start, stamp(2, 9), &FOLLOW), Ok(Wish::New));
        assert_eq!(followers.count(), 2);
        assert_eq!(
            followers.take(start, stamp(2, 10), &Says::Unfollow),
            Ok(Wish::Left)
        );
        assert_eq!(
            followers.take(start, stamp(2, 11), &Says::Unfollow),
            Err(RelayDrop::NotFollowing)
        );
        let lease = Duration::from_millis(MAX_LEASE_MS.into());
        followers.expire(start + lease - Duration::from_millis(1));
        assert_eq!(followers.count(), 1);
        followers.expire(start + lease);
        assert_eq!(followers.count(), 0, "however long a lease it asked for");
    }

    #[test]
    fn what_was_played_again_brings_nobody_back() {
        let (mut followers, start) = (Followers::default(), Instant::now());
        followers.take(start, stamp(1, 0), &FOLLOW).unwrap();
        followers.take(start, stamp(1, 1), &Says::Unfollow).unwrap();
        for number in [0, 1] {
            assert_eq!(
                followers.take(start, stamp(1, number), &FOLLOW),
                Err(RelayDrop::Old)
            );
        }
        assert_eq!(followers.count(), 0);
    }

    #[test]
    fn strangers_do_not_push_out_who_follows() {
        let (mut followers, start) = (Followers::default(), Instant::now());
        for source in 0..MAX_FOLLOWERS as u64 {
            followers.take(start, stamp(source, 0), &FOLLOW).unwrap();
        }
        let one_more = stamp(u64::MAX, 0);
        assert_eq!(
            followers.take(start, one_more, &FOLLOW),
            Err(RelayDrop::TooManyFollowers)
        );
        followers.take(start, stamp(5, 1), &Says::Unfollow).unwrap();
        assert_eq!(followers.take(start, one_more, &FOLLOW), Ok(Wish::New));
        assert_eq!(
            followers.take(start, stamp(u64::MAX, u64::MAX), &FOLLOW),
            Err(RelayDrop::Malformed)
        );
    }
}
