//! `broadcast`: few publish, many watch, one measurement.

use crate::load::Load;
use crate::report::Report;
use crate::run::Run;

pub(crate) async fn run(load: &Load) -> anyhow::Result<Report> {
    let mut run = Run::start(load, |manners| manners).await?;
    run.grow(1..=load.viewers).await;
    let measured = run.measure("measuring", load.seconds).await;
    run.finish().await;
    Ok(Report::new(load, measured?))
}
