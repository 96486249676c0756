//! Tells the directory what this node's rooms do.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};

use super::{Shared, fields};
use crate::directory::{Away, Claimed, Claiming, Field, Message, Name};
use crate::rooms::{Action, Claim, LocalNews};

/// Bytes of one change, about. One publisher alone may be larger.
const BATCH: usize = 64 * 1024;
/// Steps under way at once.
const AT_ONCE: usize = 32;
/// Between two attempts to make the directory right.
const AGAIN: Duration = Duration::from_secs(1);
/// After a start: data planes dial within it, and tell what they hold.
const DIALLING: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(100);

/// What stopped a write.
enum Failed {
    Away,
    /// The entries aren't this life's.
    NotOurs,
}

impl From<Away> for Failed {
    fn from(_: Away) -> Self {
        Self::Away
    }
}

pub(super) async fn run(shared: Arc<Shared>) {
    // What the last life has left is as good as what we know, until the data planes have told.
    let begin = Instant::now();
    while begin.elapsed() < DIALLING {
        match shared.ask(crate::rooms::Rooms::knows_who_is_there).await {
            Some(true) => break,
            Some(false) => tokio::time::sleep(LOOK).await,
            None => return,
        }
    }
    loop {
        if make_right(&shared).await.is_err() {
            shared.outbox.close();
            tokio::select! {
                () = shared.wrong.notified() => {}
                () = tokio::time::sleep(AGAIN) => {}
            }
            continue;
        }
        if !shared.settled.swap(true, Ordering::Relaxed) {
            shared.beat_now.notify_one();
        }
        loop {
            tokio::select! {
                () = shared.wrong.notified() => break,
                () = shared.outbox.some() => {}
            }
            if tell(&shared, shared.outbox.take()).await.is_err() {
                break;
            }
        }
    }
}

async fn tell(shared: &Shared, news: Vec<LocalNews>) -> Result<(), Failed> {
    let changes: Vec<Field> = news.iter().filter_map(fields::changed).collect();
    let said: Vec<Message> = news.iter().filter_map(|news| said(shared, news)).collect();
    let about_claims = futures::stream::iter(news).map(|news| async move {
        match news {
            LocalNews::Released(claim) => release(shared, &claim).await,
            LocalNews::Silent { claim, silent } => {
                let name = name(&claim);
                shared
                    .directory
                    .set_silent(&shared.member, &name, claim.nonce, silent)
                    .await
            }
            _ => Ok(()),
        }
    });
    change(shared, changes).await?;
    about_claims.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    // In order, so one after the other.
    for message in &said {
        shared.directory.tell(message).await?;
    }
    Ok(())
}

fn said(shared: &Shared, news: &LocalNews) -> Option<Message> {
    let LocalNews::Said { room, text } = news else {
        return None;
    };
    let from = shared.member.clone();
    Some(Message::Said {
        from,
        room: room.clone(),
        text: text.clone(),
    })
}

fn name(claim: &Claim) -> Name {
    Name::new(claim.role, &claim.room, &claim.id)
}

async fn release(shared: &Shared, claim: &Claim) -> Result<(), Away> {
    shared
        .directory
        .release(&shared.member, &name(claim), claim.nonce)
        .await
}

async fn change(shared: &Shared, changes: Vec<Field>) -> Result<(), Failed> {
    let (mut batch, mut size) = (Vec::new(), 0);
    for field in changes {
        let length = field.0.len() + field.1.as_ref().map_or(0, String::len);
        if size + length > BATCH && !batch.is_empty() {
            send(shared, std::mem::take(&mut batch)).await?;
            size = 0;
        }
        size += length;
        batch.push(field);
    }
    match batch.is_empty() {
        true => Ok(()),
        false => send(shared, batch).await,
    }
}

async fn send(shared: &Shared, batch: Vec<Field>) -> Result<(), Failed> {
    match shared.directory.change(&shared.member, batch).await? {
        true => Ok(()),
        false => Err(Failed::NotOurs),
    }
}

/// Compares what the directory holds of this node with what there is, and mends it.
async fn make_right(shared: &Shared) -> Result<(), Failed> {
    let held = shared.directory.claims(&shared.member.node).await?;
    // A claim that is pending now is a session's, or given back, by the time that the rooms are asked.
    let pending = shared.pending();
    shared.outbox.open();
    let own = shared
        .ask(crate::rooms::Rooms::own_state)
        .await
        .ok_or(Failed::Away)?;
    let there = shared.directory.read(&shared.member.node).await?;
    let mut there: BTreeMap<String, String> = there.unwrap_or_default().fields.into_iter().collect();
    let mut changes = Vec::new();
    for (field, value) in fields::emit(&own.state) {
        if there.remove(&field) != value {
            changes.push((field, value));
        }
    }
    changes.extend(there.into_keys().map(|field| (field, None)));
    change(shared, changes).await?;

    // After Redis has lost its data; who has made them can't know.
    for room in &own.created {
        shared.directory.create_room(room).await?;
    }
    let ours: HashSet<u64> = own.claims.iter().map(|(claim, ..)| claim.nonce).collect();
    let stale = held
        .into_iter()
        .filter(|(_, nonce)| !ours.contains(nonce) && !pending.contains(nonce));
    let give_back = stale
        .map(|(name, nonce)| async move { shared.directory.release(&shared.member, &name, nonce).await });
    futures::stream::iter(give_back)
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    let keep = own.claims.into_iter().map(|(claim, silent, session)| async move {
        let claiming = Claiming::Session { silent };
        let kept = shared
            .directory
            .claim(&shared.member, &name(&claim), claim.nonce, claiming);
        let Claimed::Taken(by) = kept.await? else {
            return Ok(());
        };
        tracing::info!(room = %claim.room, id = %claim.id, by = by.0, "its name is another node's by now");
        if let Some(signalling) = shared.signalling.get() {
            // Signalling that has ended holds no session.
            let _ = signalling.act(Action::Evict { session }).await;
        }
        Ok::<(), Away>(())
    });
    futures::stream::iter(keep)
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    Ok(())
}
