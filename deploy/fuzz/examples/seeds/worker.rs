//! Rows of steps: kind, length, bytes. The upper half of the kind names the client.

use weever_proto::{Command, SessionId, ToShard};

use crate::seeds::ipc;
use crate::{Seed, hex};

const STRANGER: u8 = 0;
const CHECK: u8 = 1;
const TIME: u8 = 2;
const COMMAND: u8 = 3;
const DATAGRAM: u8 = 4;

fn step(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let len = u8::try_from(bytes.len()).expect("a step of at most 255 bytes");
    [&[kind, len], bytes].concat()
}

fn client(n: u8, kind: u8) -> u8 {
    n << 4 | kind
}

/// A field with its length in front of it, in so many bytes.
fn sized(width: usize, content: &[u8]) -> Vec<u8> {
    [&content.len().to_be_bytes()[8 - width..], content].concat()
}

/// A DTLS 1.2 record of epoch 0.
fn record(content_type: u8, fragment: &[u8]) -> Vec<u8> {
    let head = [&[content_type][..], &hex("fefd 0000 000000000000")].concat();
    [head, sized(2, fragment)].concat()
}

/// A handshake message in one fragment.
fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = &body.len().to_be_bytes()[5..];
    record(22, &[&[kind], len, &hex("0000 000000"), len, body].concat())
}

/// As browsers offer it: ECDHE with AES-GCM, SRTP profiles, extended master secret.
fn client_hello() -> Vec<u8> {
    let extension = |kind: &str, content: Vec<u8>| [hex(kind), sized(2, &content)].concat();
    let extensions = [
        extension("000a", sized(2, &hex("001d 0017"))),
        extension("000b", sized(1, &hex("00"))),
        extension("000d", sized(2, &hex("0403 0804 0401"))),
        extension("000e", [sized(2, &hex("0007 0008 0001")), vec![0]].concat()),
        extension("0017", vec![]),
    ]
    .concat();
    let body = [
        hex("fefd"),
        vec![0x5A; 32],
        sized(1, &[]),
        sized(1, &[]),
        sized(2, &hex("c02b c02f c02c")),
        sized(1, &[0]),
        sized(2, &extensions),
    ]
    .concat();
    handshake(1, &body)
}

pub(crate) fn worker() -> Vec<Seed> {
    let rtp = hex("90600001 00000002 000003e8 bede0001 10300000 10500000");
    let rtcp = hex("80c90001 000003e8 81ce0002 00000001 000003e8");
    let checks = [0, 1, 2].map(|n| step(client(n, CHECK), &[])).concat();
    let hello = client_hello();
    let mut half_hello = hello.clone();
    half_hello.truncate(40);
    let command = |name| {
        let seeds = ipc::to_shard();
        let (_, frame) = seeds
            .into_iter()
            .find(|(found, _)| *found == name)
            .expect("a seed of that name");
        step(COMMAND, &frame)
    };
    let watch = |session| {
        let session = SessionId(session);
        step(
            COMMAND,
            &ipc::control([ToShard::Command(Command::Watch { session })]),
        )
    };
    let with = |steps: &[Vec<u8>]| [&checks[..], &steps.concat()].concat();
    let to = |n, bytes: &[u8]| step(client(n, DATAGRAM), bytes);
    vec![
        (
            "stranger-everything",
            [&hello, &rtp, &rtcp, &vec![0]]
                .map(|d| step(STRANGER, d))
                .concat(),
        ),
        ("checks", checks.clone()),
        (
            "check-from-elsewhere",
            [checks.clone(), step(client(3, CHECK), &[])].concat(),
        ),
        ("hello", with(&[to(0, &hello), to(2, &hello)])),
        (
            "hello-twice",
            with(&[to(0, &hello), to(0, &hello), step(TIME, &[255; 8])]),
        ),
        ("hello-cut", with(&[to(0, &half_hello)])),
        ("hello-to-a-client", with(&[to(1, &hello)])),
        (
            "hello-before-check",
            [to(0, &hello), checks.clone(), to(0, &hello)].concat(),
        ),
        (
            "alert",
            with(&[
                to(0, &record(21, &[2, 40])),
                to(0, &record(21, &[1, 0])),
                to(0, &hello),
            ]),
        ),
        (
            "verify-request",
            with(&[to(1, &handshake(3, &hex("fefd 04 01020304")))]),
        ),
        ("server-hello-done", with(&[to(1, &handshake(14, &[]))])),
        ("encrypted-early", with(&[to(0, &record(23, &[0; 32]))])),
        (
            "media-early",
            with(&[to(0, &rtp), to(0, &rtcp), to(2, &rtp), to(2, &rtcp)]),
        ),
        (
            "time-passes",
            with(&[step(TIME, &[255; 20]), step(TIME, &[255; 120])]),
        ),
        ("create", command("create-session")),
        (
            "routes",
            with(&[
                command("create-session"),
                command("put-route"),
                command("remove-route"),
            ]),
        ),
        (
            "restart",
            with(&[
                command("create-session"),
                command("restart-ice"),
                command("close-session"),
            ]),
        ),
        ("drain", with(&[command("drain"), command("create-session")])),
        (
            "update",
            with(&[
                command("create-session"),
                command("update-receive"),
                command("send-text"),
            ]),
        ),
        (
            "watched",
            with(&[
                watch(0),
                watch(2),
                to(0, &hello),
                to(0, &rtp),
                to(2, &rtcp),
                step(TIME, &[255; 50]),
                to(0, &rtcp),
                watch(9),
            ]),
        ),
        ("empty", vec![]),
    ]
}
