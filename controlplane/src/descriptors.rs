//! How many connections the limit of open files allows, so that a flood at the public port leaves descriptors for probes and
//! data planes.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept from the public port: private connections, data planes, files. Of small limits a quarter.
const RESERVED: usize = 1280;
/// Of those, at most: probes, operators and their pages.
const PRIVATE: usize = 128;
/// Data planes; a machine has fewer cores.
const DATA_PLANES: usize = 1024;
/// What is used for other things before the first connection comes.
const OWN: usize = 32;

/// What each server, and the control socket, may have open at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) public: usize,
    pub(crate) private: usize,
    pub(crate) data_planes: usize,
}

/// Raises this process's own limit as far as it may.
pub(crate) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    // Refused, the limit stays what it is, and `share` goes by that.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    );
}

/// Divides what there is; neither server gets more than `wanted`.
pub(crate) fn share(wanted: usize) -> Share {
    let limit = getrlimit(Resource::Nofile).current;
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let share = divide(limit, wanted);
    if share.public < wanted {
        tracing::warn!(
            limit,
            connections = share.public,
            "--max-connections {wanted} is more than the limit of open files allows; raise it (ulimit -n)"
        );
    }
    share
}

fn divide(limit: usize, wanted: usize) -> Share {
    let reserved = RESERVED.min(limit / 4);
    Share {
        public: wanted.min((limit - reserved).saturating_sub(OWN)).max(1),
        private: wanted.min(PRIVATE).min(reserved / 2).max(1),
        data_planes: DATA_PLANES
            .min(reserved.saturating_sub(2 * PRIVATE).max(reserved / 4))
            .max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(limit: usize, wanted: usize) -> [usize; 3] {
        let Share {
            public,
            private,
            data_planes,
        } = divide(limit, wanted);
        [public, private, data_planes]
    }

    #[test]
    fn something_is_always_left() {
        assert_eq!(shares(usize::MAX, 10_000), [10_000, 128, 1024]);
        assert_eq!(shares(1_048_576, 10_000), [10_000, 128, 1024]);
        assert_eq!(shares(4096, 10_000), [3040, 128, 768]);
        assert_eq!(shares(1024, 10_000), [736, 128, 64]);
        assert_eq!(shares(256, 10_000), [160, 32, 16]);
        assert_eq!(shares(0, 10_000), [1, 1, 1]);
        for limit in [64, 128, 300, 1000, 5000, 100_000] {
            assert!(shares(limit, usize::MAX).iter().sum::<usize>() + OWN <= limit);
        }
    }

    #[test]
    fn nobody_gets_more_than_was_asked_for() {
        assert_eq!(shares(1024, 5)[..2], [5, 5]);
    }
}
