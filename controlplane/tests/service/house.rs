//! A control plane on free ports, a data plane that agrees to everything, and a client that speaks plain HTTP/1.1.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_util::codec::Framed;
use weever_controlplane::directory::Directory;
use weever_controlplane::{Config, PROGRAM, Running, StartError, start_in};
use weever_proto::{
    Command, Event, Fingerprint, FromShard, Hello, ShardCodec, ToShard, VERSION, WorkerHello, WorkerId,
};

pub type Frames = Framed<UnixStream, ShardCodec>;

pub struct House {
    pub running: Running,
    dir: PathBuf,
}

impl Drop for House {
    fn drop(&mut self) {
        self.running.end();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The status and the `detail` of a problem.
    pub fn problem(&self) -> (u16, String) {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{} {}",
            self.status,
            self.body
        );
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(body["status"], self.status);
        assert!(body["title"].is_string() && body["type"].is_string());
        (self.status, body["detail"].as_str().unwrap().to_owned())
    }
}

pub fn hello(name: &str) -> Hello {
    Hello {
        version: VERSION,
        name: name.into(),
        incarnation: 1,
        software: "test".into(),
        fingerprint: Fingerprint {
            hash: "sha-256".into(),
            value: vec![0xab; 32],
        },
        workers: vec![WorkerHello {
            id: WorkerId(0),
            candidates: vec!["127.0.0.1:9".parse().unwrap()],
        }],
        max_sessions: 1000,
        draining: false,
        relay: false,
    }
}

impl House {
    /// Without a data plane.
    pub async fn empty(flags: &[&str]) -> Self {
        Self::attempt(flags, None).await.unwrap()
    }

    /// Without a data plane, maybe in a cluster with others that are given the same directory.
    pub async fn attempt(flags: &[&str], directory: Option<Arc<dyn Directory>>) -> Result<Self, StartError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("weever-test-{}-{number}", std::process::id()));
        let socket = dir.join("control.sock");
        let mut args = vec![
            "--host=127.0.0.1".to_owned(),
            "--port=0".into(),
            "--private-port=0".into(),
        ];
        args.push(format!("--control-socket={}", socket.display()));
        args.extend(flags.iter().map(|&flag| flag.to_owned()));
        let no_file = |_: &std::path::Path| Err(std::io::Error::from(std::io::ErrorKind::NotFound));
        let resolved = PROGRAM.resolve(&args, |_| None, no_file).unwrap();
        let mut take = resolved.take();
        let config = Config::from(&mut take);
        take.finish().unwrap();
        match start_in(config, directory).await {
            Ok(running) => Ok(Self { running, dir }),
            Err(error) => {
                let _ = std::fs::remove_dir_all(&dir);
                Err(error)
            }
        }
    }

    /// With a data plane that does as it is told.
    pub async fn with(flags: &[&str]) -> Self {
        let house = Self::empty(flags).await;
        house.oblige("played").await;
        house
    }

    /// Adds a data plane that does as it is told, until the task is aborted.
    pub async fn oblige(&self, name: &str) -> JoinHandle<()> {
        let mut frames = self.dial().await;
        frames.send(FromShard::Hello(hello(name))).await.unwrap();
        assert!(matches!(frames.next().await, Some(Ok(ToShard::Welcome(_)))));
        frames.send(FromShard::SnapshotEnd(0)).await.unwrap();
        let plane = tokio::spawn(oblige(frames));
        while self.get("/readiness").await.status != 200 {
            tokio::task::yield_now().await;
        }
        plane
    }

    pub async fn dial(&self) -> Frames {
        Framed::new(
            UnixStream::connect(&self.running.control_socket).await.unwrap(),
            ShardCodec,
        )
    }

    /// On the private port.
    pub async fn get(&self, path: &str) -> Response {
        request(self.running.private, "GET", path, &[], "").await
    }

    /// On the private port.
    pub async fn private(&self, method: &str, path: &str, body: &str) -> Response {
        request(
            self.running.private,
            method,
            path,
            &[("content-type", "application/json")],
            body,
        )
        .await
    }

    /// On the public port.
    pub async fn public(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        request(self.running.public, method, path, headers, body).await
    }

    pub async fn join(&self, path: &str, offer: &str) -> Response {
        self.public("POST", path, &[("content-type", "application/sdp")], offer)
            .await
    }
}

pub async fn oblige(mut frames: Frames) {
    while let Some(Ok(frame)) = frames.next().await {
        let answer = match frame {
            ToShard::Ping(nonce) => FromShard::Pong(nonce),
            ToShard::Command(Command::CreateSession(spec)) => FromShard::Event(Event::SessionReady {
                session: spec.session,
            }),
            _ => continue,
        };
        if frames.send(answer).await.is_err() {
            return;
        }
    }
}

pub async fn request(
    at: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    stream.write_all(text.as_bytes()).await.unwrap();
    // A server that has refused already may have closed.
    let _ = stream.write_all(body.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{method} {path}: {answer:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let split = |line: &str| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    Response {
        status,
        headers: lines.map(split).collect(),
        body: body.to_owned(),
    }
}

pub const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
    a=fingerprint:sha-256 1E:9D:6A:5C:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:01:02:03:04:05:06:07:08:09:0A:0B:0C\r\n\
    a=setup:actpass\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n";
