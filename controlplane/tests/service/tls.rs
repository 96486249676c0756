//! HTTPS, and HTTP/2 over it.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use weever_controlplane::http::listen::{ListenError, tls};

use crate::house::House;

/// RFC 7468
fn pem(label: &str, der: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in der.chunks(48) {
        for three in line.chunks(3) {
            let bits = (0..3).fold(0u32, |bits, n| bits << 8 | u32::from(*three.get(n).unwrap_or(&0)));
            for n in 0..4 {
                let letter = char::from(LETTERS[(bits >> (18 - 6 * n) & 63) as usize]);
                text.push(if n <= three.len() { letter } else { '=' });
            }
        }
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

async fn connect(house: &House, root: &CertificateDer<'static>, protocol: &[u8]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(house.running.public).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap()
}

#[tokio::test]
async fn https_in_both_versions_of_http() {
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let dir = std::env::temp_dir().join(format!("weever-tls-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    std::fs::write(&cert, pem("CERTIFICATE", own.cert.der())).unwrap();
    std::fs::write(&key, pem("PRIVATE KEY", &own.signing_key.serialize_der())).unwrap();
    let flag = |name: &str, path: &Path| format!("--{name}={}", path.display());
    let house = House::with(&[&flag("cert-file", &cert), &flag("key-file", &key)]).await;

    let mut one = connect(&house, own.cert.der(), b"http/1.1").await;
    one.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    one.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));

    let mut two = connect(&house, own.cert.der(), b"h2").await;
    assert_eq!(two.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    // RFC 9113: the preface, empty SETTINGS, and HEADERS (END_STREAM, END_HEADERS) of GET https://w/ on stream 1.
    two.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    two.write_all(b"\0\0\x06\x01\x05\0\0\0\x01\x82\x87\x84\x41\x01w")
        .await
        .unwrap();
    loop {
        let mut head = [0; 9];
        two.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        two.read_exact(&mut payload).await.unwrap();
        if head[3] == 1 {
            assert_eq!(payload.first(), Some(&0x88), ":status 200 (RFC 7541 appendix A)");
            break;
        }
    }

    assert!(matches!(
        tls(&key, &cert),
        Err(ListenError::Tls {
            flag: "--cert-file",
            ..
        })
    ));
    let Err(missing) = tls(&dir.join("nothing.pem"), &key) else {
        panic!()
    };
    assert!(missing.to_string().contains("nothing.pem"), "{missing}");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[tokio::test]
async fn a_taken_port_is_named_with_its_flag() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let error =
        weever_controlplane::http::listen::bind("the public server", "--host or --port", address).await;
    let text = error.unwrap_err().to_string();
    assert!(
        text.contains(&address.to_string()) && text.contains("--port"),
        "{text}"
    );
}
