//! WebSockets at `/events` that break RFC 6455: each is told why by a close frame of the right code, and cut off.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::house::{House, OFFER};
use crate::program::PATIENCE;

pub const TEXT: u8 = 1;
const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
pub const PING: u8 = 9;
const PONG: u8 = 10;
pub const FIN: u8 = 0x80;

const GOING_AWAY: u16 = 1001;
const PROTOCOL_ERROR: u16 = 1002;
const NOT_UTF8: u16 = 1007;
const TOO_BIG: u16 = 1009;

/// A socket at `/events`, byte for byte.
pub struct Socket(pub TcpStream);

impl Socket {
    pub async fn open(at: SocketAddr) -> Self {
        let mut socket = Self(TcpStream::connect(at).await.unwrap());
        assert_eq!(socket.upgrade().await, 101);
        socket
    }

    /// Asks for a WebSocket, and returns the status.
    pub async fn upgrade(&mut self) -> u16 {
        self.send(
            b"GET /events HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
              sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(PATIENCE, self.0.read_u8()).await.unwrap().unwrap());
        }
        crate::wire::status(&head)
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// The next frame: its first byte and what it carries. Servers don't mask (RFC 6455 §5.1).
    pub async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let frame = async {
            let first = self.0.read_u8().await.ok()?;
            let length = match self.0.read_u8().await.ok()? {
                126 => usize::from(self.0.read_u16().await.ok()?),
                length => usize::from(length),
            };
            let mut payload = vec![0; length];
            self.0.read_exact(&mut payload).await.ok()?;
            Some((first, payload))
        };
        timeout(PATIENCE, frame)
            .await
            .expect("neither a frame nor the end")
    }

    /// The code of the close frame that comes, behind which there must be nothing but the end of the connection.
    async fn closed(&mut self) -> Option<u16> {
        let code = loop {
            let (first, payload) = self.frame().await.expect("cut off without a close frame");
            if first == FIN | CLOSE {
                let code = payload.get(..2)?;
                assert!(std::str::from_utf8(&payload[2..]).is_ok());
                break u16::from_be_bytes(code.try_into().unwrap());
            }
        };
        assert_eq!(self.frame().await, None, "and the end");
        Some(code)
    }
}

/// A frame as a client sends it: masked, by zeroes.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let mut frame = vec![first];
    match u16::try_from(length).unwrap() {
        0..126 => frame.push(0x80 | u8::try_from(length).unwrap()),
        length => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

fn close(code: u16) -> Vec<u8> {
    frame(FIN | CLOSE, &code.to_be_bytes())
}

/// What is answered to `bytes`: a close of `code`, while another listener hears what happens.
async fn refused(bytes: &[u8], code: u16) {
    let house = House::with(&[]).await;
    let mut other = Socket::open(house.running.private).await;
    let mut socket = Socket::open(house.running.private).await;
    socket.send(bytes).await;
    assert_eq!(socket.closed().await, Some(code));
    assert_eq!(house.join("/pub/r/alice", OFFER).await.status, 201);
    for kind in ["reset", "room-opened", "session-joined"] {
        let (_, event) = other.frame().await.unwrap();
        let event: serde_json::Value = serde_json::from_slice(&event).unwrap();
        assert_eq!(event["type"], kind);
    }
}

/// Without its masking key (RFC 6455 §5.1).
#[tokio::test]
async fn a_frame_that_is_not_masked() {
    refused(b"\x81\x05hello", PROTOCOL_ERROR).await;
}

/// By its length alone: none of it is waited for.
#[tokio::test]
async fn a_frame_that_is_longer_than_anybody_needs() {
    refused(&[FIN | TEXT, 0x80 | 126, 0x10, 0x01, 0, 0, 0, 0], TOO_BIG).await;
    let eight_bytes = [
        &[FIN | BINARY, 0x80 | 127][..],
        &(1u64 << 40).to_be_bytes(),
        &[0; 4],
    ]
    .concat();
    refused(&eight_bytes, TOO_BIG).await;
    // The highest bit must be zero (§5.2).
    let all_ones = [&[FIN | BINARY, 0x80 | 127][..], &u64::MAX.to_be_bytes(), &[0; 4]].concat();
    refused(&all_ones, TOO_BIG).await;
}

#[tokio::test]
async fn a_message_that_grows_by_fragments() {
    let mut fragments = frame(TEXT, &[b'a'; 100]);
    for _ in 0..40 {
        fragments.extend(frame(CONTINUATION, &[b'a'; 100]));
    }
    refused(&fragments, TOO_BIG).await;
}

/// §5.5: control frames are whole.
#[tokio::test]
async fn a_control_frame_in_fragments() {
    refused(&frame(PING, b"a"), PROTOCOL_ERROR).await;
    refused(&frame(CLOSE, &1000u16.to_be_bytes()), PROTOCOL_ERROR).await;
}

/// §5.5: at most 125 bytes.
#[tokio::test]
async fn a_control_frame_that_is_too_long() {
    for opcode in [PING, PONG] {
        refused(&frame(FIN | opcode, &[0; 126]), PROTOCOL_ERROR).await;
    }
    refused(&frame(FIN | CLOSE, &[3; 200]), PROTOCOL_ERROR).await;
}

/// §5.2: no extension was agreed on that would use them.
#[tokio::test]
async fn bits_that_are_reserved() {
    for bit in [0x40, 0x20, 0x10] {
        refused(&frame(FIN | bit | TEXT, b"a"), PROTOCOL_ERROR).await;
    }
}

#[tokio::test]
async fn opcodes_that_are_reserved() {
    for opcode in [3, 7, 11, 15] {
        refused(&frame(FIN | opcode, b"a"), PROTOCOL_ERROR).await;
    }
}

/// §5.4.
#[tokio::test]
async fn fragments_out_of_order() {
    refused(&frame(FIN | CONTINUATION, b"of nothing"), PROTOCOL_ERROR).await;
    let begun_twice = [frame(TEXT, b"a"), frame(TEXT, b"b")].concat();
    refused(&begun_twice, PROTOCOL_ERROR).await;
}

/// §8.1, in one piece and in two.
#[tokio::test]
async fn text_that_is_not_utf_8() {
    refused(&frame(FIN | TEXT, b"\xff\xfe"), NOT_UTF8).await;
    let in_two = [frame(TEXT, b"\xc3"), frame(FIN | CONTINUATION, b"\x28")].concat();
    refused(&in_two, NOT_UTF8).await;
}

/// §5.5.1 and §7.4: a code has two bytes, and some are never sent.
#[tokio::test]
async fn a_close_that_says_what_nobody_may_say() {
    refused(&frame(FIN | CLOSE, &[3]), PROTOCOL_ERROR).await;
    for code in [0, 999, 1004, 1005, 1006, 1015, 2999] {
        refused(&close(code), PROTOCOL_ERROR).await;
    }
    let no_text = [&1000u16.to_be_bytes()[..], b"\xff"].concat();
    refused(&frame(FIN | CLOSE, &no_text), NOT_UTF8).await;
}

/// §5.5.1: by the same code, at once and whole, whatever came before it.
#[tokio::test]
async fn a_close_is_answered_and_flushed() {
    refused(&close(1000), 1000).await;
    refused(&close(4321), 4321).await;
    let behind_others = [
        frame(FIN | TEXT, b"unheard"),
        frame(FIN | PING, b"p"),
        close(1001),
    ]
    .concat();
    refused(&behind_others, GOING_AWAY).await;
    let house = House::empty(&[]).await;
    let mut socket = Socket::open(house.running.private).await;
    socket.send(&frame(FIN | CLOSE, b"")).await;
    assert_eq!(socket.closed().await, None, "without a code, as it was sent");
}

/// §5.5.1: nothing is sent behind it; what is, is not answered.
#[tokio::test]
async fn nothing_counts_behind_a_close() {
    let behind = [close(1000), frame(FIN | PING, b"there?"), close(1001)].concat();
    refused(&behind, 1000).await;
}

/// What is right all the same: a ping between the fragments of a message (§5.4), and a message that is just not too long.
#[tokio::test]
async fn what_is_allowed_is_not_refused() {
    let house = House::empty(&[]).await;
    let mut socket = Socket::open(house.running.private).await;
    assert_eq!(socket.frame().await.unwrap().0, FIN | TEXT, "the reset");
    let said = [
        frame(TEXT, &[b'a'; 4000]),
        frame(FIN | PING, b"between"),
        frame(FIN | CONTINUATION, &[b'a'; 96]),
        frame(FIN | BINARY, &[0xff; 4096]),
        frame(FIN | PONG, &[7; 125]),
        frame(FIN | PING, &[7; 125]),
    ];
    socket.send(&said.concat()).await;
    // The last of them is answered in any case (§5.5.2).
    loop {
        let (first, payload) = socket.frame().await.unwrap();
        assert_eq!(first, FIN | PONG);
        if payload == [7; 125] {
            break;
        }
        assert_eq!(payload, b"between");
    }
    socket.send(&close(1000)).await;
    assert_eq!(socket.closed().await, Some(1000));
}
