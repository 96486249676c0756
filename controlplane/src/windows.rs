//! Packet windows: who looks at which session's packets. Data planes' connections put in what taps tell; each window takes it
//! out at its own pace, and what it doesn't take in time is counted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
use weever_proto::{CloseReason, Event, Packets, SessionId, WatchEnd};

/// Open at once. Each costs its session's worker something.
pub const MAX_WINDOWS: usize = 16;
/// Batches that wait for one window's reader: some seconds of a busy session, at most 64 KiB each.
const BATCHES: usize = 64;

/// The open ones.
#[derive(Debug, Clone, Default)]
pub struct Windows(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    count: usize,
    next: u64,
    of: HashMap<SessionId, Vec<Outlet>>,
}

#[derive(Debug)]
struct Outlet {
    number: u64,
    news: mpsc::Sender<News>,
    /// Packets that found no room.
    missed: u64,
}

/// What a window is told.
#[derive(Debug, Clone)]
pub enum News {
    /// Headers; the number of packets is what this window missed before.
    Packets(Arc<Packets>, u64),
    /// The tap is gone.
    Ended(WatchEnd),
    /// The session is.
    Closed(CloseReason),
}

/// All windows are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_WINDOWS} packet windows are open, which is the limit: close one")]
pub struct NoWindow;

impl Windows {
    /// Opens one on a session.
    ///
    /// # Errors
    /// There are too many.
    pub fn open(&self, session: SessionId) -> Result<Window, NoWindow> {
        let mut open = self.0.lock().map_err(|_| NoWindow)?;
        if open.count >= MAX_WINDOWS {
            return Err(NoWindow);
        }
        let (sender, news) = mpsc::channel(BATCHES);
        open.count += 1;
        open.next += 1;
        let number = open.next;
        open.of.entry(session).or_default().push(Outlet {
            number,
            news: sender,
            missed: 0,
        });
        Ok(Window {
            windows: self.clone(),
            session,
            number,
            news,
        })
    }

    /// Whether somebody looks at the session.
    pub fn is_watched(&self, session: SessionId) -> bool {
        self.0.lock().is_ok_and(|open| open.of.contains_key(&session))
    }

    /// Takes what concerns windows out of what data planes tell. The rest comes back.
    pub fn take(&self, event: Event) -> Option<Event> {
        match event {
            Event::Packets(packets) => {
                let session = packets.session;
                let packets = Arc::new(*packets);
                self.tell(
                    session,
                    &|missed| News::Packets(packets.clone(), missed),
                    packets_in(&packets),
                );
                None
            }
            Event::WatchEnded { session, reason } => {
                self.tell(session, &|_| News::Ended(reason), 0);
                None
            }
            Event::SessionClosed { session, reason } => {
                self.tell(session, &|_| News::Closed(reason), 0);
                Some(event)
            }
            event => Some(event),
        }
    }

    fn tell(&self, session: SessionId, news: &dyn Fn(u64) -> News, packets: u64) {
        let Ok(mut open) = self.0.lock() else { return };
        let Some(outlets) = open.of.get_mut(&session) else {
            return;
        };
        for outlet in outlets {
            match outlet.news.try_send(news(outlet.missed)) {
                Ok(()) if packets > 0 => outlet.missed = 0,
                Ok(()) => {}
                Err(_) => outlet.missed += packets,
            }
        }
    }

    fn close(&self, session: SessionId, number: u64) {
        let Ok(mut open) = self.0.lock() else { return };
        let Some(outlets) = open.of.get_mut(&session) else {
            return;
        };
        let before = outlets.len();
        outlets.retain(|outlet| outlet.number != number);
        let closed = before - outlets.len();
        if outlets.is_empty() {
            open.of.remove(&session);
        }
        open.count -= closed;
    }
}

fn packets_in(packets: &Packets) -> u64 {
    packets.records.len() as u64 + packets.left_out
}

/// An open window. Closed by dropping it at the latest.
#[derive(Debug)]
pub struct Window {
    windows: Windows,
    session: SessionId,
    number: u64,
    news: mpsc::Receiver<News>,
}

impl Window {
    /// The next piece of news; waits for it. Cancel safe.
    pub async fn next(&mut self) -> Option<News> {
        self.news.recv().await
    }

    /// Whose packets.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Closes it. Returns whether nobody looks at the session any more.
    pub fn close(&mut self) -> bool {
        self.windows.close(self.session, self.number);
        !self.windows.is_watched(self.session)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use weever_proto::{ChannelLabel, PacketKind, PacketRecord};

    use super::*;

    const SESSION: SessionId = SessionId(7);

    fn batch(records: usize) -> Event {
        let record = PacketRecord {
            age_us: 0,
            sent: false,
            size: 12,
            header: vec![0x80; 12],
            dropped: None,
            kind: PacketKind::Rtcp,
        };
        Event::Packets(Box::new(Packets {
            session: SESSION,
            at_unix_us: 1,
            records: vec![record; records],
            left_out: 1,
        }))
    }

    #[tokio::test]
    async fn each_window_has_all_and_a_slow_one_is_told_what_it_missed() {
        let windows = Windows::default();
        let mut quick = windows.open(SESSION).unwrap();
        let mut slow = windows.open(SESSION).unwrap();
        for _ in 0..BATCHES + 3 {
            assert_eq!(windows.take(batch(2)), None);
            assert!(matches!(quick.next().await, Some(News::Packets(batch, 0)) if batch.records.len() == 2));
        }
        for _ in 0..BATCHES {
            assert!(matches!(slow.next().await, Some(News::Packets(_, 0))));
        }
        windows.take(batch(2));
        assert!(
            matches!(slow.next().await, Some(News::Packets(_, 9))),
            "three batches of two and one"
        );
        windows.take(batch(2));
        assert!(matches!(slow.next().await, Some(News::Packets(_, 0))));
    }

    #[tokio::test]
    async fn ends_are_told_and_other_events_pass() {
        let windows = Windows::default();
        let mut window = windows.open(SESSION).unwrap();
        let closed = Event::SessionClosed {
            session: SESSION,
            reason: CloseReason::PeerClosed,
        };
        assert_eq!(
            windows.take(closed.clone()),
            Some(closed),
            "the rooms want to know too"
        );
        assert!(matches!(
            window.next().await,
            Some(News::Closed(CloseReason::PeerClosed))
        ));
        let open = Event::ChannelOpen {
            session: SESSION,
            channel: ChannelLabel::Control,
        };
        assert_eq!(windows.take(open.clone()), Some(open));
        let ended = Event::WatchEnded {
            session: SESSION,
            reason: WatchEnd::Full,
        };
        assert_eq!(windows.take(ended), None);
        assert!(matches!(window.next().await, Some(News::Ended(WatchEnd::Full))));
    }

    #[tokio::test]
    async fn there_are_so_many_and_a_closed_one_makes_room() {
        let windows = Windows::default();
        let mut all: Vec<_> = (0..MAX_WINDOWS as u64)
            .map(|session| windows.open(SessionId(session)).unwrap())
            .collect();
        assert_eq!(windows.open(SESSION).err(), Some(NoWindow));
        let closed = all.pop().unwrap().session();
        assert!(!windows.is_watched(closed));
        let again = windows.open(SessionId(0)).unwrap();
        drop(all);
        assert!(windows.is_watched(SessionId(0)));
        drop(again);
        assert!(!windows.is_watched(SessionId(0)));
    }
}
