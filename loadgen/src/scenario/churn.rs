//! `churn`: viewers come and go while others watch.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::load::Load;
use crate::report::Report;
use crate::run::Run;

/// What churn adds to a load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Churn {
    /// How long a viewer stays on average, seconds.
    pub(crate) stay: f64,
    /// Percent of viewers that come and go; the others stay.
    pub(crate) share_percent: u32,
}

pub(crate) async fn run(load: &Load, churn: Churn) -> anyhow::Result<Report> {
    let mut run = Run::start(load, |manners| manners).await?;
    run.grow(1..=load.viewers).await;
    let moving = u64::from(load.viewers) * u64::from(churn.share_percent) / 100;
    let mut random = fastrand::Rng::with_seed(load.seed);
    let mut stay = || Duration::from_secs_f64(-churn.stay * (1.0 - random.f64()).ln());
    let begin = Instant::now();
    let mut leaving: BinaryHeap<Reverse<(Instant, u32)>> = (1..=load.viewers)
        .take(usize::try_from(moving).unwrap_or(0))
        .map(|number| Reverse((begin + stay(), number)))
        .collect();
    let mut next = load.viewers + 1;
    let end = begin + Duration::from_secs(load.seconds);
    let mut gone = JoinSet::new();
    run.progress.stage("churning", load.seconds);
    let opened = run.open().await;
    while let Some(Reverse((at, number))) = leaving.pop().filter(|Reverse((at, _))| *at < end) {
        run.wait_until(at, begin.elapsed().as_secs()).await?;
        while gone.try_join_next().is_some() {}
        gone.spawn(run.audience.leave(number));
        run.audience.join(next);
        leaving.push(Reverse((Instant::now() + stay(), next)));
        next += 1;
    }
    run.wait_until(end, load.seconds).await?;
    let measured = run.close(opened).await;
    gone.join_all().await;
    run.finish().await;
    Ok(Report::new(load, measured))
}
