//! The stream of events: what the rooms notice, told to whoever wants to know, in the order in which it happened.
//!
//! There is one history of the last 16,384 events, written by the signalling task, and everybody reads it at their own
//! pace: a reader is a position, so that a slow one costs nothing and holds nobody up. Who falls behind the history is told.

pub mod event;
pub mod webhook;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::extract::ws::Utf8Bytes;
use tokio::sync::watch;

use crate::names::RoomName;
use crate::rooms::Notice;
use event::{Event, Happening, ResetReason};

/// Events kept for those who come back. About 400 bytes each, so some 7 MB when full; the oldest goes first.
pub const HISTORY: usize = 16_384;
/// Events that a reader takes at once.
const BATCH: usize = 128;

/// An event, written once for all who read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Counts from 1.
    pub number: u64,
    /// Its id: the epoch and the number.
    pub id: String,
    /// Whose room's it is; `None` for what concerns data planes.
    pub room: Option<RoomName>,
    /// The JSON.
    pub json: Utf8Bytes,
}

/// What has happened, for as long as it is kept.
#[derive(Clone)]
pub struct Events(Arc<Shared>);

struct Shared {
    /// Of this process: numbers of another one mean nothing here.
    epoch: String,
    node: String,
    history: Mutex<History>,
    /// The number of the last event.
    last: watch::Sender<u64>,
}

#[derive(Default)]
struct History {
    kept: VecDeque<Arc<Record>>,
    last: u64,
}

/// Why a reader has to begin anew: what it missed is no longer known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed(pub u64);

impl Events {
    /// `epoch` names the process, hexadecimal; `node` is told with each event.
    pub fn new(epoch: u64, node: &str) -> Self {
        Self(Arc::new(Shared {
            epoch: format!("{epoch:016x}"),
            node: node.to_owned(),
            history: Mutex::default(),
            last: watch::Sender::new(0),
        }))
    }

    /// Writes down what happened. Waits for nobody who reads.
    pub fn publish(&self, notice: &Notice) {
        let Ok(mut history) = self.0.history.lock() else {
            return;
        };
        let number = history.last + 1;
        let happening = Happening::from(notice);
        let room = happening.room().cloned();
        let (id, json) = self.write(number, happening);
        if history.kept.len() == HISTORY {
            history.kept.pop_front();
        }
        history.kept.push_back(Arc::new(Record {
            number,
            id,
            room,
            json,
        }));
        history.last = number;
        drop(history);
        self.0.last.send_replace(number);
    }

    fn write(&self, number: u64, happening: Happening) -> (String, Utf8Bytes) {
        let id = format!("{}-{number}", self.0.epoch);
        let event = Event::now(&id, &self.0.node, happening);
        // A tree of strings and numbers always has a JSON form.
        let json = serde_json::to_string(&event).unwrap_or_default().into();
        (id, json)
    }

    /// The event that tells to begin anew: it stands for all that happened until `number`, which is its id.
    fn reset(&self, number: u64, reason: ResetReason) -> Record {
        let (id, json) = self.write(number, Happening::Reset { reason });
        Record {
            number,
            id,
            room: None,
            json,
        }
    }

    /// The number of the last one.
    pub fn last(&self) -> u64 {
        *self.0.last.borrow()
    }

    /// Reads what comes from now on.
    pub fn from_now(&self) -> Reader {
        let position = self.0.history.lock().map_or(0, |history| history.last);
        self.reader(position)
    }

    /// Reads all that this process has told.
    pub fn from_the_start(&self) -> Reader {
        self.reader(0)
    }

    fn reader(&self, position: u64) -> Reader {
        Reader {
            events: self.clone(),
            position,
            last: self.0.last.subscribe(),
        }
    }

    /// Goes on behind the event of this id.
    ///
    /// # Errors
    /// Why that can't be done.
    pub fn resume(&self, id: &str) -> Result<Reader, ResetReason> {
        let number = match id.rsplit_once('-') {
            Some((epoch, number)) if epoch == self.0.epoch => number.parse::<u64>().ok(),
            _ => None,
        };
        let Ok(history) = self.0.history.lock() else {
            return Err(ResetReason::Unknown);
        };
        let number = number.filter(|number| *number <= history.last);
        let number = number.ok_or(ResetReason::Unknown)?;
        if number + 1 < history.first() {
            return Err(ResetReason::Missed);
        }
        drop(history);
        Ok(self.reader(number))
    }
}

impl History {
    /// The number of the oldest that is kept, or the next one.
    fn first(&self) -> u64 {
        self.kept.front().map_or(self.last + 1, |record| record.number)
    }
}

/// A position in the stream.
pub struct Reader {
    events: Events,
    /// The number of the last event that was read.
    position: u64,
    last: watch::Receiver<u64>,
}

impl Reader {
    /// The next events, at least one; waits for it.
    ///
    /// # Errors
    /// It has fallen behind the history. It then goes on with the oldest that is there.
    pub async fn next(&mut self) -> Result<Vec<Arc<Record>>, Missed> {
        loop {
            // What is written from here on wakes us below.
            self.last.mark_unchanged();
            let batch = self.take()?;
            if !batch.is_empty() {
                return Ok(batch);
            }
            if self.last.changed().await.is_err() {
                // Its other end is in `events`, which we hold.
                return std::future::pending().await;
            }
        }
    }

    fn take(&mut self) -> Result<Vec<Arc<Record>>, Missed> {
        let Ok(history) = self.events.0.history.lock() else {
            return Ok(Vec::new());
        };
        let first = history.first();
        if self.position + 1 < first {
            let missed = first - 1 - self.position;
            self.position = first - 1;
            return Err(Missed(missed));
        }
        let skip = usize::try_from(self.position + 1 - first).unwrap_or(usize::MAX);
        let batch: Vec<_> = history.kept.iter().skip(skip).take(BATCH).cloned().collect();
        if let Some(last) = batch.last() {
            self.position = last.number;
        }
        Ok(batch)
    }

    /// The event that tells to begin anew here.
    pub fn reset(&self, reason: ResetReason) -> Record {
        self.events.reset(self.position, reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(n: usize) -> Notice {
        Notice::RoomOpened(RoomName::new(format!("r{n}")).unwrap())
    }

    #[tokio::test]
    async fn everybody_reads_at_their_own_pace() {
        let events = Events::new(7, "here");
        events.publish(&room(0));
        let mut late = events.from_now();
        let mut early = events.from_the_start();
        assert_eq!(early.next().await.unwrap()[0].id, "0000000000000007-1");
        let (read, ()) = tokio::join!(late.next(), async { events.publish(&room(1)) });
        let read = read.unwrap();
        assert_eq!((read.len(), read[0].number), (1, 2));
        assert_eq!(read[0].room.as_ref().unwrap().as_str(), "r1");
        assert_eq!(early.next().await.unwrap(), read);
    }

    #[tokio::test]
    async fn a_position_is_gone_back_to() {
        let events = Events::new(7, "here");
        for n in 0..3 {
            events.publish(&room(n));
        }
        let mut reader = events.resume("0000000000000007-1").ok().unwrap();
        let numbers: Vec<u64> = reader
            .next()
            .await
            .unwrap()
            .iter()
            .map(|one| one.number)
            .collect();
        assert_eq!(numbers, [2, 3]);
        assert!(events.resume("0000000000000007-0").is_ok(), "before the first");
        assert!(events.resume("0000000000000007-3").is_ok(), "the last");
        for unknown in [
            "0000000000000008-1",
            "0000000000000007-4",
            "0000000000000007-",
            "7-1",
            "",
            "-",
        ] {
            assert_eq!(
                events.resume(unknown).err(),
                Some(ResetReason::Unknown),
                "{unknown}"
            );
        }
    }

    #[tokio::test]
    async fn the_history_is_bounded_and_who_falls_behind_is_told() {
        let events = Events::new(7, "here");
        let mut slow = events.from_now();
        for n in 0..HISTORY + 10 {
            events.publish(&room(n));
        }
        assert_eq!(events.0.history.lock().unwrap().kept.len(), HISTORY);
        assert_eq!(slow.next().await, Err(Missed(10)));
        assert_eq!(slow.next().await.unwrap()[0].number, 11);
        assert_eq!(
            events.resume("0000000000000007-9").err(),
            Some(ResetReason::Missed)
        );
        assert!(events.resume("0000000000000007-10").is_ok());
    }
}
