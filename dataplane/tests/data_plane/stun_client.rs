//! Connectivity checks (RFC 8445 §7.2) of a client, written and read without the code under test.

use std::net::{SocketAddr, UdpSocket};

use aws_lc_rs::hmac;
use weever_proto::SessionSpec;

use crate::PATIENCE;

const COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
const SUCCESS: u16 = 0x0101;

pub(crate) struct StunClient {
    socket: UdpSocket,
    transaction: u64,
}

impl StunClient {
    pub(crate) fn towards(server: SocketAddr) -> Self {
        let local = if server.is_ipv4() {
            "127.0.0.1:0"
        } else {
            "[::1]:0"
        };
        let socket = UdpSocket::bind(local).unwrap();
        // Connected: an answer from another address than the one asked doesn't count.
        socket.connect(server).unwrap();
        Self {
            socket,
            transaction: 0,
        }
    }

    /// Sends a check, signed with `password`.
    pub(crate) fn ask(&mut self, spec: &SessionSpec, password: &str) {
        self.transaction += 1;
        let username = format!("{}:{}", spec.local.ufrag, spec.remote.ufrag);
        let mut attributes = attribute(0x0006, username.as_bytes());
        attributes.extend(attribute(0x0024, &0x6e00_1effu32.to_be_bytes()));
        attributes.extend(attribute(0x802A, &[9; 8]));
        // The length that the signature covers includes the signature's own attribute (RFC 8489 §14.5).
        let mut request = vec![0x00, 0x01];
        request.extend(u16::try_from(attributes.len() + 24).unwrap().to_be_bytes());
        request.extend(COOKIE);
        request.extend([0; 4]);
        request.extend(self.transaction.to_be_bytes());
        request.extend(attributes);
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
        let signature = hmac::sign(&key, &request);
        request.extend(attribute(0x0008, signature.as_ref()));
        self.socket.send(&request).unwrap();
    }

    /// Waits for the answer to the last check.
    pub(crate) fn is_answered(&self) {
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = [0; 1500];
        let len = self.socket.recv(&mut answer).expect("an answer");
        assert!(len >= 20);
        assert_eq!(u16::from_be_bytes([answer[0], answer[1]]), SUCCESS);
        assert_eq!(answer[12..20], self.transaction.to_be_bytes());
    }

    /// True when an answer is there already.
    pub(crate) fn has_answer(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        let got = self.socket.recv(&mut [0; 1500]).is_ok();
        self.socket.set_nonblocking(false).unwrap();
        got
    }
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}
