//! Offers that nobody should send (SECURITY 9): refused, quickly, and nothing is left of them.

use std::time::{Duration, Instant};

use futures::StreamExt;

use crate::house::OFFER;
use crate::program::Program;
use crate::wire::{exchange, post, status};

const MAX: usize = 256 * 1024;
/// A hundredth of it is usual. What is slow is so by orders of magnitude: squared work on 256 KiB takes minutes.
const SLOW: Duration = Duration::from_secs(5);
/// Memory that may come and go. What leaked a quarter of the bodies would have grown by more.
const FLAT: u64 = 32 << 20;
const ROUNDS: usize = 60;

fn fill(unit: &str, length: usize) -> String {
    unit.repeat(length / unit.len())
}

/// Each with the statuses that are right for it.
fn hostile() -> Vec<(&'static str, Vec<u8>, &'static [u16])> {
    let (head, line) = OFFER.split_at(OFFER.find("m=").unwrap());
    let pts = |all: std::ops::Range<u32>| all.map(|pt| format!(" {pt}")).collect::<String>();
    let mids: String = (0..1000)
        .map(|n| format!("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:{n}\r\na=rtcp-mux\r\n"))
        .collect();
    let group: String = (0..1000).map(|n| format!(" {n}")).collect();
    let text: Vec<(&str, String, &[u16])> = vec![
        ("nothing but letters", fill("v", MAX), &[400]),
        ("one byte too many", fill("v", MAX + 1), &[413]),
        (
            "10,000 m-lines",
            format!("{head}{}", fill("m=audio 9 X 0\r\n", 150_000)),
            &[400, 422],
        ),
        (
            "m-lines as long as it goes",
            format!("{head}{}", fill("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n", MAX - 500)),
            &[422],
        ),
        (
            "1000 m-lines in order",
            format!("{}{mids}", head.replace("BUNDLE 0", &format!("BUNDLE{group}"))),
            &[422],
        ),
        ("a mid twice", format!("{OFFER}{line}"), &[422]),
        (
            "payload types above 127",
            OFFER.replace("SAVPF 111", &format!("SAVPF{}", pts(100..300))),
            &[422],
        ),
        (
            "a payload type without end",
            OFFER.replace("SAVPF 111", &format!("SAVPF {}", fill("1", 200_000))),
            &[422],
        ),
        (
            "payload types again and again",
            OFFER.replace("SAVPF 111", &format!("SAVPF{}", fill(" 111", 200_000))),
            &[201, 422],
        ),
        (
            "an attribute without end",
            format!("{OFFER}a={}\r\n", fill("x", MAX - 1000)),
            &[201],
        ),
        (
            "attributes without number",
            format!("{OFFER}{}", fill("a=x\r\n", MAX - 1000)),
            &[201],
        ),
        (
            "a group without end",
            OFFER.replace("BUNDLE 0", &format!("BUNDLE 0{}", fill(" 0", 200_000))),
            &[201, 422],
        ),
        (
            "an m-line in a mid",
            OFFER.replace("a=mid:0", "a=mid:0\nm=video 9 X 1"),
            &[400, 422],
        ),
        ("nul bytes", OFFER.replace("a=mid:0", "a=mid:\0"), &[400, 422]),
    ];
    let mut all: Vec<_> = text
        .into_iter()
        .map(|(name, body, right)| (name, body.into_bytes(), right))
        .collect();
    let noise = (0..MAX).map(|n| u8::try_from(n * n % 251).unwrap()).collect();
    all.push(("noise", noise, &[400]));
    all.push((
        "what is not UTF-8",
        [OFFER.as_bytes(), &[0xff, 0xfe]].concat(),
        &[400],
    ));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_offers_cost_little_and_leave_nothing() {
    let flags = ["--max-joins-per-address=0", "--max-connections-per-address=1000"];
    let program = Program::with_data_plane("offers", "warn", &flags).await;
    let hostile = hostile();
    for (name, body, right) in &hostile {
        let (began, worked) = (Instant::now(), program.cpu());
        let answer = exchange(program.public, &post("/pub/r/mallory", body)).await;
        assert!(
            right.contains(&status(&answer)),
            "{name}: {}",
            String::from_utf8_lossy(&answer)
        );
        let worked = program.cpu() - worked;
        assert!(
            worked < SLOW,
            "{name} cost {worked:?} of CPU, in {:?}",
            began.elapsed()
        );
        leave(&program, &answer).await;
    }
    let round = async |n: usize| {
        let one = async |(at, (_, body, _)): (usize, &(&str, Vec<u8>, &[u16]))| {
            let answer = exchange(program.public, &post(&format!("/pub/r/m{n}-{at}"), body)).await;
            assert_ne!(status(&answer), 0);
            leave(&program, &answer).await;
        };
        futures::stream::iter(hostile.iter().enumerate())
            .for_each_concurrent(4, one)
            .await;
    };
    for n in 0..ROUNDS / 3 {
        round(n).await;
    }
    let before = program.resident();
    for n in 0..ROUNDS {
        round(n).await;
    }
    let grown = program.resident().saturating_sub(before);
    let sent: usize = ROUNDS * hostile.iter().map(|(_, body, _)| body.len()).sum::<usize>();
    assert!(sent as u64 > 4 * FLAT, "the oracle would see a leak");
    assert!(
        grown < FLAT,
        "{grown} bytes were not given back, of {sent} that were sent"
    );
}

/// Some of them are served: they break no rule.
async fn leave(program: &Program, answer: &[u8]) {
    let text = String::from_utf8_lossy(answer);
    let location = text
        .split("location: ")
        .nth(1)
        .and_then(|rest| rest.lines().next());
    if let (201, Some(location)) = (status(answer), location) {
        let delete = format!("DELETE {location} HTTP/1.1\r\nhost: w\r\nconnection: close\r\n\r\n");
        assert_eq!(status(&exchange(program.public, delete.as_bytes()).await), 200);
    }
}
