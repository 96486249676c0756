//! What the reply of an `--auth-webhook` means: only what it clearly says.

use serde::Deserialize;

use super::Denied;
use crate::rooms::Limits;

/// Letters of a reason that are passed on.
pub const MAX_REASON: usize = 256;

/// The body; more in it counts for nothing.
#[derive(Debug, Default, Deserialize)]
struct Answer {
    allowed: Option<bool>,
    reason: Option<String>,
    #[serde(flatten)]
    limits: Limits,
}

/// Nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum Unclear {
    /// Neither 200 nor 401 nor 403.
    #[error("it answered {0}")]
    Status(u16),
    /// 200, and then something else than a decision.
    #[error("its answer is not what is expected: {0}")]
    Malformed(serde_json::Error),
}

/// The decision in a reply's status and body.
///
/// # Errors
/// There is none: whoever asked is let in by nobody.
pub fn decide(status: u16, body: &[u8]) -> Result<Result<Limits, Denied>, Unclear> {
    match status {
        200 => {
            let answer = match body.trim_ascii() {
                [] => Answer::default(),
                body => serde_json::from_slice(body).map_err(Unclear::Malformed)?,
            };
            match answer.allowed {
                Some(false) => Ok(Err(Denied::Forbidden(reason(
                    answer.reason.as_deref(),
                    "not allowed",
                )))),
                Some(true) | None => Ok(Ok(answer.limits)),
            }
        }
        401 | 403 => {
            let given = serde_json::from_slice::<Answer>(body)
                .ok()
                .and_then(|answer| answer.reason);
            Ok(Err(match status {
                401 => Denied::Unauthorized(reason(given.as_deref(), "bad token")),
                _ => Denied::Forbidden(reason(given.as_deref(), "not allowed")),
            }))
        }
        other => Err(Unclear::Status(other)),
    }
}

fn reason(given: Option<&str>, otherwise: &str) -> String {
    let given = cleaned(given.unwrap_or_default(), MAX_REASON);
    match given.trim() {
        "" => otherwise.to_owned(),
        text => text.to_owned(),
    }
}

/// Without what could break a line or a terminal, and not longer than that.
pub(super) fn cleaned(text: &str, max: usize) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(max)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_one_clean_bounded_line() {
        assert_eq!(reason(Some("a\r\nb\x1b[31m"), "x"), "a  b [31m");
        assert_eq!(reason(Some(&"é".repeat(1000)), "x").chars().count(), MAX_REASON);
        assert_eq!(reason(Some(" \n"), "x"), "x");
        assert_eq!(reason(None, "x"), "x");
    }

    #[test]
    fn limits_are_positive_numbers_or_none() {
        let read = |text: &str| serde_json::from_str::<Answer>(text);
        let answer = read(r#"{"max_bitrate": 2500000, "max_duration": null, "extra": [1]}"#).unwrap();
        assert_eq!(
            answer.limits.max_bitrate.map(std::num::NonZeroU64::get),
            Some(2_500_000)
        );
        assert_eq!((answer.allowed, answer.limits.max_duration), (None, None));
        for bad in [
            r#"{"max_bitrate": 0}"#,
            r#"{"max_duration": -1}"#,
            r#"{"max_subscribers": "3"}"#,
            r#"{"max_duration": 1.5}"#,
            r#"{"allowed": "no"}"#,
            "[]",
            "<html>",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
