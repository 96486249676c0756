//! Session descriptions: what real clients write, what hostile ones might, and properties that hold for all.

#![allow(unreachable_pub, missing_docs, clippy::unwrap_used, clippy::panic)]

mod clients;
mod hostile;
mod properties;

use weever_controlplane::sdp::emit::LocalTransport;
use weever_controlplane::sdp::publish::{self, PublishAnswer};
use weever_controlplane::sdp::view::Candidate;
use weever_controlplane::sdp::{Description, SdpError};
use weever_proto::{Fingerprint, IceCredentials};

/// The server's side.
pub fn transport() -> LocalTransport {
    LocalTransport {
        ice: IceCredentials {
            ufrag: "SrvUfrag".into(),
            password: "SrvPassword0123456789+/A".into(),
        },
        fingerprint: Fingerprint {
            hash: "sha-256".into(),
            value: vec![0xab; 32],
        },
        candidates: vec![
            "203.0.113.7:8443".parse().unwrap(),
            "[2001:db8::7]:8443".parse().unwrap(),
        ],
    }
}

/// Counts, so that every run is the same.
pub fn numbers() -> impl FnMut() -> u64 {
    numbers_from(0x1234_5678_0000_0000)
}

pub fn numbers_from(seed: u64) -> impl FnMut() -> u64 {
    let mut last = seed;
    move || {
        last = last.wrapping_add(0x9e37_79b9_7f4a_7c15);
        last
    }
}

pub fn publish(offer: &Description) -> Result<PublishAnswer, SdpError> {
    publish::answer(offer, &transport(), 42, 1, &[], None, numbers())
}

/// The tracks of one publisher as a subscriber may be shown them.
pub fn shown<'a>(publisher: &'a str, answer: &'a PublishAnswer) -> Vec<Candidate<'a>> {
    let candidate = |track| Candidate {
        publisher,
        track,
        worker: 0,
    };
    answer.tracks.iter().map(candidate).collect()
}

/// Lines in CRLF, as on the wire.
pub fn wire(text: &str) -> String {
    text.lines().map(|line| format!("{line}\r\n")).collect()
}

/// What every description of ours must be.
pub fn is_sound(text: &str) -> Description {
    assert!(text.ends_with("\r\n"));
    for line in text.trim_end_matches("\r\n").split("\r\n") {
        assert!(!line.contains(['\r', '\n', '\0']), "{line:?}");
        assert!(
            line.as_bytes()[0].is_ascii_lowercase() && line.as_bytes()[1] == b'=',
            "{line:?}"
        );
    }
    assert!(text.contains("a=ice-lite\r\n"));
    // Each m-line in use has its own credentials; the first has all candidates, the others none.
    let parts: Vec<&str> = text.split("\r\nm=").skip(1).collect();
    let used: Vec<&&str> = parts
        .iter()
        .filter(|part| part.split(' ').nth(1) != Some("0"))
        .collect();
    for (n, part) in used.iter().enumerate() {
        assert!(
            part.contains("a=ice-ufrag:SrvUfrag")
                && part.contains("a=ice-pwd:")
                && part.contains("a=fingerprint:")
        );
        assert!(
            part.contains("c=IN IP4 203.0.113.7"),
            "old clients read the address here"
        );
        assert_eq!(
            part.matches("a=candidate:").count(),
            if n == 0 { 2 } else { 0 },
            "{text}"
        );
        assert_eq!(part.contains("a=end-of-candidates"), n == 0);
    }
    Description::parse(text).unwrap_or_else(|error| panic!("{error}:\n{text}"))
}
