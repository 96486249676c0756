//! A whole worker: datagrams of strangers and of authenticated clients, commands and time, in any order.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac::{Context, HMAC_SHA1_FOR_LEGACY_USE_ONLY, Key};
use bytes::BytesMut;
use tokio_util::codec::Decoder;
use weever_core::wire::stun::{BindingRequest, emit_binding_request};
use weever_core::{Egress, Identity, Path, SLOT, Worker, WorkerConfig};
use weever_proto::{
    Codec, Command, DtlsRole, Extension, ExtensionKind, Fingerprint, IceCredentials, Kind, PayloadType,
    Receive, Role, SessionId, SessionSpec, ShardCodec, ToShard, TrackId, WorkerId,
};

/// Steps of one input: each costs microseconds, a handshake flight more.
const MAX_STEPS: usize = 64;
const MAX_SESSIONS: usize = 8;
const PASSWORD: &str = "0123456789abcdefghijkl";

/// What was sent, by receiver.
#[derive(Default)]
struct Outbox {
    slot: Vec<u8>,
    to_stranger: usize,
    to_clients: usize,
}

impl Egress for Outbox {
    fn slot(&mut self) -> Option<&mut [u8]> {
        self.slot.resize(SLOT, 0);
        Some(&mut self.slot)
    }

    fn send(&mut self, to: Path, len: usize, segment: usize) {
        assert!(len > 0 && len <= SLOT && segment > 0);
        if to == path(STRANGER) {
            self.to_stranger += len;
        } else {
            self.to_clients += len;
        }
    }
}

/// The last byte of the address of one who never proves anything.
const STRANGER: u8 = 99;

fn path(host: u8) -> Path {
    Path {
        socket: 0,
        remote: SocketAddr::from(([10, 0, 0, host], 5000)),
    }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let mut context = Context::with_key(&Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, key));
    parts.iter().for_each(|part| context.update(part));
    context.sign().as_ref().try_into().expect("SHA-1 has 20 bytes")
}

fn check(session: u8) -> Vec<u8> {
    let request = BindingRequest {
        transaction: [session; 12],
        username: &format!("srv{session}:client{session}"),
        password: PASSWORD,
        priority: Some(1),
        role: None,
        use_candidate: true,
    };
    let mut out = vec![0; 256];
    let len = emit_binding_request(&mut out, &request, hmac).expect("room");
    out.truncate(len);
    out
}

/// Session 0 publishes as a browser does, 1 as ffmpeg does (the server is the DTLS client), 2 subscribes.
fn spec(n: u8) -> SessionSpec {
    let publishes = n < 2;
    let payload_type = PayloadType {
        pt: 96,
        codec: Codec::Vp8,
        clock_rate: 90_000,
        rtx_pt: Some(97),
        nack: true,
        pli: true,
        fir: true,
        transport_cc: true,
    };
    let receive = Receive {
        track: TrackId(u64::from(n)),
        mid: "0".to_owned(),
        kind: Kind::Video,
        payload_types: vec![payload_type],
        ssrc: Some(1000),
        rtx_ssrc: Some(1001),
    };
    let credentials = |ufrag| IceCredentials {
        ufrag,
        password: PASSWORD.to_owned(),
    };
    SessionSpec {
        session: SessionId(n.into()),
        worker: WorkerId(0),
        role: if publishes {
            Role::Publisher
        } else {
            Role::Subscriber
        },
        local: credentials(format!("srv{n}")),
        remote: credentials(format!("client{n}")),
        fingerprint: Fingerprint {
            hash: "sha-256".to_owned(),
            value: vec![n; 32],
        },
        dtls_role: if n == 1 {
            DtlsRole::Client
        } else {
            DtlsRole::Server
        },
        data_channel: true,
        receive: if publishes { vec![receive] } else { Vec::new() },
        extensions: vec![Extension {
            id: 1,
            kind: ExtensionKind::Mid,
        }],
        state: Vec::new(),
    }
}

/// One step: what happens and its bytes. An input is a row of `kind, length, bytes`.
fn steps(mut data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (&[kind, len], rest) = data.split_first_chunk()?;
        let (bytes, rest) = rest.split_at(usize::from(len).min(rest.len()));
        data = rest;
        Some((kind, bytes))
    })
}

/// Nothing that arrives ends the worker, and who hasn't authenticated is never answered.
pub fn worker(data: &[u8]) {
    let outbox = run(data);
    assert_eq!(outbox.to_stranger, 0, "an answer to one who proved nothing");
}

fn run(data: &[u8]) -> Outbox {
    static IDENTITY: OnceLock<Arc<Identity>> = OnceLock::new();
    let identity = IDENTITY
        .get_or_init(|| Identity::generate().expect("a certificate"))
        .clone();
    let mut now = Instant::now();
    let mut worker = Worker::new(
        WorkerConfig {
            id: WorkerId(0),
            identity,
            max_sessions: MAX_SESSIONS,
            egress_window_max: Duration::from_millis(5),
            relay: true,
        },
        now,
    );
    let mut outbox = Outbox::default();
    for n in 0..3 {
        worker.handle_command(now, Command::CreateSession(Box::new(spec(n))), &mut outbox);
    }
    for (kind, bytes) in steps(data).take(MAX_STEPS) {
        let client = kind >> 4 & 3;
        match kind & 0x0F {
            0 => worker.handle_datagram(now, path(STRANGER), bytes, &mut outbox),
            1 => worker.handle_datagram(now, path(client), &check(client), &mut outbox),
            2 => {
                now += Duration::from_millis(bytes.iter().map(|byte| u64::from(*byte)).sum());
                worker.handle_timeout(now, &mut outbox);
            }
            3 => {
                let decoded = ShardCodec.decode(&mut BytesMut::from(bytes));
                if let Ok(Some(ToShard::Command(command))) = decoded {
                    worker.handle_command(now, command, &mut outbox);
                }
            }
            _ => worker.handle_datagram(now, path(client), bytes, &mut outbox),
        }
        worker.flush(now, &mut outbox);
        worker.end_turn(now, now);
        while worker.poll_event().is_some() {}
        while worker.poll_handover().is_some() {}
        assert!(worker.session_count() <= MAX_SESSIONS);
        let _ = (worker.poll_timeout(), worker.track_stats());
    }
    let drops: u64 = worker.stats().drops.iter().map(|(_, count)| *count).sum();
    assert!(
        drops <= 4 * MAX_STEPS as u64 * (1 + data.len() as u64),
        "{drops} drops"
    );
    assert!(worker.snapshot(now).len() <= MAX_SESSIONS);
    outbox
}

#[cfg(test)]
mod tests {
    use super::run;

    /// The seeds reach what they are meant to reach: checks are answered, and a ClientHello with a server's flight.
    #[test]
    fn seeds_get_as_far_as_the_handshake() {
        let checks = run(include_bytes!("../corpus/worker/checks")).to_clients;
        // Session 1 is the DTLS client: its ClientHello goes out with the check's answer.
        assert!(checks > 3 * 64, "{checks} bytes for three checks");
        let hello = run(include_bytes!("../corpus/worker/hello")).to_clients;
        assert!(hello > checks + 500, "{hello} bytes, a certificate among them");
        let early = run(include_bytes!("../corpus/worker/media-early")).to_clients;
        assert_eq!(early, checks, "media without keys is not answered");
    }
}
