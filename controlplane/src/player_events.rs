//! Events of subscribers that wait to be read.
//!
//! The signalling task puts them in, HTTP handlers take them out; neither waits for the other.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::rooms::{PlayerEvent, SessionKey, StreamId, Topic};

/// Events that wait to be read. Whoever leaves more unread than these is cut off.
const MAX_WAITING: usize = 32;

/// All streams that are open.
#[derive(Clone, Default)]
pub struct PlayerEvents {
    open: Arc<Mutex<HashMap<StreamId, Arc<Stream>>>>,
}

/// More waits than a stream holds: it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a reader of events is too slow")]
pub struct TooSlow(
    /// Whose stream it was.
    pub SessionKey,
);

struct Stream {
    session: SessionKey,
    queue: Mutex<Queue>,
    news: watch::Sender<()>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<PlayerEvent>,
    ended: bool,
    /// Counts those who have read. The last one does: a client that lost its connection comes again before the server has
    /// noticed.
    readers: u64,
}

impl PlayerEvents {
    /// A stream begins.
    pub fn open(&self, id: StreamId, session: SessionKey) {
        let stream = Stream {
            session,
            queue: Mutex::default(),
            news: watch::Sender::new(()),
        };
        lock(&self.open).insert(id, Arc::new(stream));
    }

    /// An event is to be read.
    ///
    /// # Errors
    /// Too much waits already: the stream has ended.
    pub fn push(&self, id: StreamId, event: PlayerEvent) -> Result<(), TooSlow> {
        let Some(stream) = lock(&self.open).get(&id).cloned() else {
            return Ok(());
        };
        if stream.push(event) {
            return Ok(());
        }
        self.end(id);
        Err(TooSlow(stream.session))
    }

    /// A stream ends. Its reader is told, what waits is dropped.
    pub fn end(&self, id: StreamId) {
        let ended = lock(&self.open).remove(&id);
        if let Some(stream) = ended {
            lock(&stream.queue).ended = true;
            stream.news.send_replace(());
        }
    }

    /// Begins to read a stream of a session; who has read it until now no longer does.
    pub fn read(&self, session: SessionKey, id: StreamId) -> Option<Reader> {
        let stream = lock(&self.open).get(&id).cloned()?;
        if stream.session != session {
            return None;
        }
        let turn = {
            let mut queue = lock(&stream.queue);
            queue.readers += 1;
            queue.readers
        };
        let news = stream.news.subscribe();
        stream.news.send_replace(());
        Some(Reader { stream, turn, news })
    }
}

impl Stream {
    /// Returns whether there was room.
    fn push(&self, event: PlayerEvent) -> bool {
        let mut queue = lock(&self.queue);
        // Of counts and layers only the newest is of interest.
        if matches!(event.topic(), Topic::ViewerCount | Topic::Layers) {
            queue.waiting.retain(|old| old.topic() != event.topic());
        }
        if queue.waiting.len() >= MAX_WAITING {
            return false;
        }
        queue.waiting.push_back(event);
        drop(queue);
        self.news.send_replace(());
        true
    }
}

/// Who reads a stream.
pub struct Reader {
    stream: Arc<Stream>,
    turn: u64,
    news: watch::Receiver<()>,
}

impl Reader {
    /// The next event, when there is one; `None` when the stream has ended or somebody else reads it now.
    pub async fn next(&mut self) -> Option<PlayerEvent> {
        loop {
            self.news.mark_unchanged();
            {
                let mut queue = lock(&self.stream.queue);
                if queue.ended || queue.readers != self.turn {
                    return None;
                }
                if let Some(event) = queue.waiting.pop_front() {
                    return Some(event);
                }
            }
            self.news.changed().await.ok()?;
        }
    }
}

/// What is behind the locks holds at every moment, whoever panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: StreamId = StreamId(7);
    const SESSION: SessionKey = SessionKey(9);

    fn opened() -> PlayerEvents {
        let streams = PlayerEvents::default();
        streams.open(STREAM, SESSION);
        streams
    }

    #[tokio::test]
    async fn events_come_in_order_and_of_counts_the_newest() {
        let streams = opened();
        for event in [
            PlayerEvent::ViewerCount(1),
            PlayerEvent::Active,
            PlayerEvent::ViewerCount(2),
            PlayerEvent::Inactive,
        ] {
            streams.push(STREAM, event).unwrap();
        }
        let mut reader = streams.read(SESSION, STREAM).unwrap();
        assert_eq!(reader.next().await, Some(PlayerEvent::Active));
        assert_eq!(reader.next().await, Some(PlayerEvent::ViewerCount(2)));
        assert_eq!(reader.next().await, Some(PlayerEvent::Inactive));
        streams.end(STREAM);
        assert_eq!(reader.next().await, None);
        assert!(streams.read(SESSION, STREAM).is_none());
    }

    #[tokio::test]
    async fn who_does_not_read_is_cut_off() {
        let streams = opened();
        let mut reader = streams.read(SESSION, STREAM).unwrap();
        for _ in 0..1000 {
            streams.push(STREAM, PlayerEvent::ViewerCount(1)).unwrap();
        }
        for _ in 1..MAX_WAITING {
            streams.push(STREAM, PlayerEvent::Active).unwrap();
        }
        assert_eq!(streams.push(STREAM, PlayerEvent::Active), Err(TooSlow(SESSION)));
        assert_eq!(reader.next().await, None);
        assert_eq!(
            streams.push(STREAM, PlayerEvent::Active),
            Ok(()),
            "it is forgotten"
        );
    }

    #[tokio::test]
    async fn the_last_reader_reads_and_nobody_elses_stream() {
        let streams = opened();
        let mut first = streams.read(SESSION, STREAM).unwrap();
        assert!(streams.read(SessionKey(8), STREAM).is_none());
        let waiting = tokio::spawn(async move { first.next().await });
        tokio::task::yield_now().await;
        let mut second = streams.read(SESSION, STREAM).unwrap();
        assert_eq!(waiting.await.unwrap(), None);
        streams.push(STREAM, PlayerEvent::Active).unwrap();
        assert_eq!(second.next().await, Some(PlayerEvent::Active));
    }
}
