//! Names of those who come, claimed before the rooms hear of them.

use std::collections::hash_map::Entry;

use super::Cluster;
use crate::directory::{self, Claiming, Name};
use crate::rooms::NodeName;

/// What comes of a claim.
pub enum Claimed {
    /// The rooms may decide.
    Held(Held),
    /// Somebody at another node is called so.
    Taken(NodeName),
}

/// A claim whose join isn't decided yet. To be settled either way.
pub struct Held {
    cluster: Cluster,
    name: Name,
    /// To be told to the rooms.
    pub nonce: u64,
    /// A session of this node had the name, under another nonce.
    own: bool,
    /// The directory didn't answer.
    away: bool,
    settled: bool,
}

impl Cluster {
    /// Claims a name. When the directory is away, the rooms alone decide, and it is told once it is back.
    pub async fn claim(&self, name: Name) -> Claimed {
        let shared = &self.0;
        // 0 is none. Without random numbers no key could have been made either.
        let nonce = getrandom::u64().unwrap_or_default().max(1);
        // Of two who come at once under one name the first is decided about first.
        match shared.joining().entry(name.clone()) {
            Entry::Occupied(_) => return Claimed::Taken(shared.member.node.clone()),
            Entry::Vacant(free) => free.insert(nonce),
        };
        let mut held = Held {
            cluster: self.clone(),
            name,
            nonce,
            own: false,
            away: false,
            settled: false,
        };
        let claimed = shared
            .directory
            .claim(&shared.member, &held.name, nonce, Claiming::Newcomer);
        match claimed.await {
            Ok(directory::Claimed::Yes) => {}
            Ok(directory::Claimed::Own) => held.own = true,
            Ok(directory::Claimed::Taken(node)) => {
                held.settle();
                return Claimed::Taken(node);
            }
            Err(_) => held.away = true,
        }
        Claimed::Held(held)
    }
}

impl Held {
    fn settle(&mut self) {
        if !std::mem::replace(&mut self.settled, true) {
            self.cluster.0.joining().remove(&self.name);
        }
    }

    /// The rooms have let them in.
    ///
    /// # Errors
    /// The name was free for a moment, and is another node's now: the session has to end.
    pub async fn confirm(mut self) -> Result<(), NodeName> {
        let shared = &self.cluster.0;
        if self.own {
            let claiming = Claiming::Session { silent: false };
            let claimed = shared
                .directory
                .claim(&shared.member, &self.name, self.nonce, claiming);
            match claimed.await {
                Ok(directory::Claimed::Taken(node)) => return Err(node),
                Ok(_) => {}
                Err(_) => self.away = true,
            }
        }
        // What wasn't answered may have been done or not: the writer looks.
        if self.away {
            shared.wrong.notify_one();
        }
        self.settle();
        Ok(())
    }
}

impl Drop for Held {
    /// They were refused, or nobody waited for the answer: the name is given back.
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        self.settle();
        let (cluster, name, nonce) = (self.cluster.clone(), self.name.clone(), self.nonce);
        if let Ok(executor) = tokio::runtime::Handle::try_current() {
            executor.spawn(async move {
                let shared = &cluster.0;
                if shared
                    .directory
                    .release(&shared.member, &name, nonce)
                    .await
                    .is_err()
                {
                    shared.wrong.notify_one();
                }
            });
        }
    }
}
