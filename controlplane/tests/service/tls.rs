//! HTTPS, and HTTP/2 over it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use weever_controlplane::http::tls::Certificate;

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

struct Files {
    dir: PathBuf,
}

impl Files {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("weever-tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// In the way of certbot and Kubernetes: a new directory, and a link that is moved over the old one. Returns the certificate.
    fn renew(&self, version: &str) -> CertificateDer<'static> {
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let fresh = self.path(version);
        std::fs::create_dir_all(&fresh).unwrap();
        std::fs::write(fresh.join("cert.pem"), pem("CERTIFICATE", own.cert.der())).unwrap();
        std::fs::write(
            fresh.join("key.pem"),
            pem("PRIVATE KEY", &own.signing_key.serialize_der()),
        )
        .unwrap();
        let link = self.path("next");
        std::os::unix::fs::symlink(&fresh, &link).unwrap();
        std::fs::rename(&link, self.path("live")).unwrap();
        own.cert.der().clone()
    }

    async fn house(&self) -> House {
        let flag = |name: &str, file: &str| format!("--{name}={}", self.path("live").join(file).display());
        House::with(&[&flag("cert-file", "cert.pem"), &flag("key-file", "key.pem")]).await
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

async fn connect(house: &House, root: &CertificateDer<'static>, protocol: &[u8]) -> TlsStream<TcpStream> {
    connect_to(house, &[root], protocol).await
}

async fn connect_to(
    house: &House,
    trusted: &[&CertificateDer<'static>],
    protocol: &[u8],
) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    for root in trusted {
        roots.add((*root).clone()).unwrap();
    }
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
    let files = Files::new("versions");
    let own = files.renew("1");
    let house = files.house().await;

    let mut one = connect(&house, &own, b"http/1.1").await;
    one.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    one.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));

    let mut two = connect(&house, &own, b"h2").await;
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
}

async fn get(stream: &mut TlsStream<TcpStream>) -> String {
    stream
        .write_all(b"HEAD / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(answer).unwrap()
}

fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0]
        .clone()
        .into_owned()
}

/// Connects, trusting both, until the server shows the second. The connection that stands is used meanwhile.
async fn renewed(
    house: &House,
    standing: &mut TlsStream<TcpStream>,
    old: &CertificateDer<'static>,
    new: &CertificateDer<'static>,
) {
    loop {
        assert!(get(standing).await.starts_with("HTTP/1.1 200 OK\r\n"));
        let stream = connect_to(house, &[old, new], b"http/1.1").await;
        if shown(&stream) == *new {
            return;
        }
        assert_eq!(shown(&stream), *old);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_and_connections_that_stand_go_on() {
    let files = Files::new("renewal");
    let first = files.renew("1");
    let house = files.house().await;
    let mut old = connect(&house, &first, b"http/1.1").await;
    assert!(get(&mut old).await.starts_with("HTTP/1.1 200 OK\r\n"));

    let second = files.renew("2");
    renewed(&house, &mut old, &first, &second).await;
    assert!(get(&mut old).await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(shown(&old), first);

    // A certificate to which the key doesn't belong, then none at all: the last good one stays.
    std::fs::copy(files.path("1/cert.pem"), files.path("2/cert.pem")).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    std::fs::remove_file(files.path("2/key.pem")).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(
        shown(&connect_to(&house, &[&first, &second], b"h2").await),
        second
    );
    let third = files.renew("3");
    renewed(&house, &mut old, &second, &third).await;
}

#[test]
fn what_is_wrong_with_certificate_or_key_is_named() {
    let files = Files::new("errors");
    files.renew("1");
    files.renew("2");
    let (cert, key) = (files.path("1/cert.pem"), files.path("1/key.pem"));
    std::fs::write(files.path("empty"), "").unwrap();
    std::fs::write(
        files.path("locked"),
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .unwrap();
    std::fs::write(files.path("long"), vec![b'x'; 2 << 20]).unwrap();
    let error = |cert: &Path, key: &Path| Certificate::read(cert, key).unwrap_err().to_string();
    assert!(Certificate::read(&cert, &key).is_ok());
    for (cert, key, starts, says) in [
        (
            &cert,
            &files.path("2/key.pem"),
            "--key-file",
            "does not belong to the certificate",
        ),
        (&key, &cert, "--cert-file", "no certificate in it"),
        (&cert, &cert, "--key-file", "no private key in it"),
        (&files.path("empty"), &key, "--cert-file", "no certificate in it"),
        (
            &files.path("nothing.pem"),
            &key,
            "--cert-file",
            "nothing.pem: No such file",
        ),
        (&cert, &files.path("locked"), "--key-file", "encrypted"),
        (&files.path("long"), &key, "--cert-file", "longer than"),
        (&files.dir, &key, "--cert-file", "not a regular file"),
    ] {
        let text = error(cert, key);
        assert!(text.starts_with(starts) && text.contains(says), "{text}");
    }
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
