//! Bodies of HTTP: what a player asks for, what a webhook replies.

use weever_controlplane::auth::Denied;
use weever_controlplane::auth::reply::{MAX_REASON, Unclear, decide};
use weever_controlplane::http::player_events::topics;
use weever_controlplane::rooms::Topic;

/// The reply of an `--auth-webhook`: its status, two bytes, and its body. Nobody is let in but by 200 and a body that doesn't
/// say no; a reason is one bounded line; limits that are written are read the same.
pub fn webhook_reply(data: &[u8]) {
    let Some((status, body)) = data.split_first_chunk() else {
        return;
    };
    let status = u16::from_be_bytes(*status);
    match decide(status, body) {
        Ok(Ok(limits)) => {
            assert_eq!(status, 200);
            let written = serde_json::to_vec(&limits).expect("limits are JSON");
            let again = decide(status, &written).expect("clear").expect("allowed");
            assert_eq!(again, limits);
            let denied = serde_json::from_slice::<serde_json::Value>(body)
                .is_ok_and(|answer| answer["allowed"] == false);
            assert!(!denied, "it said no");
        }
        Ok(Err(Denied::Unauthorized(reason))) => {
            assert_eq!(status, 401);
            is_one_line(&reason);
        }
        Ok(Err(Denied::Forbidden(reason))) => {
            assert!(status == 200 || status == 403);
            is_one_line(&reason);
        }
        Ok(Err(other)) => panic!("{other:?} is nothing that a webhook says"),
        Err(Unclear::Status(other)) => {
            assert_eq!(other, status);
            assert!(![200, 401, 403].contains(&status));
        }
        Err(Unclear::Malformed(_)) => assert_eq!(status, 200),
    }
}

fn is_one_line(reason: &str) {
    assert!(!reason.is_empty() && reason.chars().count() <= MAX_REASON);
    assert!(!reason.chars().any(char::is_control), "{reason:?}");
}

/// The body of a player's POST for events. What is understood is a list of names that we know, each once, and is understood
/// the same when it is written.
pub fn event_topics(data: &[u8]) {
    let Ok(asked) = topics(data) else {
        return;
    };
    let Some(asked) = asked else {
        assert!(data.is_empty(), "everything is asked for by saying nothing");
        return;
    };
    assert!(asked.len() <= Topic::ALL.len());
    let names: Vec<&str> = asked.iter().map(|topic| topic.name()).collect();
    let written = serde_json::to_vec(&names).expect("names are JSON");
    assert_eq!(topics(&written).ok().flatten(), Some(asked));
    let said: Vec<String> = serde_json::from_slice(data).expect("a list of names");
    assert!(said.iter().all(|name| names.contains(&name.as_str())));
}
