//! WebSockets (RFC 6455) that tell something. What a client says on one is not listened to, save its close, which is answered
//! and flushed before the connection ends.

use std::error::Error;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::FromRequestParts;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocketUpgrade};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::Response;
use futures::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite;

use super::problem::Problem;
use super::streams::{LAST_WORDS, OpenStream, WRITE, ended};

/// How long a peer may take.
#[derive(Clone, Copy)]
struct Patience {
    /// How often it is asked whether it is still there.
    ping: Duration,
    /// When it has said nothing for this long, no pong either, it is gone.
    silence: Duration,
    /// For what is written.
    write: Duration,
    /// For the other half of the close handshake.
    close: Duration,
}

const PATIENCE: Patience = Patience {
    ping: Duration::from_secs(20),
    silence: Duration::from_secs(50),
    write: WRITE,
    close: Duration::from_secs(5),
};
/// Messages written in one go.
const BATCH: usize = 64;
/// Bytes of a message that a client sends, which nobody reads.
const MAX_INCOMING: usize = 4096;
/// Bytes that wait to be written. Messages wait for one another at 128 KiB; the pongs that a peer asks for and doesn't read
/// would not.
const MAX_OUTGOING: usize = 512 * 1024;

/// Close codes (RFC 6455 §7.4.1).
pub mod code {
    /// All was told.
    pub const DONE: u16 = 1000;
    /// The server ends.
    pub const AWAY: u16 = 1001;
    /// The client broke the protocol.
    pub const PROTOCOL: u16 = 1002;
    /// The client sent text that is not UTF-8.
    pub const NOT_TEXT: u16 = 1007;
    /// The client broke a rule of ours.
    pub const POLICY: u16 = 1008;
    /// The client sent a message that is too long.
    pub const TOO_BIG: u16 = 1009;
}

/// What is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Push {
    /// A text message.
    Text(Utf8Bytes),
    /// A binary message.
    Binary(Bytes),
    /// The end: a code and the reason, at most 123 bytes.
    Close(u16, &'static str),
}

/// A request for a WebSocket, as an extractor. Other requests get 426 (RFC 9110 §15.5.22).
pub struct Upgrade(WebSocketUpgrade);

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let asked = WebSocketUpgrade::from_request_parts(parts, state).await;
        asked.map(Self).map_err(|why| {
            let detail = format!(
                "a WebSocket is wanted here (RFC 6455), over HTTP/1.1: {}",
                why.body_text()
            );
            Problem::new(StatusCode::UPGRADE_REQUIRED, detail)
                .with(header::UPGRADE, "websocket")
                .with(header::CONNECTION, "upgrade")
        })
    }
}

impl Upgrade {
    /// Tells what `feed` yields until it ends, the peer closes, is silent for 50 s or doesn't read for 10 s, or the server
    /// ends.
    pub fn push<F>(self, mut open: OpenStream, feed: F) -> Response
    where
        F: Stream<Item = Push> + Send + 'static,
    {
        self.0
            .max_message_size(MAX_INCOMING)
            .max_frame_size(MAX_INCOMING)
            .max_write_buffer_size(MAX_OUTGOING)
            .on_upgrade(async move |socket| {
                tell(socket, feed, &mut open.stop, PATIENCE).await;
                drop(open);
            })
    }
}

async fn tell<S, E, F>(mut socket: S, feed: F, stop: &mut watch::Receiver<bool>, patience: Patience)
where
    S: Stream<Item = Result<Message, E>> + Sink<Message, Error = E> + Unpin,
    E: Error + 'static,
    F: Stream<Item = Push>,
{
    let mut feed = std::pin::pin!(feed.ready_chunks(BATCH));
    let mut ping = tokio::time::interval_at(Instant::now() + patience.ping, patience.ping);
    let mut heard = Instant::now();
    let (code, reason) = loop {
        let messages = tokio::select! {
            came = socket.next() => match came {
                None => return,
                Some(Err(why)) => break fault(&why),
                // Its answer is on its way.
                Some(Ok(Message::Close(_))) => return to_the_end(&mut socket, patience).await,
                Some(Ok(_)) => {
                    heard = Instant::now();
                    continue;
                }
            },
            pushed = feed.next() => match pushed {
                Some(pushed) => pushed,
                None => break (code::DONE, ""),
            },
            _ = ping.tick() => {
                let ping = [Message::Ping(Bytes::new())];
                if heard.elapsed() > patience.silence || !write(&mut socket, ping, patience).await {
                    return;
                }
                continue;
            }
            () = ended(stop) => {
                let rest = async {
                    while let Some(Some(messages)) = feed.next().now_or_never() {
                        if !write(&mut socket, messages.into_iter().map_while(message), patience).await {
                            return;
                        }
                    }
                };
                // Who doesn't take it in time does without.
                let _ = tokio::time::timeout(LAST_WORDS, rest).await;
                break (code::AWAY, "the server ends");
            }
        };
        let end = messages.iter().find_map(|one| match one {
            Push::Close(code, reason) => Some((*code, *reason)),
            _ => None,
        });
        if !write(&mut socket, messages.into_iter().map_while(message), patience).await {
            return;
        }
        if let Some(end) = end {
            break end;
        }
    };
    let reason = reason.into();
    let close = [Message::Close(Some(CloseFrame { code, reason }))];
    if write(&mut socket, close, patience).await {
        to_the_end(&mut socket, patience).await;
    }
}

/// What is said to a peer whose bytes can't be read any further (RFC 6455 §7.1.7).
fn fault(why: &(dyn Error + 'static)) -> (u16, &'static str) {
    let mut causes = std::iter::successors(Some(why), |&why| why.source());
    match causes.find_map(|why| why.downcast_ref::<tungstenite::Error>()) {
        Some(tungstenite::Error::Capacity(_)) => (code::TOO_BIG, "a message has at most 4096 bytes"),
        Some(tungstenite::Error::Utf8(_)) => (code::NOT_TEXT, "this text is not UTF-8"),
        _ => (code::PROTOCOL, "this is not the protocol"),
    }
}

fn message(push: Push) -> Option<Message> {
    match push {
        Push::Text(text) => Some(Message::Text(text)),
        Push::Binary(bytes) => Some(Message::Binary(bytes)),
        Push::Close(..) => None,
    }
}

/// Returns whether the peer took it in time.
async fn write<S>(socket: &mut S, messages: impl IntoIterator<Item = Message>, patience: Patience) -> bool
where
    S: Sink<Message> + Unpin,
{
    let writing = async {
        for one in messages {
            socket.feed(one).await?;
        }
        socket.flush().await
    };
    matches!(tokio::time::timeout(patience.write, writing).await, Ok(Ok(())))
}

/// Flushes what waits, the answer to a close among it, and reads until the other side has closed too.
async fn to_the_end<S, E>(socket: &mut S, patience: Patience)
where
    S: Stream<Item = Result<Message, E>> + Sink<Message, Error = E> + Unpin,
{
    let ending = async {
        // A socket that is closed already says so by an error.
        let _ = socket.flush().await;
        while let Some(Ok(_)) = socket.next().await {}
    };
    // Who doesn't close is cut off.
    let _ = tokio::time::timeout(patience.close, ending).await;
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use futures::channel::mpsc;
    use futures::stream;

    use super::*;

    /// Both directions of a socket, in memory.
    struct Played {
        from_peer: mpsc::UnboundedReceiver<Result<Message, mpsc::SendError>>,
        to_peer: mpsc::Sender<Message>,
    }

    impl Stream for Played {
        type Item = Result<Message, mpsc::SendError>;
        fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            self.from_peer.poll_next_unpin(cx)
        }
    }

    impl Sink<Message> for Played {
        type Error = mpsc::SendError;
        fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            self.to_peer.poll_ready(cx)
        }
        fn start_send(mut self: Pin<&mut Self>, item: Message) -> Result<(), Self::Error> {
            self.to_peer.start_send(item)
        }
        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            self.to_peer.poll_flush_unpin(cx)
        }
        fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            self.to_peer.poll_close_unpin(cx)
        }
    }

    type Says = mpsc::UnboundedSender<Result<Message, mpsc::SendError>>;

    fn played() -> (Played, Says, mpsc::Receiver<Message>) {
        let (says, from_peer) = mpsc::unbounded();
        let (to_peer, hears) = mpsc::channel(4);
        (Played { from_peer, to_peer }, says, hears)
    }

    fn text(text: &'static str) -> Push {
        Push::Text(Utf8Bytes::from_static(text))
    }

    async fn told(socket: Played, feed: impl Stream<Item = Push>) {
        let (_stop, mut stopped) = watch::channel(false);
        tell(socket, feed, &mut stopped, SHORT).await;
    }

    /// For what doesn't come, and for ever for what does.
    const SHORT: Patience = Patience {
        ping: Duration::from_millis(2),
        silence: Duration::from_millis(10),
        write: Duration::from_millis(10),
        close: Duration::from_millis(10),
    };
    const LONG: Patience = Patience {
        ping: Duration::from_millis(1),
        ..PATIENCE
    };

    #[tokio::test]
    async fn what_there_is_and_then_the_end() {
        let (socket, _says, hears) = played();
        let feed = stream::iter([text("a"), text("b"), Push::Close(4000, "enough"), text("c")]);
        let (heard, ()) = tokio::join!(hears.collect::<Vec<_>>(), told(socket, feed));
        assert_eq!(heard.len(), 3);
        assert_eq!(heard[1], Message::Text("b".into()));
        let Message::Close(Some(frame)) = &heard[2] else {
            panic!("{heard:?}")
        };
        assert_eq!((frame.code, frame.reason.as_str()), (4000, "enough"));
    }

    #[tokio::test]
    async fn a_peer_that_is_silent_is_dropped_and_one_that_pongs_is_not() {
        let (socket, _says, hears) = played();
        let (heard, ()) = tokio::join!(hears.collect::<Vec<_>>(), told(socket, stream::pending()));
        assert!(heard.iter().all(|one| *one == Message::Ping(Bytes::new())));

        let (socket, says, hears) = played();
        let (_stop, mut stopped) = watch::channel(false);
        let told = tokio::spawn(async move { tell(socket, stream::pending(), &mut stopped, LONG).await });
        let mut pings = hears.take(10);
        while pings.next().await.is_some() {
            says.unbounded_send(Ok(Message::Pong(Bytes::new()))).unwrap();
        }
        assert!(!told.is_finished());
        told.abort();
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_dropped() {
        let (socket, _says, hears) = played();
        told(socket, stream::repeat(text("x"))).await;
        drop(hears);
    }

    #[tokio::test]
    async fn the_end_of_the_server_is_said() {
        let (socket, says, hears) = played();
        let (stop, mut stopped) = watch::channel(false);
        let telling = tell(socket, stream::pending(), &mut stopped, PATIENCE);
        let mut hears = hears;
        let peer = async {
            stop.send_replace(true);
            let heard = hears.next().await;
            drop(says);
            heard
        };
        let (heard, ()) = tokio::join!(peer, telling);
        let Some(Message::Close(Some(frame))) = heard else {
            panic!("{heard:?}")
        };
        assert_eq!(frame.code, code::AWAY);
    }
}
