//! A house whose data plane says what it was told, and does what the test wants.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use weever_proto::{Command, Event, FromShard, Hello, Refusal, SessionId, SessionSpec, ToShard};

use crate::house::{Frames, House, Response, hello};

pub const SDP: (&str, &str) = ("content-type", "application/sdp");
pub const FRAGMENT: (&str, &str) = ("content-type", "application/trickle-ice-sdpfrag");
pub const JSON: (&str, &str) = ("content-type", "application/json");

/// What the data plane does with a session that it is to make.
#[derive(Clone, Copy)]
pub enum Manner {
    Oblige = 0,
    Refuse = 1,
    Dawdle = 2,
}

pub struct Stage {
    pub house: House,
    told: mpsc::UnboundedReceiver<Command>,
    say: mpsc::UnboundedSender<Event>,
    manner: Arc<AtomicU8>,
}

/// Far longer than anything takes, on a busy machine too.
pub async fn patiently<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(60), wait).await {
        Ok(come) => come,
        Err(_) => panic!("waited for {what}"),
    }
}

impl Stage {
    pub async fn with(flags: &[&str]) -> Self {
        Self::on(flags, hello("played")).await
    }

    pub async fn on(flags: &[&str], hello: Hello) -> Self {
        let house = House::empty(flags).await;
        let mut frames = house.dial().await;
        frames.send(FromShard::Hello(hello)).await.unwrap();
        assert!(matches!(frames.next().await, Some(Ok(ToShard::Welcome(_)))));
        frames.send(FromShard::SnapshotEnd(0)).await.unwrap();
        let (tell, told) = mpsc::unbounded_channel();
        let (say, said) = mpsc::unbounded_channel();
        let manner = Arc::new(AtomicU8::new(Manner::Oblige as u8));
        tokio::spawn(play(frames, tell, said, manner.clone()));
        while house.get("/readiness").await.status != 200 {
            tokio::task::yield_now().await;
        }
        Self {
            house,
            told,
            say,
            manner,
        }
    }

    pub fn behave(&self, manner: Manner) {
        self.manner.store(manner as u8, Ordering::SeqCst);
    }

    pub fn say(&self, event: Event) {
        self.say.send(event).unwrap();
    }

    /// The next command that the given function finds something in.
    pub async fn told<T>(&mut self, what: &str, find: impl Fn(&Command) -> Option<T>) -> T {
        patiently(what, async {
            loop {
                if let Some(found) = find(&self.told.recv().await.unwrap()) {
                    return found;
                }
            }
        })
        .await
    }

    /// The next session that the data plane was to make.
    pub async fn made(&mut self) -> SessionSpec {
        let find = |command: &Command| match command {
            Command::CreateSession(spec) => Some((**spec).clone()),
            _ => None,
        };
        self.told("a session", find).await
    }

    pub async fn join(&self, path: &str, offer: &str) -> Response {
        self.house.join(path, offer).await
    }

    /// Joins, and is let in.
    pub async fn joined(&mut self, path: &str, offer: &str) -> (Joined, SessionId) {
        let created = self.join(path, offer).await;
        assert_eq!(created.status, 201, "{path}: {}", created.body);
        let session = self.made().await.session;
        (Joined::from(&created), session)
    }

    /// A publisher whose handshake is done.
    pub async fn live(&mut self, path: &str, offer: &str) -> Joined {
        let (joined, session) = self.joined(path, offer).await;
        self.say(Event::SessionConnected { session });
        patiently("its handshake", async {
            while !self.status(&joined).await.contains("\"connected\":true") {
                tokio::task::yield_now().await;
            }
        })
        .await;
        joined
    }

    /// What the server tells of a session.
    pub async fn status(&self, joined: &Joined) -> String {
        self.house.public("GET", &joined.location, &[], "").await.body
    }

    pub async fn leave(&self, joined: &Joined) {
        let left = self.house.public("DELETE", &joined.location, &[], "").await;
        assert_eq!(left.status, 200, "{}", left.body);
    }

    pub async fn patch(&self, location: &str, if_match: Option<&str>, fragment: &str) -> Response {
        let mut headers = vec![FRAGMENT];
        headers.extend(if_match.map(|tag| ("if-match", tag)));
        self.house.public("PATCH", location, &headers, fragment).await
    }

    pub async fn drain(&self) {
        let drain = weever_controlplane::rooms::Action::Drain;
        self.house.running.signalling.act(drain).await.unwrap();
    }
}

impl Response {
    /// All values of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }
}

/// What a client keeps of a 201.
pub struct Joined {
    pub location: String,
    pub etag: String,
    pub links: Vec<String>,
}

impl From<&Response> for Joined {
    fn from(created: &Response) -> Self {
        Self {
            location: created.header("location").unwrap().to_owned(),
            etag: created.header("etag").unwrap().to_owned(),
            links: created.all("link").into_iter().map(str::to_owned).collect(),
        }
    }
}

impl Joined {
    /// The target and the whole of the Link of an extension.
    pub fn extension(&self, name: &str) -> Option<(&str, &str)> {
        let rel = format!("rel=\"urn:ietf:params:whep:ext:core:{name}\"");
        let link = self.links.iter().find(|link| link.contains(&rel))?;
        let (target, _) = link.strip_prefix('<')?.split_once('>')?;
        Some((target, link))
    }
}

async fn play(
    mut frames: Frames,
    tell: mpsc::UnboundedSender<Command>,
    mut said: mpsc::UnboundedReceiver<Event>,
    manner: Arc<AtomicU8>,
) {
    loop {
        let answer = tokio::select! {
            event = said.recv() => match event {
                Some(event) => FromShard::Event(event),
                None => return,
            },
            frame = frames.next() => match frame {
                Some(Ok(ToShard::Ping(nonce))) => FromShard::Pong(nonce),
                Some(Ok(ToShard::Command(command))) => {
                    let made = match &command {
                        Command::CreateSession(spec) => Some(spec.session),
                        _ => None,
                    };
                    let _ = tell.send(command);
                    match (made, manner.load(Ordering::SeqCst)) {
                        (Some(session), 0) => FromShard::Event(Event::SessionReady { session }),
                        (Some(session), 1) => FromShard::Event(Event::CommandRefused {
                            session,
                            reason: Refusal::Full,
                            detail: "the core is full".into(),
                        }),
                        _ => continue,
                    }
                }
                Some(Ok(_)) => continue,
                _ => return,
            },
        };
        if frames.send(answer).await.is_err() {
            return;
        }
    }
}

/// A response whose body goes on, read as it comes.
pub struct Reading {
    stream: TcpStream,
    pub head: String,
    raw: Vec<u8>,
    text: String,
    ended: bool,
}

impl Reading {
    pub async fn get(house: &House, path: &str) -> Self {
        let mut stream = TcpStream::connect(house.running.public).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: w\r\naccept: text/event-stream\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reading = Self {
            stream,
            head: String::new(),
            raw: Vec::new(),
            text: String::new(),
            ended: false,
        };
        let head = patiently("headers", async {
            loop {
                if let Some(at) = find(&reading.raw, b"\r\n\r\n") {
                    return reading.raw.drain(..at + 4).collect::<Vec<u8>>();
                }
                assert!(reading.more().await, "closed");
            }
        });
        reading.head = String::from_utf8(head.await).unwrap();
        reading
    }

    /// Opens a stream of some events by POST, and reads it.
    pub async fn of(house: &House, endpoint: &str, topics: &str) -> Self {
        let opened = house.public("POST", endpoint, &[JSON], topics).await;
        assert_eq!(opened.status, 201, "{}", opened.body);
        let reading = Self::get(house, opened.header("location").unwrap()).await;
        assert!(reading.head.starts_with("HTTP/1.1 200"), "{}", reading.head);
        reading
    }

    async fn more(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let n = self.stream.read(&mut buffer).await.unwrap_or(0);
        self.raw.extend_from_slice(&buffer[..n]);
        n > 0
    }

    /// Takes whole chunks (RFC 9112 §7.1) out of what came.
    fn unchunk(&mut self) {
        while let Some(at) = find(&self.raw, b"\r\n") {
            let size = usize::from_str_radix(std::str::from_utf8(&self.raw[..at]).unwrap(), 16).unwrap();
            if self.raw.len() < at + 2 + size + 2 {
                return;
            }
            self.text
                .push_str(std::str::from_utf8(&self.raw[at + 2..at + 2 + size]).unwrap());
            self.raw.drain(..at + 2 + size + 2);
            self.ended |= size == 0;
        }
    }

    /// The name and the data of the next event; `None` at the end.
    pub async fn event(&mut self) -> Option<(String, serde_json::Value)> {
        patiently("an event", async {
            loop {
                self.unchunk();
                while let Some((block, rest)) = self.text.split_once("\n\n") {
                    let block = block.to_owned();
                    self.text = rest.to_owned();
                    if block.starts_with(':') {
                        continue;
                    }
                    let (name, data) = block.split_once('\n').unwrap();
                    let data = data.strip_prefix("data: ").unwrap();
                    let name = name.strip_prefix("event: ").unwrap().to_owned();
                    return Some((name, serde_json::from_str(data).unwrap()));
                }
                if self.ended || !self.more().await {
                    return None;
                }
            }
        })
        .await
    }

    /// What comes next, if it is a comment.
    pub async fn comment(&mut self) -> Option<String> {
        patiently("a comment", async {
            loop {
                self.unchunk();
                if let Some((block, rest)) = self.text.split_once("\n\n") {
                    let comment = block.strip_prefix(':').map(str::to_owned);
                    self.text = rest.to_owned();
                    return comment;
                }
                if self.ended || !self.more().await {
                    return None;
                }
            }
        })
        .await
    }

    /// Its name alone.
    pub async fn name(&mut self) -> Option<String> {
        self.event().await.map(|(name, _)| name)
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
