//! Points in time, for other programs.

use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// As RFC 3339 has it, in UTC, to the millisecond: `2026-11-25T11:00:52.301Z`.
pub fn rfc3339(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    let at = at.replace_millisecond(at.millisecond()).unwrap_or(at);
    // Only years beyond 9999 have no such form.
    at.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn to_the_millisecond() {
        let at = |ms| rfc3339(UNIX_EPOCH + Duration::from_millis(ms));
        assert_eq!(at(1_795_604_452_301), "2026-11-25T11:00:52.301Z");
        assert_eq!(at(1_795_604_452_000), "2026-11-25T11:00:52Z");
        let finer = UNIX_EPOCH + Duration::from_nanos(1_795_604_452_301_999_999);
        assert_eq!(rfc3339(finer), "2026-11-25T11:00:52.301Z");
    }
}
