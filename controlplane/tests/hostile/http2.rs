//! HTTP/2 as an attacker speaks it (RFC 9113 §10.5): streams begun and reset, headers without end, frames that only cost.
//! By hand: no client library would.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::house::{House, OFFER};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
/// RFC 9113 §7
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

/// For a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// Frames in one write, so that the server finds many at once.
const BATCH: u32 = 100;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

pub fn preface() -> Vec<u8> {
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(),
        &frame(SETTINGS, 0, 0, &[]),
    ]
    .concat()
}

/// A header field without indexing or Huffman (RFC 7541 §6.2.2).
pub fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        assert!(text.len() < 127);
        bytes.push(u8::try_from(text.len()).unwrap());
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// The pseudo-header fields; `method` is an entry of the static table.
pub fn request(method: &[u8], path: &str) -> Vec<u8> {
    let path = [&[0x04, u8::try_from(path.len()).unwrap()], path.as_bytes()].concat();
    [method, b"\x86", &path, b"\x41\x01w"].concat()
}

fn get(stream: u32) -> Vec<u8> {
    frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        stream,
        &request(b"\x82", "/nothing"),
    )
}

fn unfinished_post(stream: u32) -> Vec<u8> {
    let mut fields = request(b"\x83", "/pub/r/x");
    fields.extend(literal("content-type", "application/sdp"));
    frame(HEADERS, END_HEADERS, stream, &fields)
}

/// What the server sent until it closed: type, stream, and the payload's beginning as a number where that is an error code.
async fn heard(stream: &mut TcpStream) -> Vec<(u8, u32, u32)> {
    let mut all = Vec::new();
    while let Some(one) = next(stream).await {
        all.push(one);
    }
    all
}

async fn next(stream: &mut TcpStream) -> Option<(u8, u32, u32)> {
    let reading = async {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).await.ok()?;
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let at = if head[3] == GOAWAY { 4 } else { 0 };
        let code = payload
            .get(at..at + 4)
            .map_or(0, |four| u32::from_be_bytes(four.try_into().unwrap()));
        Some((head[3], id, code))
    };
    tokio::time::timeout(PATIENCE, reading)
        .await
        .expect("the server says something, or closes")
}

/// Writes over and over, and returns what the server had to say to it, once it has closed the connection.
async fn attack(house: &House, times: u32, mut bytes: impl FnMut(u32) -> Vec<u8>) -> Vec<(u8, u32, u32)> {
    let stream = TcpStream::connect(house.running.public).await.unwrap();
    let (mut from, mut to) = stream.into_split();
    to.write_all(&preface()).await.unwrap();
    let attack = async {
        for batch in 0..times / BATCH {
            let all: Vec<u8> = (0..BATCH)
                .flat_map(|n| bytes(2 * (batch * BATCH + n) + 1))
                .collect();
            if to.write_all(&all).await.is_err() {
                break;
            }
        }
        // Nothing more will come: the server's patience is not waited for in real time.
        tokio::time::pause();
        to
    };
    let listen = async {
        let mut all = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, from.read_to_end(&mut all))
            .await
            .expect("the server lets go");
        all
    };
    let (all, _to) = tokio::join!(listen, attack);
    tokio::time::resume();
    let mut rest = all.as_slice();
    let mut frames = Vec::new();
    while let Some(head) = rest.first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some(payload) = rest.get(9..9 + length) else {
            break;
        };
        let at = if head[3] == GOAWAY { 4 } else { 0 };
        let code = payload
            .get(at..at + 4)
            .map_or(0, |four| u32::from_be_bytes(four.try_into().unwrap()));
        frames.push((
            head[3],
            u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            code,
        ));
        rest = &rest[9 + length..];
    }
    frames
}

async fn goes_on(house: &House, name: &str) {
    assert_eq!(
        house.join(&format!("/pub/r/{name}"), OFFER).await.status,
        201,
        "others are served"
    );
}

#[tokio::test]
async fn streams_that_are_begun_and_reset_end_the_connection() {
    let house = House::with(&[]).await;
    let cancel = 8_u32.to_be_bytes();
    let frames = attack(&house, 20_000, |stream| {
        [unfinished_post(stream), frame(RST_STREAM, 0, stream, &cancel)].concat()
    })
    .await;
    let goaway = frames.iter().find(|(kind, ..)| *kind == GOAWAY);
    assert!(
        matches!(goaway, Some((_, _, ENHANCE_YOUR_CALM))),
        "{:?}",
        frames.last()
    );
    goes_on(&house, "reset").await;
}

#[tokio::test]
async fn a_connection_has_only_so_many_requests_at_once() {
    let house = House::with(&[]).await;
    let mut stream = TcpStream::connect(house.running.public).await.unwrap();
    stream.write_all(&preface()).await.unwrap();
    for n in 0..80 {
        stream.write_all(&unfinished_post(2 * n + 1)).await.unwrap();
    }
    let refused = loop {
        let (kind, id, code) = next(&mut stream).await.expect("the connection is in order");
        if (kind, code) == (RST_STREAM, REFUSED_STREAM) {
            break id;
        }
    };
    assert_eq!(refused, 2 * 64 + 1, "the first one too many");
    goes_on(&house, "streams").await;
}

#[tokio::test]
async fn headers_without_end_are_not_collected() {
    let house = House::with(&[]).await;
    let filler: Vec<u8> = (0..100)
        .flat_map(|n| literal(&format!("x-{n}"), &"y".repeat(100)))
        .collect();
    // 16 MiB of them if nobody stopped it.
    let mut first = true;
    let frames = attack(&house, 1500, |_| {
        if std::mem::take(&mut first) {
            return frame(HEADERS, END_STREAM, 1, &request(b"\x82", "/"));
        }
        frame(CONTINUATION, 0, 1, &filler)
    })
    .await;
    let goaway = frames.iter().find(|(kind, ..)| *kind == GOAWAY);
    assert!(
        matches!(goaway, Some((_, _, 1 | ENHANCE_YOUR_CALM))),
        "{frames:?}"
    );
    goes_on(&house, "continued").await;

    // More than 64 KiB, in order: refused, and others on the connection are not concerned.
    let mut stream = TcpStream::connect(house.running.public).await.unwrap();
    let mut large = request(b"\x82", "/");
    while large.len() < 80_000 {
        large.extend(&filler);
    }
    let mut bytes = preface();
    let parts: Vec<&[u8]> = large.chunks(16_000).collect();
    for (n, part) in parts.iter().enumerate() {
        let flags = if n + 1 == parts.len() { END_HEADERS } else { 0 };
        match n {
            0 => bytes.extend(frame(HEADERS, flags | END_STREAM, 1, part)),
            _ => bytes.extend(frame(CONTINUATION, flags, 1, part)),
        }
    }
    bytes.extend(get(3));
    stream.write_all(&bytes).await.unwrap();
    let mut answered = Vec::new();
    while answered.len() < 2 {
        let (kind, id, _) = next(&mut stream).await.expect("the connection is in order");
        if id > 0 && [HEADERS, RST_STREAM].contains(&kind) && !answered.contains(&id) {
            answered.push(id);
        }
    }
    answered.sort_unstable();
    assert_eq!(answered, [1, 3], "both were answered: 431 or reset, and 404");
}

#[tokio::test]
async fn frames_that_only_cost_are_answered_in_turn_and_then_it_is_over() {
    let house = House::with(&[]).await;
    for (what, one) in [
        ("PING", frame(PING, 0, 0, &[7; 8])),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff])),
        ("empty DATA", frame(DATA, 0, 1, &[])),
        ("unknown", frame(0xbb, 0, 0, &[1; 64])),
    ] {
        let mut begun = what != "empty DATA";
        let frames = attack(&house, 20_000, |_| {
            if std::mem::replace(&mut begun, true) {
                return one.clone();
            }
            unfinished_post(1)
        })
        .await;
        assert!(frames.len() <= 20_010, "{what}: no more than one answer to each");
        goes_on(&house, &what.replace(' ', "")).await;
    }
}

#[tokio::test]
async fn answers_that_nobody_takes_are_not_kept() {
    let house = House::with(&[]).await;
    let mut stream = TcpStream::connect(house.running.public).await.unwrap();
    // SETTINGS_INITIAL_WINDOW_SIZE 0: not a byte of any answer's body may be sent.
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    for n in 0..60 {
        bytes.extend(get(2 * n + 1));
    }
    stream.write_all(&bytes).await.unwrap();
    while next(&mut stream).await.is_some_and(|(kind, ..)| kind != HEADERS) {}
    goes_on(&house, "windows").await;
    tokio::time::pause();
    let rest = heard(&mut stream).await;
    assert!(!rest.iter().any(|(kind, ..)| *kind == DATA), "and none was");
}
