//! A status and a body of a webhook; bodies of players.

use crate::Seed;

fn reply(name: &'static str, status: u16, body: &str) -> Seed {
    (name, [&status.to_be_bytes()[..], body.as_bytes()].concat())
}

pub(crate) fn webhook_reply() -> Vec<Seed> {
    vec![
        reply("allowed", 200, r#"{"allowed": true}"#),
        reply("allowed-by-nothing", 200, ""),
        reply("allowed-by-spaces", 200, " \r\n"),
        reply("denied", 200, r#"{"allowed": false, "reason": "not today"}"#),
        reply("denied-twice", 200, r#"{"allowed": true, "allowed": false}"#),
        reply(
            "limits",
            200,
            r#"{"max_bitrate": 2500000, "max_duration": 3600, "max_subscribers": 50}"#,
        ),
        reply("limits-null", 200, r#"{"allowed": null, "max_bitrate": null}"#),
        reply("limit-zero", 200, r#"{"max_bitrate": 0}"#),
        reply("limit-negative", 200, r#"{"max_duration": -1}"#),
        reply("limit-fraction", 200, r#"{"max_duration": 1.5}"#),
        reply("limit-huge", 200, r#"{"max_subscribers": 18446744073709551615}"#),
        reply(
            "limit-too-huge",
            200,
            r#"{"max_subscribers": 18446744073709551616}"#,
        ),
        reply("limit-text", 200, r#"{"max_subscribers": "3"}"#),
        reply("allowed-text", 200, r#"{"allowed": "no"}"#),
        reply("more", 200, r#"{"allowed": true, "extra": [1, {"a": "\u0000"}]}"#),
        reply("list", 200, "[true]"),
        reply("html", 200, "<html>ok</html>"),
        reply("deep", 200, &"[".repeat(200)),
        reply("unauthorized", 401, r#"{"reason": "expired"}"#),
        reply("unauthorized-html", 401, "<html>"),
        reply(
            "forbidden",
            403,
            r#"{"reason": "line\r\nbreak \u001b[31m \u009b"}"#,
        ),
        reply(
            "forbidden-long",
            403,
            &format!(r#"{{"reason": "{}"}}"#, "é".repeat(300)),
        ),
        reply("created", 201, r#"{"allowed": true}"#),
        reply("redirect", 302, ""),
        reply("error", 500, r#"{"allowed": true}"#),
        ("half-a-status", vec![0]),
    ]
}

pub(crate) fn event_topics() -> Vec<Seed> {
    [
        ("nothing", ""),
        ("one", r#"["viewercount"]"#),
        (
            "all",
            r#"["active","inactive","layers","viewercount","reconnect"]"#,
        ),
        ("none", "[]"),
        ("twice", r#"["active","active"]"#),
        ("unknown", r#"["active","viewers"]"#),
        ("escaped", r#"["\u0061ctive"]"#),
        ("upper-case", r#"["Active"]"#),
        ("spaces", " [ \"active\" ]\r\n"),
        ("not-text", "[1,null]"),
        ("object", r#"{"events":["active"]}"#),
        ("open", r#"["active""#),
        ("deep", "[[[[[[[[[[[[[[[["),
        ("trailing", r#"["active"] ["inactive"]"#),
        ("lone-surrogate", r#"["\ud800"]"#),
        ("nul", "[\"active\0\"]"),
    ]
    .map(|(name, text)| (name, text.as_bytes().to_vec()))
    .to_vec()
}
