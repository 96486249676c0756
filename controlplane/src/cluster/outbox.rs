//! What the rooms have done and the directory hasn't heard yet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::names::{FullId, RoomName};
use crate::rooms::{Claim, LocalNews};

/// News by subject, the latest of each: no more than the rooms hold, and what has left them since it was last emptied. While
/// the directory is away nothing is kept, since everything has to be told anew then.
#[derive(Clone, Default)]
pub struct Outbox(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    some: Notify,
}

/// Chat messages that wait. When there are so many, the newest are lost: nothing of a room's state is.
const MAX_SAID: usize = 1024;

#[derive(Default)]
struct Waiting {
    open: bool,
    news: HashMap<Subject, LocalNews>,
    /// In order.
    said: Vec<LocalNews>,
}

/// What it is about.
#[derive(PartialEq, Eq, Hash)]
enum Subject {
    Publisher(RoomName, FullId),
    Viewers(RoomName),
    Claim(Claim),
}

/// `None`: it stands for itself.
fn subject(news: &LocalNews) -> Option<Subject> {
    Some(match news {
        LocalNews::Said { .. } => return None,
        LocalNews::Published(publisher) => Subject::Publisher(publisher.room.clone(), publisher.id.clone()),
        LocalNews::Unpublished { room, id } => Subject::Publisher(room.clone(), id.clone()),
        LocalNews::Viewers { room, .. } => Subject::Viewers(room.clone()),
        LocalNews::Released(claim) | LocalNews::Silent { claim, .. } => Subject::Claim(claim.clone()),
    })
}

impl Outbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes news. Waits for nobody.
    pub fn put(&self, news: LocalNews) {
        let mut waiting = self.waiting();
        if waiting.open {
            match subject(&news) {
                Some(subject) => drop(waiting.news.insert(subject, news)),
                None if waiting.said.len() < MAX_SAID => waiting.said.push(news),
                None => return,
            }
            drop(waiting);
            self.0.some.notify_one();
        }
    }

    /// From now on news are kept. There are none yet.
    pub(super) fn open(&self) {
        let mut waiting = self.waiting();
        waiting.open = true;
        waiting.news.clear();
        waiting.said.clear();
    }

    /// From now on there is no use in keeping any.
    pub(super) fn close(&self) {
        let mut waiting = self.waiting();
        waiting.open = false;
        waiting.news = HashMap::new();
        waiting.said = Vec::new();
    }

    /// Waits for news.
    pub(super) async fn some(&self) {
        self.0.some.notified().await;
    }

    /// All that there is.
    pub(super) fn take(&self) -> Vec<LocalNews> {
        let mut waiting = self.waiting();
        let (news, said) = (
            std::mem::take(&mut waiting.news),
            std::mem::take(&mut waiting.said),
        );
        news.into_values().chain(said).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_of_each_subject_is_kept_while_it_is_open() {
        let outbox = Outbox::default();
        let room = |name: &str| RoomName::new(name).unwrap();
        let viewers = |name, count| LocalNews::Viewers {
            room: room(name),
            count,
        };
        outbox.put(viewers("a", 1));
        assert_eq!(outbox.take(), []);
        outbox.open();
        for count in 0..1000 {
            outbox.put(viewers("a", count));
        }
        let id = FullId::new("x").unwrap();
        outbox.put(LocalNews::Unpublished { room: room("a"), id });
        let mut news = outbox.take();
        news.sort_by_key(|news| matches!(news, LocalNews::Unpublished { .. }));
        assert_eq!(news.len(), 2);
        assert_eq!(news[0], viewers("a", 999));
        outbox.put(viewers("b", 1));
        outbox.close();
        assert_eq!(outbox.take(), []);
    }
}
