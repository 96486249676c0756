//! The lease.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{BEAT, Shared};
use crate::directory::{About, Entered, Renewed, Seen};

/// After the directory was away nobody is taken for dead for so long: others come back to it as we did.
pub(super) const MERCY: std::time::Duration = std::time::Duration::from_secs(5);

/// What was said in the log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    NameTaken,
}

pub(super) async fn run(shared: Arc<Shared>) {
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said = Said::Nothing;
    let mut since: Option<Instant> = None;
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            () = shared.beat_now.notified() => {}
        }
        let about = match shared
            .ask(|rooms| (rooms.is_ready(), load(&rooms.shards())))
            .await
        {
            Some((takes, load)) => shared.about(takes, load),
            None => return,
        };
        match shared.directory.renew(&shared.member, &about).await {
            Ok(Renewed::Yes(seen)) => {
                said = Said::Nothing;
                let since = since.get_or_insert_with(Instant::now);
                if since.elapsed() >= MERCY {
                    reap(&shared, &seen).await;
                }
                shared
                    .metrics
                    .nodes(seen.iter().filter(|seen| seen.alive).count());
                shared.nodes.send_replace(seen);
            }
            Ok(Renewed::Lapsed) => {
                since = None;
                shared.settled.store(false, Ordering::Relaxed);
                let about = About {
                    settled: false,
                    ..about
                };
                match shared.directory.enter(&shared.member, &about).await {
                    Ok(Entered::Yes) => {
                        tracing::info!(node = shared.member.node.0, "in the directory again");
                        shared.wrong.notify_one();
                        shared.beat_now.notify_one();
                    }
                    Ok(Entered::Held { .. }) => complain(&shared, &mut said),
                    Err(_) => {}
                }
            }
            Ok(Renewed::Replaced) => {
                since = None;
                complain(&shared, &mut said);
            }
            Err(_) => since = None,
        }
    }
}

fn complain(shared: &Shared, said: &mut Said) {
    if std::mem::replace(said, Said::NameTaken) != Said::NameTaken {
        tracing::error!(
            node = shared.member.node.0,
            "another node has this node's name in the directory: it serves without the cluster; give each its own --pod-name"
        );
    }
}

/// Clears away what the dead have left. Any survivor may, at the same time as others.
async fn reap(shared: &Shared, seen: &[Seen]) {
    for dead in seen.iter().filter(|seen| seen.reapable) {
        tracing::warn!(node = dead.node.0, "a node is dead: its entries are cleared away");
        while let Ok(false) = shared.directory.reap(&dead.node).await {}
    }
}

/// Of this node: the mean of its workers, thousandths.
fn load(shards: &[crate::rooms::ShardInfo]) -> u32 {
    let loads = || {
        shards
            .iter()
            .flat_map(|shard| &shard.workers)
            .map(|worker| worker.load_permille)
    };
    let count = u32::try_from(loads().count()).unwrap_or(u32::MAX);
    loads().fold(0_u32, u32::saturating_add) / count.max(1)
}
