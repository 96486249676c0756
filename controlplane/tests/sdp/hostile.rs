//! What nobody should send (SECURITY: SDP of any size and shape costs little and is refused with a reason).

use std::time::Duration;

use weever_controlplane::sdp::view::View;
use weever_controlplane::sdp::{Description, Fragment, MAX_SDP, SdpError};

use crate::{numbers, publish, wire};

/// What is slow is so by orders of magnitude: squared work on 256 KiB takes minutes.
const SLOW: Duration = Duration::from_secs(1);

/// CPU time of this thread: a busy machine is not the parser's fault.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    // proc_pid_stat(5): fields 14 and 15, in hundredths of a second; the name in field 2 may have spaces.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_ascii_whitespace()
        .collect();
    let ticks: u64 = fields[11..13]
        .iter()
        .map(|field| field.parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(ticks * 10)
}

fn obs() -> String {
    wire(include_str!("clients/obs.sdp"))
}

fn refused(text: &str) -> SdpError {
    let began = cpu();
    let error = match Description::parse(text) {
        Err(error) => error,
        Ok(offer) => publish(&offer).map(|_| ()).unwrap_err(),
    };
    assert!(cpu() - began < SLOW, "{error} took {:?}", cpu() - began);
    error
}

/// Read or not: it must not take long.
fn quick(text: &str) {
    let began = cpu();
    if let Ok(offer) = Description::parse(text) {
        let _ = publish(&offer);
        let _ = View::new(&offer, &mut numbers());
    }
    assert!(cpu() - began < SLOW, "took {:?}", cpu() - began);
}

fn media_line(text: &str, at: usize) -> &str {
    text.split_inclusive("\r\n")
        .filter(|line| line.starts_with("m="))
        .nth(at)
        .unwrap()
}

#[test]
fn no_sdp_is_400_and_says_so() {
    for text in [
        "",
        "  \r\n",
        "hello",
        "v=1\r\n",
        "\u{0}",
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n",
    ] {
        let error = refused(text);
        assert!(matches!(error, SdpError::Malformed(_)), "{text:?}: {error}");
        assert!(error.to_string().starts_with("bad SDP"), "{error}");
    }
    let cut = obs();
    for at in 0..cut.len() {
        quick(&cut[..at]);
    }
}

#[test]
fn what_cannot_be_served_is_422_and_says_why() {
    let text = obs();
    let fingerprint = text
        .split_inclusive("\r\n")
        .find(|l| l.starts_with("a=fingerprint"))
        .unwrap()
        .to_owned();
    let cases: Vec<(String, &str)> = vec![
        (text.replace("a=group:BUNDLE 0 1\r\n", ""), "BUNDLE"),
        (text.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 0"), "BUNDLE"),
        (text.replace(&fingerprint, ""), "a=fingerprint"),
        (text.replace("sha-256", "md5"), "sha-256"),
        (
            text.replace(&fingerprint, "a=fingerprint:sha-256 12:34\r\n"),
            "malformed",
        ),
        (text.replace("a=ice-ufrag:Tz4h\r\n", ""), "a=ice-ufrag"),
        (text.replace("a=ice-ufrag:Tz4h", "a=ice-ufrag:x"), "4 to 256"),
        (
            text.replace("a=ice-pwd:k3PqWvX8nRb1YcLs7dMf0e", "a=ice-pwd:short"),
            "22 to 256",
        ),
        (text.replace("a=mid:1", "a=mid:0"), "two m-lines"),
        (
            text.replace("a=mid:1", "a=mid:abcdefghijklmnopq")
                .replace("BUNDLE 0 1", "BUNDLE 0 abcdefghijklmnopq"),
            "longer than 16",
        ),
        (text.replace("SAVPF 96", "SAVPF 96 128"), "payload type"),
        (text.replace("SAVPF 96", "SAVPF 96 -1"), "payload type"),
        (text.replace("a=rtcp-mux\r\n", ""), "rtcp-mux"),
        (
            text.replace("opus/48000", "speex/8000")
                .replace("H264/90000", "theora/90000"),
            "codec in common",
        ),
        (
            text.replace("m=audio 9", "m=audio 0")
                .replace("m=video 9", "m=video 0"),
            "rejected",
        ),
    ];
    for (text, why) in cases {
        let error = refused(&text);
        assert!(matches!(error, SdpError::Unservable(_)), "{why}: {error}");
        assert!(error.to_string().contains(why), "{why}: {error}");
    }
}

#[test]
fn size_costs_nothing() {
    let text = obs();
    let head = &text[..text.find("m=audio").unwrap()];
    assert!(matches!(
        refused(&"a".repeat(MAX_SDP + 1)),
        SdpError::Malformed(_)
    ));
    let many: String = (0..10_000).map(|_| "m=audio 9 RTP/AVP 0\r\n").collect();
    assert!(refused(&format!("{head}{many}")).to_string().contains("m-lines"));

    let fill = |unit: &str, room: usize| unit.repeat(room / unit.len());
    let line = media_line(&text, 1);
    // Payload types without end, each to be looked up in attributes without end.
    quick(&text.replace(
        line,
        &format!(
            "{}{}\r\n{}",
            line.trim_end(),
            fill(" 5", 100_000),
            fill("a=x\r\n", 150_000)
        ),
    ));
    quick(&text.replace(
        line,
        &format!("{line}{}", fill("a=rtpmap:96 VP8/90000\r\n", 250_000)),
    ));
    quick(&text.replace(line, &format!("{line}{}", fill("a=rtcp-fb:* nack\r\n", 250_000))));
    quick(&text.replace(line, &format!("{line}{}", fill("a=extmap:1 urn:x\r\n", 250_000))));
    // Attributes of the session, which every m-line might look through.
    let lines: String = (0..1000)
        .map(|n| format!("m=audio 9 RTP/SAVPF 0\r\na=mid:{n}\r\na=rtcp-mux\r\n"))
        .collect();
    let mids: String = (0..1000).map(|n| format!(" {n}")).collect();
    let head = head.replace("BUNDLE 0 1", &format!("BUNDLE{mids}"));
    let room = MAX_SDP - head.len() - lines.len();
    quick(&format!("{head}{}{lines}", fill("a=x\r\n", room)));
    quick(&format!("{head}{}{lines}", fill("a=fingerprint:md5 1\r\n", room)));
    quick(&fill("a=candidate:x\r\n", MAX_SDP));
    let began = cpu();
    let _ = Fragment::parse(&fill("a=candidate:x\r\n", MAX_SDP));
    assert!(cpu() - began < SLOW);
    // The oracle can fail.
    let began = cpu();
    while cpu() == began {
        std::hint::black_box(Description::parse(&text).is_ok());
    }
}

#[test]
fn nothing_breaks_out_of_its_line() {
    let text = obs();
    for evil in ["a\nm=audio 9 x 0", "a\rb", "a b", "\u{1F600}", "\"", "a;b"] {
        let text = text.replace("a=mid:1\r\n", &format!("a=mid:{evil}\r\n"));
        if let Ok(answer) = Description::parse(&text).and_then(|offer| publish(&offer)) {
            crate::is_sound(&answer.text);
        }
    }
}
