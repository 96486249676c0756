//! A run: publishers send, an audience watches, stages are measured.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use tokio::time::sleep;

use crate::audience::{Audience, Manners, Pairing, Tally};
use crate::clock::Clock;
use crate::counts::{Counts, PerNode};
use crate::load::Load;
use crate::measurement::{Measurement, Observed, ObservedNode};
use crate::progress::Progress;
use crate::proof::Snapshot;
use crate::publishers::Publishers;
use crate::signal::Signal;
use crate::viewer::Habits;

/// Between the publishers' connection and the first viewer: the server knows its tracks.
const SETTLE: Duration = Duration::from_secs(1);
/// How long viewers may take to have media after the last POST.
const PATIENCE: Duration = Duration::from_secs(25);
const LOOK: Duration = Duration::from_millis(500);

/// A measurement that goes on.
pub(crate) struct Opened {
    pub(crate) start: Snapshot,
    joined: PerNode,
}

pub(crate) struct Run<'a> {
    load: &'a Load,
    pub(crate) audience: Audience,
    pub(crate) progress: Progress,
    publishers: Publishers,
    before: Snapshot,
    /// Failures until then, at each node, are in a measurement already.
    told: Vec<Tally>,
    /// What the handshakes agreed on.
    cipher: Option<&'static str>,
}

impl<'a> Run<'a> {
    /// Publishers send, nobody watches yet.
    pub(crate) async fn start(
        load: &'a Load,
        manners: impl FnOnce(Manners) -> Manners,
    ) -> anyhow::Result<Self> {
        let clock = Clock::start();
        let signal = Signal::new(&load.signal)?;
        let mut progress = Progress::new();
        progress.stage("publishing", u64::from(load.publishers));
        let publishers = Publishers::start(load, clock).await?;
        sleep(SETTLE).await;
        let manners = manners(Manners {
            target: load.target.clone(),
            wishes: load.wishes(),
            habits: Habits {
                verify: load.verify,
                clock,
                nack: load.nack,
                times: load.file.as_ref().map(|filed| filed.times.clone()),
                seed: load.seed,
            },
            publishers: load.publishers,
            pairing: Pairing::Spread,
        });
        let audience = Audience::gather(manners, signal, load).await?;
        let before = Snapshot::take(&load.server, publishers.sent()).await;
        if let Some(url) = &load.server.metrics {
            let known = before
                .scraped
                .as_ref()
                .is_some_and(|scraped| scraped.cpu.is_some());
            ensure!(
                known,
                "--server-metrics {url}: there is no weever_worker_cpu_seconds_total and no process_cpu_seconds_total"
            );
        }
        Ok(Self {
            load,
            audience,
            progress,
            publishers,
            before,
            told: vec![Tally::default(); load.target.nodes.len()],
            cipher: None,
        })
    }

    /// Viewers of these numbers join, and have media or failed.
    pub(crate) async fn grow(&mut self, numbers: std::ops::RangeInclusive<u32>) {
        let until = u64::from(*numbers.end());
        self.progress.stage("joining", until);
        let progress = &self.progress;
        self.audience
            .grow(numbers, self.load.join_rate, |audience| {
                progress.joining(&audience.tally());
            })
            .await;
        self.audience
            .settle(PATIENCE, |audience| progress.joining(&audience.tally()))
            .await;
    }

    /// So many of the youngest viewers leave.
    pub(crate) async fn shrink(&mut self, viewers: u32) {
        self.progress.stage("leaving", u64::from(viewers));
        self.audience.leave_youngest(viewers).await;
        sleep(SETTLE).await;
    }

    /// Measures for so long. Joins since the last measurement are part of it.
    pub(crate) async fn measure(&mut self, name: &str, seconds: u64) -> anyhow::Result<Measurement> {
        self.progress.stage(name, seconds);
        let opened = self.open().await;
        self.wait_until(opened.start.at + Duration::from_secs(seconds), seconds)
            .await?;
        Ok(self.close(opened).await)
    }

    /// Begins a measurement.
    pub(crate) async fn open(&self) -> Opened {
        self.audience.close();
        let start = self.snapshot().await;
        let joined = self.audience.collect().await.map(joins_of);
        Opened { start, joined }
    }

    /// Ends it.
    pub(crate) async fn close(&mut self, opened: Opened) -> Measurement {
        let end = self.snapshot().await;
        self.audience.close();
        let mut by_node = self.audience.collect().await;
        by_node.merge(&opened.joined);
        let mut counts = by_node.sum();
        self.cipher = counts.cipher.or(self.cipher);
        counts.cipher = self.cipher;
        let impaired = self.audience.impaired();
        let tallies = self.audience.tallies();
        let told = std::mem::replace(&mut self.told, tallies.clone());
        let since: Vec<Tally> = tallies
            .iter()
            .zip(&told)
            .map(|(now, told)| now.since(told))
            .collect();
        let nodes = self.load.target.nodes.iter().zip(&since).enumerate();
        let nodes: Vec<ObservedNode> = nodes
            .map(|(at, (node, tally))| ObservedNode {
                name: node.name.clone(),
                counts: by_node.of(at).clone(),
                tally: tally.clone(),
            })
            .collect();
        Measurement::new(&Observed {
            counts: &counts,
            tally: &Tally::sum(&since),
            nodes: &nodes,
            before: &self.before,
            start: &opened.start,
            end: &end,
            impaired,
            impaired_publishers: self.publishers.impaired(),
        })
    }

    async fn snapshot(&self) -> Snapshot {
        Snapshot::take(&self.load.server, self.publishers.sent()).await
    }

    /// Waits, with progress in seconds. A publisher that ends, ends the run.
    pub(crate) async fn wait_until(&mut self, end: Instant, seconds: u64) -> anyhow::Result<()> {
        while Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now());
            self.tick(seconds.saturating_sub(left.as_secs())).await?;
            sleep(LOOK.min(left)).await;
        }
        Ok(())
    }

    /// Shows how it goes.
    pub(crate) async fn tick(&mut self, seconds: u64) -> anyhow::Result<()> {
        if let Some(reason) = self.publishers.failure().await {
            bail!("publishing: {reason}");
        }
        let (live, tally) = (self.audience.live(), self.audience.tally());
        self.progress.measuring(seconds, tally.with_media, live);
        Ok(())
    }

    /// Everybody leaves.
    pub(crate) async fn finish(self) {
        let refused = self.audience.disperse().await;
        if refused > 0 {
            self.progress
                .note(&format!("{refused} sessions could not be left by DELETE"));
        }
        self.publishers.stop().await;
    }
}

/// Only what concerns joining.
fn joins_of(counts: Counts) -> Counts {
    Counts {
        join: counts.join,
        first_packet: counts.first_packet,
        first_keyframe: counts.first_keyframe,
        cipher: counts.cipher,
        auth_failures: counts.auth_failures,
        ..Counts::default()
    }
}
