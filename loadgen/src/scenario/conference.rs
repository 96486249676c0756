//! `conference`: everybody publishes, and watches everybody else.

use crate::audience::Pairing;
use crate::load::Load;
use crate::report::Report;
use crate::run::Run;

pub(crate) async fn run(load: &Load) -> anyhow::Result<Report> {
    // One session brings all others' tracks, or each publisher is watched by a session of its own.
    let (pairing, sessions) = if load.target.multistream {
        (Pairing::Spread, load.viewers)
    } else {
        let others = load.viewers.saturating_sub(1).max(1);
        (Pairing::Everyone { others }, load.viewers * others)
    };
    let mut run = Run::start(load, |manners| crate::audience::Manners { pairing, ..manners }).await?;
    run.grow(1..=sessions).await;
    let measured = run.measure("measuring", load.seconds).await;
    run.finish().await;
    Ok(Report::new(load, measured?))
}
