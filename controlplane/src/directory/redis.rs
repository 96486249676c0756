//! The directory in Redis: 6.2 or newer, Valkey, alone, a cluster of them, or behind Sentinel.
//!
//! All keys begin with `{prefix}:`. The braces make them one slot of a Redis Cluster, so that every step, however many keys it
//! touches, is one script and atomic: `scripts`.

mod link;
pub mod place;
mod scripts;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::{FromRedisValue, ScriptInvocation};
use tokio::sync::broadcast;

use self::link::Link;
use self::place::{Place, PlaceError};
use self::scripts::Scripts;
use super::tokens::{TOKEN_TTL, TokenKey};
use super::{
    About, Answer, Away, Claimed, Claiming, Directory, Entered, Field, Heard, LEASE, Member, Message, Name,
    REAP_AFTER, Renewed, Seen, Whole,
};
use crate::metrics::DirectoryMetrics;
use crate::names::RoomName;
use crate::rooms::NodeName;

/// Until an operation is given up.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// A node's state outlives its lease by so much if nobody clears it away, so that its next life finds it.
const LEFT_ALONE: Duration = Duration::from_secs(60);
/// A refusal is told no more often.
const COMPLAIN: Duration = Duration::from_secs(10);
/// Names cleared away in one step.
const REAP_BATCH: usize = 500;

/// What is told of Redis at the start.
#[derive(Clone)]
pub struct RedisSettings {
    /// Where it is.
    pub place: Place,
    /// In front of every key and channel.
    pub prefix: String,
}

/// Redis as a directory.
pub struct RedisDirectory {
    link: Arc<Link>,
    scripts: Scripts,
    keys: Keys,
    metrics: DirectoryMetrics,
    /// When a refusal was last told.
    complained: Mutex<Option<Instant>>,
}

/// Names of what is kept.
struct Keys {
    /// `{prefix}:`
    prefix: String,
    /// Sorted set: node, and until when it has its lease, in milliseconds of Redis' clock.
    nodes: String,
    /// Hash: node, and what it says of itself.
    about: String,
    /// Hash: node, and the number of its last change.
    sequences: String,
    /// Hash: name, and who has it: node, nonce, whether it is silent.
    claims: String,
    /// Set: rooms that operators have made.
    rooms: String,
    /// Channel.
    channel: String,
}

impl Keys {
    fn new(prefix: &str) -> Self {
        let key = |what| format!("{{{prefix}}}:{what}");
        Self {
            prefix: key(""),
            nodes: key("nodes"),
            about: key("about"),
            sequences: key("sequences"),
            claims: key("claims"),
            rooms: key("rooms"),
            channel: key("changes"),
        }
    }

    /// Hash: what a node publishes.
    fn state(&self, node: &NodeName) -> String {
        format!("{}state:{}", self.prefix, node.0)
    }

    /// Set: names that a node has claimed.
    fn held(&self, node: &NodeName) -> String {
        format!("{}held:{}", self.prefix, node.0)
    }

    /// String.
    fn token(&self, key: &TokenKey) -> String {
        format!("{}token:{}", self.prefix, key.emit())
    }
}

impl RedisDirectory {
    /// Connects, now and whenever the connection is lost. Nobody there is no error.
    ///
    /// # Errors
    /// The server is there and has refused: a wrong password, or one that may not do what is needed.
    pub async fn start(settings: RedisSettings, metrics: DirectoryMetrics) -> Result<Self, PlaceError> {
        let keys = Keys::new(&settings.prefix);
        let link = Link::new(settings.place, keys.channel.clone(), metrics.clone());
        link.first().await?;
        Ok(Self {
            link,
            scripts: Scripts::default(),
            complained: Mutex::default(),
            keys,
            metrics,
        })
    }

    /// `what` is a word of ours, for the metrics.
    async fn run<T: FromRedisValue + Send>(
        &self,
        what: &'static str,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, Away> {
        let begin = Instant::now();
        let done = self.link.invoke(script).await;
        self.metrics.operation(what, outcome(&done), begin.elapsed());
        if let Err(error @ (Away::Refused(_) | Away::Denied(_))) = &done {
            self.complain(what, error);
        }
        done
    }

    /// One line for many: what is refused once is refused each time.
    fn complain(&self, what: &'static str, error: &Away) {
        let mut last = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= COMPLAIN) {
            *last = Some(Instant::now());
            tracing::warn!(operation = what, %error, "Redis refuses what this node needs: look at its user's rights (ACL)");
        }
    }
}

impl Drop for RedisDirectory {
    fn drop(&mut self) {
        self.link.end();
    }
}

fn outcome<T>(done: &Result<T, Away>) -> &'static str {
    match done {
        Ok(_) => "ok",
        Err(Away::TimedOut) => "timeout",
        Err(Away::Unreachable(_)) => "unreachable",
        Err(Away::Refused(_) | Away::Denied(_)) => "refused",
    }
}

fn json(value: &impl serde::Serialize) -> String {
    // Trees of strings and numbers always have a JSON form.
    serde_json::to_string(value).unwrap_or_default()
}

fn hex(nonce: u64) -> String {
    format!("{nonce:016x}")
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Directory for RedisDirectory {
    fn put_token(&self, key: TokenKey, token: String) -> Answer<'_, ()> {
        Box::pin(async move {
            let mut script = self.scripts.put_token.prepare_invoke();
            script.key(self.keys.token(&key)).arg(token).arg(ms(TOKEN_TTL));
            self.run("put_token", &script).await
        })
    }

    fn token(&self, key: TokenKey) -> Answer<'_, Option<String>> {
        Box::pin(async move {
            let script = self.scripts.token.key(self.keys.token(&key));
            self.run("token", &script).await
        })
    }

    fn create_room(&self, room: &RoomName) -> Answer<'_, bool> {
        let mut script = self.scripts.create_room.prepare_invoke();
        script.key(&self.keys.rooms).arg(room.as_str());
        Box::pin(async move { self.run("create_room", &script).await })
    }

    fn delete_room(&self, room: &RoomName) -> Answer<'_, ()> {
        let mut script = self.scripts.delete_room.prepare_invoke();
        script.key(&self.keys.rooms).arg(room.as_str());
        Box::pin(async move { self.run("delete_room", &script).await })
    }

    fn has_room(&self, room: &RoomName) -> Answer<'_, bool> {
        let mut script = self.scripts.has_room.prepare_invoke();
        script.key(&self.keys.rooms).arg(room.as_str());
        Box::pin(async move { self.run("has_room", &script).await })
    }

    fn enter(&self, member: &Member, about: &About) -> Answer<'_, Entered> {
        let mut script = self.scripts.enter.prepare_invoke();
        script
            .key(&self.keys.nodes)
            .key(&self.keys.about)
            .key(self.keys.state(&member.node))
            .key(&self.keys.sequences)
            .arg(&member.node.0)
            .arg(&about.incarnation)
            .arg(&about.owner)
            .arg(json(about))
            .arg(ms(LEASE))
            .arg(ms(LEASE + LEFT_ALONE));
        Box::pin(async move {
            let until_ms: u64 = self.run("enter", &script).await?;
            Ok(match until_ms {
                0 => Entered::Yes,
                until_ms => Entered::Held { until_ms },
            })
        })
    }

    fn renew(&self, member: &Member, about: &About) -> Answer<'_, Renewed> {
        let mut script = self.scripts.renew.prepare_invoke();
        script
            .key(&self.keys.nodes)
            .key(&self.keys.about)
            .key(self.keys.state(&member.node))
            .key(&self.keys.sequences)
            .arg(&member.node.0)
            .arg(&member.incarnation)
            .arg(json(about))
            .arg(ms(LEASE))
            .arg(ms(LEASE + LEFT_ALONE));
        Box::pin(async move {
            // How it went, the time, then four for each node: its name, its lease, what it says, its last change.
            let told: Vec<String> = self.run("renew", &script).await?;
            match told.first().map(String::as_str) {
                Some("replaced") => return Ok(Renewed::Replaced),
                Some("renewed") => {}
                _ => return Ok(Renewed::Lapsed),
            }
            let number = |text: &String| text.parse::<u64>().unwrap_or(0);
            let now = told.get(1).map_or(0, number);
            let nodes = told.get(2..).unwrap_or_default().chunks_exact(4);
            let seen = nodes.map(|node| Seen {
                node: NodeName(node[0].clone()),
                about: serde_json::from_str(&node[2]).ok(),
                sequence: number(&node[3]),
                alive: number(&node[1]) > now,
                reapable: number(&node[1]).saturating_add(ms(REAP_AFTER)) <= now,
            });
            Ok(Renewed::Yes(seen.collect()))
        })
    }

    fn leave(&self, member: &Member) -> Answer<'_, ()> {
        let mut script = self.scripts.leave.prepare_invoke();
        script
            .key(&self.keys.nodes)
            .key(self.keys.state(&member.node))
            .arg(&member.node.0)
            .arg(&member.incarnation);
        Box::pin(async move { self.run("leave", &script).await })
    }

    fn reap(&self, node: &NodeName) -> Answer<'_, bool> {
        let mut script = self.scripts.reap.prepare_invoke();
        script
            .key(&self.keys.nodes)
            .key(&self.keys.about)
            .key(self.keys.state(node))
            .key(&self.keys.sequences)
            .key(&self.keys.claims)
            .key(self.keys.held(node))
            .arg(&node.0)
            .arg(&self.keys.channel)
            .arg(REAP_BATCH)
            .arg(json(node));
        Box::pin(async move { self.run("reap", &script).await })
    }

    fn claim(&self, member: &Member, name: &Name, nonce: u64, claiming: Claiming) -> Answer<'_, Claimed> {
        let silent = claiming == Claiming::Session { silent: true };
        let mut script = self.scripts.claim.prepare_invoke();
        script
            .key(&self.keys.claims)
            .key(self.keys.held(&member.node))
            .key(&self.keys.nodes)
            .arg(&member.node.0)
            .arg(name.emit())
            .arg(hex(nonce))
            .arg(u8::from(silent))
            .arg(u8::from(claiming == Claiming::Newcomer))
            .arg(&self.keys.channel);
        Box::pin(async move {
            let told: String = self.run("claim", &script).await?;
            Ok(match told.split_once(' ') {
                Some(("taken", node)) => Claimed::Taken(NodeName(node.to_owned())),
                _ if told == "own" => Claimed::Own,
                _ => Claimed::Yes,
            })
        })
    }

    fn release(&self, member: &Member, name: &Name, nonce: u64) -> Answer<'_, ()> {
        let mut script = self.scripts.release.prepare_invoke();
        script
            .key(&self.keys.claims)
            .key(self.keys.held(&member.node))
            .arg(&member.node.0)
            .arg(name.emit())
            .arg(hex(nonce));
        Box::pin(async move { self.run("release", &script).await })
    }

    fn set_silent(&self, member: &Member, name: &Name, nonce: u64, silent: bool) -> Answer<'_, ()> {
        let mut script = self.scripts.silent.prepare_invoke();
        script
            .key(&self.keys.claims)
            .arg(&member.node.0)
            .arg(name.emit())
            .arg(hex(nonce))
            .arg(u8::from(silent));
        Box::pin(async move { self.run("silent", &script).await })
    }

    fn claims(&self, node: &NodeName) -> Answer<'_, Vec<(Name, u64)>> {
        let mut script = self.scripts.claims.prepare_invoke();
        script
            .key(&self.keys.claims)
            .key(self.keys.held(node))
            .arg(&node.0);
        Box::pin(async move {
            let told: Vec<String> = self.run("claims", &script).await?;
            let claim =
                |pair: &[String]| Some((Name::parse(&pair[0])?, u64::from_str_radix(&pair[1], 16).ok()?));
            Ok(told.chunks_exact(2).filter_map(claim).collect())
        })
    }

    fn change(&self, member: &Member, fields: Vec<Field>) -> Answer<'_, bool> {
        let mut script = self.scripts.change.prepare_invoke();
        script
            .key(self.keys.state(&member.node))
            .key(&self.keys.sequences)
            .arg(&member.node.0)
            .arg(&member.incarnation)
            .arg(&self.keys.channel)
            .arg(json(member))
            .arg(json(&fields));
        for (field, value) in &fields {
            // Values are JSON: none is empty.
            script.arg(field).arg(value.as_deref().unwrap_or_default());
        }
        Box::pin(async move { self.run("change", &script).await })
    }

    fn read(&self, node: &NodeName) -> Answer<'_, Option<Whole>> {
        let mut script = self.scripts.read.prepare_invoke();
        script
            .key(self.keys.state(node))
            .key(&self.keys.sequences)
            .arg(&node.0);
        Box::pin(async move {
            let told: Vec<String> = self.run("read", &script).await?;
            let Some(sequence) = told.first() else {
                return Ok(None);
            };
            let mut whole = Whole {
                sequence: sequence.parse().unwrap_or(0),
                ..Whole::default()
            };
            for pair in told.get(1..).unwrap_or_default().chunks_exact(2) {
                match pair[0].as_str() {
                    scripts::INCARNATION => whole.incarnation.clone_from(&pair[1]),
                    _ => whole.fields.push((pair[0].clone(), pair[1].clone())),
                }
            }
            Ok(Some(whole))
        })
    }

    fn tell(&self, message: &Message) -> Answer<'_, ()> {
        let mut script = self.scripts.tell.prepare_invoke();
        // The key sends it where all other scripts run.
        script
            .key(&self.keys.nodes)
            .arg(&self.keys.channel)
            .arg(json(message));
        Box::pin(async move { self.run("tell", &script).await })
    }

    fn listen(&self) -> broadcast::Receiver<Heard> {
        self.link.listen()
    }

    fn is_there(&self) -> bool {
        self.link.is_there()
    }
}
