//! Answers that go on: WebSockets, server-sent events, captures. How many there may be at once, and what ends them.
//!
//! A handler takes the [`Tenure`] of its connection and a place with [`Streams::open`], makes a stream of what there is to
//! tell, and returns it as a WebSocket ([`super::websocket::Upgrade::push`]) or as the body of an answer
//! ([`OpenStream::body`]). Who doesn't read is cut off; nobody else waits for it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use futures::{FutureExt, Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::listen::Tenure;
use super::problem::Problem;

/// For what there was to tell when the server's end came.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(1);
/// Open at once, of all kinds: three quarters of the private server's connections, so that probes and calls still get in.
const MAX_STREAMS: usize = 96;
/// For a peer to take what is written. Longer than this, and nobody reads.
pub(super) const WRITE: Duration = Duration::from_secs(10);
/// Pieces of a body that wait for the connection.
const PIECES: usize = 16;
/// A body with nothing to tell says so: proxies cut what is silent for a minute, and a peer that is gone is noticed.
const BEAT: Duration = Duration::from_secs(15);

/// The places.
#[derive(Clone)]
pub struct Streams {
    room: Arc<Semaphore>,
    max: usize,
    stop: watch::Receiver<bool>,
}

/// One place. It is free again when this is dropped.
pub struct OpenStream {
    pub(super) stop: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
    _tenure: Option<Tenure>,
}

impl Streams {
    /// `stop` turns true when the server ends, and every stream with it.
    pub fn new(stop: watch::Receiver<bool>) -> Self {
        Self::holding(MAX_STREAMS, stop)
    }

    /// As [`Streams::new`], with another number of places.
    pub fn holding(max: usize, stop: watch::Receiver<bool>) -> Self {
        Self {
            room: Arc::new(Semaphore::new(max)),
            max,
            stop,
        }
    }

    /// Takes a place.
    ///
    /// # Errors
    /// 503 when all are taken.
    pub fn open(&self, tenure: HeldBy) -> Result<OpenStream, Problem> {
        let Ok(permit) = self.room.clone().try_acquire_owned() else {
            let detail = format!("{} streams are open, which is the limit", self.max);
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).with(header::RETRY_AFTER, "5"));
        };
        Ok(OpenStream {
            stop: self.stop.clone(),
            _permit: permit,
            _tenure: tenure.0,
        })
    }
}

/// The connection of a request, for [`Streams::open`].
pub struct HeldBy(Option<Tenure>);

impl<S: Send + Sync> FromRequestParts<S> for HeldBy {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get::<Tenure>().cloned()))
    }
}

impl OpenStream {
    /// A body that goes on until `feed` ends, the peer is gone or doesn't read for ten seconds, or the server ends; what there is to tell by
    /// then is told. `beat` is
    /// sent when there was nothing else for a while.
    pub fn body<F>(self, beat: Option<Bytes>, feed: F) -> Body
    where
        F: Stream<Item = Bytes> + Send + 'static,
    {
        self.body_within(WRITE, BEAT, beat, feed)
    }

    fn body_within<F>(self, write: Duration, silence: Duration, beat: Option<Bytes>, feed: F) -> Body
    where
        F: Stream<Item = Bytes> + Send + 'static,
    {
        let (pieces, body) = mpsc::channel(PIECES);
        tokio::spawn(async move {
            // All of it: a block that named one field alone would capture that one, and the place would be free at once.
            let mut open = self;
            let mut feed = std::pin::pin!(feed);
            loop {
                let piece = tokio::select! {
                    piece = feed.next() => piece,
                    () = tokio::time::sleep(silence), if beat.is_some() => beat.clone(),
                    () = pieces.closed() => None,
                    () = ended(&mut open.stop) => {
                        let rest = async {
                            while let Some(Some(piece)) = feed.next().now_or_never() {
                                if pieces.send(piece).await.is_err() {
                                    return;
                                }
                            }
                        };
                        // Who doesn't take it in time does without.
                        let _ = tokio::time::timeout(LAST_WORDS, rest).await;
                        return;
                    }
                };
                let Some(piece) = piece else { return };
                if !matches!(tokio::time::timeout(write, pieces.send(piece)).await, Ok(Ok(()))) {
                    return;
                }
            }
        });
        let next = |mut body: mpsc::Receiver<Bytes>| async move {
            let piece = body.recv().await?;
            Some((Ok::<_, Infallible>(piece), body))
        };
        Body::from_stream(futures::stream::unfold(body, next))
    }
}

/// Returns when the server ends.
pub(super) async fn ended(stop: &mut watch::Receiver<bool>) {
    // Without a sender there is nobody left to end it.
    let _ = stop.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_are_bounded_and_come_back() {
        let (_stop, stopped) = watch::channel(false);
        let streams = Streams::new(stopped);
        let mut open: Vec<OpenStream> = (0..MAX_STREAMS)
            .map(|_| streams.open(HeldBy(None)).ok().unwrap())
            .collect();
        assert!(streams.open(HeldBy(None)).is_err());
        open.pop();
        assert!(streams.open(HeldBy(None)).is_ok());
    }

    #[tokio::test]
    async fn who_does_not_read_is_cut_off() {
        let (_stop, stopped) = watch::channel(false);
        let streams = Streams::new(stopped);
        let endless = futures::stream::repeat(Bytes::from_static(b"x"));
        let open = streams.open(HeldBy(None)).ok().unwrap();
        let body = open.body_within(Duration::from_millis(20), BEAT, None, endless);
        assert_eq!(
            streams.room.available_permits(),
            MAX_STREAMS - 1,
            "its place is taken"
        );
        while streams.room.available_permits() < MAX_STREAMS {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut rest = body.into_data_stream();
        let mut pieces = 0;
        while pieces <= PIECES && rest.next().await.is_some() {
            pieces += 1;
        }
        assert_eq!(pieces, PIECES, "what was written before, and then the end");
    }

    #[tokio::test]
    async fn silence_is_filled_and_the_end_ends_it() {
        let (stop, stopped) = watch::channel(false);
        let open = Streams::new(stopped).open(HeldBy(None)).ok().unwrap();
        let beat = Bytes::from_static(b":\n\n");
        let silence = Duration::from_millis(1);
        let body = open.body_within(WRITE, silence, Some(beat.clone()), futures::stream::pending());
        let mut body = body.into_data_stream();
        for _ in 0..3 {
            assert_eq!(body.next().await.unwrap().unwrap(), beat);
        }
        stop.send_replace(true);
        while body.next().await.is_some() {}
    }

    #[tokio::test]
    async fn what_there_is_to_tell_at_the_end_is_told() {
        let (stop, stopped) = watch::channel(true);
        let pieces = (0..100_u8).map(|n| Bytes::copy_from_slice(&[n]));
        let feed = futures::stream::iter(pieces).chain(futures::stream::pending());
        let mut body = Streams::new(stopped)
            .open(HeldBy(None))
            .ok()
            .unwrap()
            .body(None, feed)
            .into_data_stream();
        for n in 0..100 {
            assert_eq!(body.next().await.unwrap().unwrap(), [n][..]);
        }
        assert!(body.next().await.is_none());
        drop(stop);
    }
}
