//! Tells the rooms what other nodes do.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::time::Instant;
use weever_proto::limits;

use super::beat::MERCY;
use super::{Shared, fields, questions};
use crate::directory::{Field, Heard, Member, Message, Seen};
use crate::rooms::{Action, NodeName, NodeNews, NodeState};

/// Another node, as far as it is known here.
struct Known {
    incarnation: String,
    sequence: u64,
    publishers: HashSet<String>,
}

/// A chat message and the name before it, bytes.
const MAX_SAID: usize = limits::MAX_CHAT + 256;

struct Reader {
    shared: Arc<Shared>,
    known: HashMap<NodeName, Known>,
    /// Since when messages and renewals come without a break.
    since: Instant,
}

pub(super) async fn run(shared: Arc<Shared>, mut heard: broadcast::Receiver<Heard>) {
    let mut nodes = shared.nodes.subscribe();
    let mut reader = Reader {
        shared,
        known: HashMap::new(),
        since: Instant::now(),
    };
    loop {
        tokio::select! {
            heard = heard.recv() => match heard {
                Ok(heard) => reader.hear(heard).await,
                Err(broadcast::error::RecvError::Lagged(_)) => reader.anew(),
                Err(broadcast::error::RecvError::Closed) => return,
            },
            changed = nodes.changed() => {
                if changed.is_err() {
                    return;
                }
                let seen = nodes.borrow_and_update().clone();
                reader.compare(&seen).await;
            }
        }
        let publishers = reader.known.values().map(|known| known.publishers.len()).sum();
        reader.shared.metrics.remote_publishers(publishers);
    }
}

impl Reader {
    /// Something may have been missed: sequences tell, as soon as they are known.
    fn anew(&mut self) {
        self.since = Instant::now();
        self.shared.beat_now.notify_one();
        self.shared.wrong.notify_one();
    }

    async fn hear(&mut self, heard: Heard) {
        let own = self.shared.member.clone();
        match heard {
            Heard::Anew => self.anew(),
            Heard::Nonsense => self.shared.metrics.ignored(1),
            Heard::Message(Message::Change {
                member,
                sequence,
                fields,
            }) => {
                if member.node != own.node {
                    self.change(member, sequence, fields).await;
                }
            }
            Heard::Message(Message::Gone { member }) => {
                if member == own {
                    // We were taken for dead.
                    self.shared.beat_now.notify_one();
                } else if self
                    .known
                    .get(&member.node)
                    .is_some_and(|known| known.incarnation == member.incarnation)
                {
                    self.forget(&member.node).await;
                }
            }
            Heard::Message(Message::Evict { node, nonce }) => {
                if node == own.node {
                    self.evict(&nonce).await;
                }
            }
            Heard::Message(Message::Ask {
                from,
                question,
                asked,
            }) => {
                if from != own {
                    tokio::spawn(questions::answer(self.shared.clone(), from, question, asked));
                }
            }
            Heard::Message(Message::Tell {
                to,
                from,
                question,
                answer,
            }) => {
                if to == own {
                    self.shared.questions.answered(question, from, answer);
                }
            }
            Heard::Message(Message::Said { from, room, text }) => {
                if text.len() > MAX_SAID {
                    self.shared.metrics.ignored(1);
                } else if from != own {
                    tell(&self.shared, &from.node, NodeNews::Said { room, text }).await;
                }
            }
            Heard::Message(Message::Event { room, json }) => {
                // Maybe nobody reads.
                let _ = self.shared.events.send((room, json));
            }
        }
    }

    async fn change(&mut self, member: Member, sequence: u64, fields: Vec<Field>) {
        match self.known.get_mut(&member.node) {
            Some(known) if known.incarnation == member.incarnation && sequence <= known.sequence => {}
            Some(known) if known.incarnation == member.incarnation && sequence == known.sequence + 1 => {
                known.sequence = sequence;
                for field in &fields {
                    match &field.1 {
                        Some(_) if field.0.starts_with("p/") => known.publishers.insert(field.0.clone()),
                        _ => known.publishers.remove(&field.0),
                    };
                    match fields::news(field) {
                        Some(news) => tell(&self.shared, &member.node, news).await,
                        None => self.shared.metrics.ignored(1),
                    }
                }
            }
            // One that isn't known yet, or has told something that we missed: its lease says which.
            _ => self.shared.beat_now.notify_one(),
        }
    }

    /// Compares what is known of each node with what it has told.
    async fn compare(&mut self, seen: &[Seen]) {
        let own = self.shared.member.node.clone();
        for node in seen.iter().filter(|seen| seen.alive && seen.node != own) {
            let Some(about) = &node.about else {
                self.shared.metrics.ignored(1);
                continue;
            };
            if !about.settled {
                continue;
            }
            let is_known = self.known.get(&node.node).is_some_and(|known| {
                known.incarnation == about.incarnation && known.sequence >= node.sequence
            });
            if !is_known {
                self.read(&node.node).await;
            }
        }
        if self.since.elapsed() < MERCY {
            return;
        }
        let lives = |name: &NodeName| seen.iter().any(|seen| seen.alive && seen.node == *name);
        let dead: Vec<NodeName> = self.known.keys().filter(|name| !lives(name)).cloned().collect();
        for node in dead {
            tracing::warn!(
                node = node.0,
                "a node is not heard of any more: what it had is gone"
            );
            self.forget(&node).await;
        }
    }

    /// Reads all of a node's state. What doesn't come now comes with the next comparison.
    async fn read(&mut self, node: &NodeName) {
        let Ok(Some(whole)) = self.shared.directory.read(node).await else {
            if let Some(known) = self.known.get_mut(node) {
                known.incarnation.clear();
            }
            return;
        };
        let mut state = NodeState::default();
        let mut publishers = HashSet::new();
        let mut ignored = whole.fields.len().saturating_sub(fields::MAX_FIELDS);
        for (field, value) in whole.fields.into_iter().take(fields::MAX_FIELDS) {
            match fields::news(&(field.clone(), Some(value))) {
                Some(NodeNews::Published(one)) => {
                    publishers.insert(field);
                    state.publishers.push(one);
                }
                Some(NodeNews::Viewers { room, count }) => state.viewers.push((room, count)),
                _ => ignored += 1,
            }
        }
        self.shared.metrics.ignored(ignored);
        if !self.known.contains_key(node) {
            tracing::info!(node = node.0, "a node is there");
        }
        let known = Known {
            incarnation: whole.incarnation,
            sequence: whole.sequence,
            publishers,
        };
        self.known.insert(node.clone(), known);
        tell(&self.shared, node, NodeNews::State(state)).await;
    }

    async fn forget(&mut self, node: &NodeName) {
        self.known.remove(node);
        tell(&self.shared, node, NodeNews::Gone).await;
    }

    /// Somebody has the name of a session of ours.
    async fn evict(&self, nonce: &str) {
        let Ok(nonce) = u64::from_str_radix(nonce, 16) else {
            return self.shared.metrics.ignored(1);
        };
        let own = self
            .shared
            .ask(crate::rooms::Rooms::own_state)
            .await
            .unwrap_or_default();
        let mut claims = own.claims.into_iter();
        if let Some((_, _, session)) = claims.find(|(claim, ..)| claim.nonce == nonce)
            && let Some(signalling) = self.shared.signalling.get()
        {
            // Signalling that has ended holds no session.
            let _ = signalling.act(Action::Evict { session }).await;
        }
    }
}

async fn tell(shared: &Shared, node: &NodeName, news: NodeNews) {
    if let Some(signalling) = shared.signalling.get() {
        let node = node.clone();
        // Signalling that has ended needs no news.
        let _ = signalling.act(Action::Node { node, news }).await;
    }
}
