//! `capacity`: how many viewers a server carries before a bound breaks.
//!
//! Viewers are added by a step until a stage breaks a bound, three times in a row; then the room between the last good stage and the broken
//! one is halved until it is small; the largest good number is confirmed by a longer stage.

use crate::load::Load;
use crate::measurement::Measurement;
use crate::report::{Capacity, Report};
use crate::run::Run;

/// How a ramp goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ramp {
    /// Viewers of the first stage.
    pub(crate) start: u32,
    /// Viewers that each stage adds.
    pub(crate) step: u32,
    pub(crate) stage_seconds: u64,
    pub(crate) confirm_seconds: u64,
    /// The search ends when good and broken are so close, percent of the good one.
    pub(crate) precision: u32,
}

/// A confirmation that fails takes so many percent off, and is tried again.
const BACK_OFF_PERCENT: u32 = 5;
const CONFIRMATIONS_MAX: u32 = 5;
/// Machines hiccup: a bound is broken when it broke every time in a row.
const TRIES: u32 = 3;
/// Of one core: a thread of the generator that is busier proves nothing about the server.
const GENERATOR_MAX_PERCENT: f64 = 90.0;

/// Where the search stands.
#[derive(Debug, Clone, Copy)]
struct Search {
    ramp: Ramp,
    good: u32,
    broken: Option<u32>,
    max: u32,
}

impl Search {
    fn new(ramp: Ramp, max: u32) -> Self {
        Self {
            ramp,
            good: 0,
            broken: None,
            max,
        }
    }

    /// Viewers of the next stage, `None` when it is known well enough.
    fn next(&self) -> Option<u32> {
        let Some(broken) = self.broken else {
            let next = if self.good == 0 {
                self.ramp.start
            } else {
                self.good + self.ramp.step
            };
            return (self.good < self.max).then(|| next.min(self.max));
        };
        let room = broken - self.good;
        let enough = (self.good * self.ramp.precision / 100).max(1);
        (room > enough).then(|| self.good + room / 2)
    }

    fn found(&mut self, viewers: u32, holds: bool) {
        if holds {
            self.good = self.good.max(viewers);
        } else {
            self.broken = Some(self.broken.map_or(viewers, |known| known.min(viewers)));
        }
    }
}

/// Bounds that a stage broke, the generator's own limit among them.
fn broken(load: &Load, measured: &Measurement) -> Vec<String> {
    let mut broken = load.bounds.broken(measured);
    let generator = &measured.generator;
    for thread in &generator.threads {
        if thread.cpu_percent > GENERATOR_MAX_PERCENT {
            broken.push(format!(
                "the generator's thread {} is at {:.0} % of a core: give it more --threads, or cores of its own",
                thread.name, thread.cpu_percent
            ));
        }
    }
    if generator.socket_drops > 0 {
        broken.push(format!(
            "the generator's sockets dropped {} datagrams: its loss is not the server's",
            generator.socket_drops
        ));
    }
    broken
}

pub(crate) async fn run(load: &Load, ramp: Ramp) -> anyhow::Result<Report> {
    let mut run = Run::start(load, |manners| manners).await?;
    let mut stages = Stages {
        load,
        next: 1,
        steps: Vec::new(),
    };
    let mut search = Search::new(ramp, load.viewers);
    let mut limits = Vec::new();
    while let Some(viewers) = search.next() {
        let found = stages.measure(&mut run, viewers, ramp.stage_seconds).await?;
        search.found(viewers, found.is_empty());
        if !found.is_empty() {
            limits = found;
        }
    }
    let mut confirmed = false;
    let mut capacity = search.good;
    for _ in 0..CONFIRMATIONS_MAX {
        if capacity == 0 {
            break;
        }
        let found = stages.measure(&mut run, capacity, ramp.confirm_seconds).await?;
        confirmed = found.is_empty();
        if confirmed {
            break;
        }
        limits = found;
        capacity -= (capacity * BACK_OFF_PERCENT / 100).max(1);
    }
    run.finish().await;
    let verdict = Capacity {
        viewers: if confirmed { capacity } else { 0 },
        confirmed,
        broken_at: search.broken,
        limited_by: limits,
    };
    Ok(Report::of_capacity(load, stages.steps, verdict))
}

/// The stages so far.
struct Stages<'a> {
    load: &'a Load,
    /// The number of the next viewer to come: a name is never used twice.
    next: u32,
    steps: Vec<Measurement>,
}

impl Stages<'_> {
    /// Brings the audience to a size, measures, and tells which bounds broke.
    async fn measure(
        &mut self,
        run: &mut Run<'_>,
        viewers: u32,
        seconds: u64,
    ) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        for _ in 0..TRIES {
            self.gather(run, viewers).await;
            let measured = run.measure(&format!("{viewers} viewers"), seconds).await?;
            found = broken(self.load, &measured);
            run.progress.note(&line(viewers, &measured, &found));
            self.steps.push(measured);
            if found.is_empty() {
                break;
            }
        }
        Ok(found)
    }

    /// Those who failed before are tried again.
    async fn gather(&mut self, run: &mut Run<'_>, viewers: u32) {
        let present = run.audience.present();
        if viewers > present {
            let more = viewers - present;
            run.grow(self.next..=self.next + more - 1).await;
            self.next += more;
        } else if viewers < present {
            run.shrink(present - viewers).await;
        }
    }
}

fn line(viewers: u32, measured: &Measurement, broken: &[String]) -> String {
    let ms = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.1}"));
    let verdict = if broken.is_empty() {
        "holds".to_owned()
    } else {
        broken.join("; ")
    };
    format!(
        "{viewers:>6} viewers  loss {:.3} %  p99 {} ms  server {} %  {verdict}",
        measured.loss_percent,
        ms(measured.delay_ms.p99),
        measured
            .busiest_server_percent()
            .map_or("-".into(), |percent| format!("{percent:.0}")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAMP: Ramp = Ramp {
        start: 100,
        step: 100,
        stage_seconds: 1,
        confirm_seconds: 1,
        precision: 2,
    };

    fn search(limit: u32, max: u32) -> (u32, Vec<u32>) {
        let mut search = Search::new(RAMP, max);
        let mut tried = Vec::new();
        while let Some(viewers) = search.next() {
            tried.push(viewers);
            search.found(viewers, viewers <= limit);
        }
        (search.good, tried)
    }

    #[test]
    fn the_limit_is_found_within_the_precision() {
        for limit in [100, 137, 555, 1999] {
            let (good, tried) = search(limit, 5000);
            assert!(
                good <= limit && f64::from(good) >= f64::from(limit) * 0.98,
                "{limit}: {good}"
            );
            assert!(tried.len() < 40, "{tried:?}");
        }
    }

    #[test]
    fn the_ends_of_the_range_are_found() {
        assert_eq!(search(10_000, 250), (250, vec![100, 200, 250]));
        let (good, _) = search(40, 5000);
        assert!((39..=40).contains(&good), "{good}");
        assert_eq!(search(0, 5000).0, 0);
    }
}
