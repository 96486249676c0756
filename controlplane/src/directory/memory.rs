//! A directory in this process's memory: of a node that is alone, or of several control planes that share it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;
use tokio::time::Instant;

use super::tokens::{TOKEN_TTL, TokenKey};
use super::{
    About, Answer, Away, Claimed, Claiming, Directory, Entered, Field, Heard, LEASE, MAX_WAITING, Member,
    Message, Name, REAP_AFTER, Renewed, Seen, Whole,
};
use crate::names::RoomName;
use crate::rooms::NodeName;

/// Tokens held at once; the oldest gives way.
const MAX_TOKENS: usize = 100_000;

/// Gone with the process.
pub struct MemoryDirectory {
    kept: Arc<Mutex<Kept>>,
    told: broadcast::Sender<Heard>,
    begin: Instant,
}

#[derive(Default)]
struct Kept {
    tokens: HashMap<TokenKey, (String, Instant)>,
    nodes: BTreeMap<NodeName, Node>,
    claims: BTreeMap<Name, Claim>,
    rooms: BTreeSet<RoomName>,
}

struct Node {
    about: About,
    until: Instant,
    sequence: u64,
    fields: BTreeMap<String, String>,
}

struct Claim {
    node: NodeName,
    nonce: u64,
    silent: bool,
}

impl Default for MemoryDirectory {
    fn default() -> Self {
        Self {
            kept: Arc::default(),
            told: broadcast::Sender::new(MAX_WAITING),
            begin: Instant::now(),
        }
    }
}

impl MemoryDirectory {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Whoever panicked has left nothing half done: each step is one assignment.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, message: Message) {
        // Maybe nobody listens.
        let _ = self.told.send(Heard::Message(message));
    }

    fn now<T: Send + 'static>(&self, answer: T) -> Answer<'_, T> {
        Box::pin(std::future::ready(Ok::<T, Away>(answer)))
    }
}

impl Kept {
    fn lives(&self, node: &NodeName) -> bool {
        self.nodes
            .get(node)
            .is_some_and(|node| node.until > Instant::now())
    }

    fn own(&mut self, member: &Member) -> Option<&mut Node> {
        let node = self.nodes.get_mut(&member.node)?;
        (node.about.incarnation == member.incarnation).then_some(node)
    }
}

impl Directory for MemoryDirectory {
    fn put_token(&self, key: TokenKey, token: String) -> Answer<'_, ()> {
        let (mut kept, now) = (self.kept(), Instant::now());
        let tokens = &mut kept.tokens;
        if tokens.len() >= MAX_TOKENS && !tokens.contains_key(&key) {
            tokens.retain(|_, (_, set)| now.saturating_duration_since(*set) < TOKEN_TTL);
            let oldest = tokens.iter().min_by_key(|(_, (_, set))| *set);
            if tokens.len() >= MAX_TOKENS
                && let Some(oldest) = oldest.map(|(key, _)| key.clone())
            {
                tokens.remove(&oldest);
            }
        }
        tokens.insert(key, (token, now));
        self.now(())
    }

    fn token(&self, key: TokenKey) -> Answer<'_, Option<String>> {
        let mut kept = self.kept();
        let found = kept.tokens.get(&key);
        let good = found.filter(|(_, set)| Instant::now().saturating_duration_since(*set) < TOKEN_TTL);
        let token = good.map(|(token, _)| token.clone());
        if token.is_none() {
            kept.tokens.remove(&key);
        }
        self.now(token)
    }

    fn create_room(&self, room: &RoomName) -> Answer<'_, bool> {
        let made = self.kept().rooms.insert(room.clone());
        self.now(made)
    }

    fn delete_room(&self, room: &RoomName) -> Answer<'_, ()> {
        self.kept().rooms.remove(room);
        self.now(())
    }

    fn has_room(&self, room: &RoomName) -> Answer<'_, bool> {
        let made = self.kept().rooms.contains(room);
        self.now(made)
    }

    fn enter(&self, member: &Member, about: &About) -> Answer<'_, Entered> {
        let (mut kept, now) = (self.kept(), Instant::now());
        if let Some(node) = kept.nodes.get(&member.node)
            && node.until > now
            && !node.about.handed_over
            && node.about.owner != about.owner
            && node.about.incarnation != member.incarnation
        {
            let until = node.until.saturating_duration_since(self.begin);
            let until_ms = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
            return self.now(Entered::Held { until_ms });
        }
        let node = kept.nodes.entry(member.node.clone()).or_insert_with(|| Node {
            about: About::default(),
            until: now,
            sequence: 0,
            fields: BTreeMap::new(),
        });
        node.about = about.clone();
        node.until = now + LEASE;
        let begun = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(0);
        node.sequence = begun.max(node.sequence + 2);
        self.now(Entered::Yes)
    }

    fn renew(&self, member: &Member, about: &About) -> Answer<'_, Renewed> {
        let (mut kept, now) = (self.kept(), Instant::now());
        let Some(node) = kept.nodes.get_mut(&member.node) else {
            return self.now(Renewed::Lapsed);
        };
        if node.about.incarnation != member.incarnation {
            return self.now(Renewed::Replaced);
        }
        if node.until <= now {
            return self.now(Renewed::Lapsed);
        }
        node.about = about.clone();
        node.until = now + LEASE;
        let seen = kept.nodes.iter().map(|(name, node)| Seen {
            node: name.clone(),
            about: Some(node.about.clone()),
            sequence: node.sequence,
            alive: node.until > now,
            reapable: node.until + REAP_AFTER <= now,
        });
        self.now(Renewed::Yes(seen.collect()))
    }

    fn leave(&self, member: &Member) -> Answer<'_, ()> {
        if let Some(node) = self.kept().own(member) {
            node.until = Instant::now()
                .checked_sub(REAP_AFTER)
                .unwrap_or_else(Instant::now);
        }
        self.now(())
    }

    fn reap(&self, node: &NodeName) -> Answer<'_, bool> {
        let mut kept = self.kept();
        if kept.lives(node) {
            return self.now(true);
        }
        let Some(dead) = kept.nodes.remove(node) else {
            return self.now(true);
        };
        kept.claims.retain(|_, claim| claim.node != *node);
        drop(kept);
        let member = Member {
            node: node.clone(),
            incarnation: dead.about.incarnation,
        };
        self.say(Message::Gone { member });
        self.now(true)
    }

    fn claim(&self, member: &Member, name: &Name, nonce: u64, claiming: Claiming) -> Answer<'_, Claimed> {
        let mut kept = self.kept();
        let mut evicted = None;
        if let Some(holder) = kept.claims.get(name) {
            if holder.node == member.node {
                if claiming == Claiming::Newcomer && holder.nonce != nonce {
                    return self.now(Claimed::Own);
                }
            } else if kept.lives(&holder.node) {
                if !(holder.silent && claiming == Claiming::Newcomer) {
                    return self.now(Claimed::Taken(holder.node.clone()));
                }
                evicted = Some((holder.node.clone(), holder.nonce));
            }
        }
        let silent = claiming == Claiming::Session { silent: true };
        let claim = Claim {
            node: member.node.clone(),
            nonce,
            silent,
        };
        kept.claims.insert(name.clone(), claim);
        drop(kept);
        if let Some((node, nonce)) = evicted {
            let nonce = format!("{nonce:016x}");
            self.say(Message::Evict { node, nonce });
        }
        self.now(Claimed::Yes)
    }

    fn release(&self, member: &Member, name: &Name, nonce: u64) -> Answer<'_, ()> {
        let mut kept = self.kept();
        let claim = kept.claims.get(name);
        if claim.is_some_and(|claim| claim.node == member.node && claim.nonce == nonce) {
            kept.claims.remove(name);
        }
        self.now(())
    }

    fn set_silent(&self, member: &Member, name: &Name, nonce: u64, silent: bool) -> Answer<'_, ()> {
        let mut kept = self.kept();
        let claim = kept.claims.get_mut(name);
        if let Some(claim) = claim.filter(|claim| claim.node == member.node && claim.nonce == nonce) {
            claim.silent = silent;
        }
        self.now(())
    }

    fn claims(&self, node: &NodeName) -> Answer<'_, Vec<(Name, u64)>> {
        let kept = self.kept();
        let own = kept.claims.iter().filter(|(_, claim)| claim.node == *node);
        self.now(own.map(|(name, claim)| (name.clone(), claim.nonce)).collect())
    }

    fn change(&self, member: &Member, fields: Vec<Field>) -> Answer<'_, bool> {
        let mut kept = self.kept();
        let Some(node) = kept.own(member) else {
            return self.now(false);
        };
        for (field, value) in &fields {
            match value {
                Some(value) => node.fields.insert(field.clone(), value.clone()),
                None => node.fields.remove(field),
            };
        }
        node.sequence += 1;
        // While the lock is held: changes are told in their order.
        self.say(Message::Change {
            member: member.clone(),
            sequence: node.sequence,
            fields,
        });
        self.now(true)
    }

    fn read(&self, node: &NodeName) -> Answer<'_, Option<Whole>> {
        let kept = self.kept();
        let whole = kept.nodes.get(node).map(|node| Whole {
            incarnation: node.about.incarnation.clone(),
            sequence: node.sequence,
            fields: node.fields.clone().into_iter().collect(),
        });
        self.now(whole)
    }

    fn tell(&self, message: &Message) -> Answer<'_, ()> {
        self.say(message.clone());
        self.now(())
    }

    fn listen(&self) -> broadcast::Receiver<Heard> {
        self.told.subscribe()
    }

    fn is_there(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weever_proto::Role;

    use super::*;
    use crate::names::{FullId, RoomName};

    #[tokio::test(start_paused = true)]
    async fn tokens_belong_to_the_base_id_and_expire() {
        let directory = MemoryDirectory::default();
        let room = RoomName::new("r").unwrap();
        let key = |role, id: &str| TokenKey::new(role, &room, &FullId::new(id).unwrap());
        directory
            .put_token(key(Role::Publisher, "alice"), "secret".into())
            .await
            .unwrap();
        for (role, id, wanted) in [
            (Role::Publisher, "alice+7", Some("secret")),
            (Role::Publisher, "alice-screen", Some("secret")),
            (Role::Subscriber, "alice", None),
            (Role::Publisher, "bob", None),
        ] {
            let found = directory.token(key(role, id)).await.unwrap();
            assert_eq!(found.as_deref(), wanted, "{id}");
        }
        tokio::time::advance(TOKEN_TTL - Duration::from_secs(1)).await;
        let still = directory.token(key(Role::Publisher, "alice")).await.unwrap();
        assert_eq!(still.as_deref(), Some("secret"));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(
            directory.token(key(Role::Publisher, "alice")).await.unwrap(),
            None
        );
    }
}
