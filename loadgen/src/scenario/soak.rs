//! `soak`: a long run in intervals, and whether anything grows in it.

use crate::load::Load;
use crate::report::{Report, Trend};
use crate::run::Run;

/// Of a shorter run, an hour's growth says nothing.
const TREND_SECONDS_MIN: u64 = 300;
const SECONDS_PER_HOUR: f64 = 3600.0;

/// What soaking adds to a load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Soak {
    /// Seconds of one measurement.
    pub(crate) interval: u64,
    /// The server's memory may grow by so many MiB an hour.
    pub(crate) growth_max: Option<f64>,
}

pub(crate) async fn run(load: &Load, soak: Soak) -> anyhow::Result<Report> {
    let mut run = Run::start(load, |manners| manners).await?;
    run.grow(1..=load.viewers).await;
    let intervals = (load.seconds / soak.interval).max(1);
    let mut steps = Vec::new();
    let mut failure = None;
    for number in 1..=intervals {
        let name = format!("{number}/{intervals}");
        match run.measure(&name, soak.interval).await {
            Ok(measured) => steps.push(measured),
            // What was measured until then is worth a report.
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    run.finish().await;
    if steps.is_empty()
        && let Some(error) = failure
    {
        return Err(error);
    }
    let memory: Vec<(f64, f64)> = steps
        .iter()
        .scan(0.0, |hours, step| {
            *hours += step.seconds / SECONDS_PER_HOUR;
            let rss: u64 = step.server.iter().map(|process| process.rss_bytes).sum();
            Some((*hours, rss as f64 / 1024.0 / 1024.0))
        })
        .collect();
    let delay: Vec<(f64, f64)> = memory
        .iter()
        .zip(&steps)
        .filter_map(|((hours, _), step)| Some((*hours, step.delay_ms.p99?)))
        .collect();
    let long_enough = load.seconds >= TREND_SECONDS_MIN;
    let has_server = steps.iter().any(|step| !step.server.is_empty());
    let trend = Trend {
        server_mib_per_hour: slope(&memory).filter(|_| has_server && long_enough),
        delay_p99_ms_per_hour: slope(&delay).filter(|_| long_enough),
    };
    let mut broken = Vec::new();
    if let (Some(bound), Some(growth)) = (soak.growth_max, trend.server_mib_per_hour)
        && growth > bound
    {
        broken.push(format!(
            "the server's memory grows by {growth:.1} MiB an hour, above {bound}"
        ));
    }
    if let Some(error) = failure {
        broken.push(error.to_string());
    }
    Ok(Report::of_steps(load, steps, broken).with_trend(trend))
}

/// Least squares.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let mean = |pick: fn(&(f64, f64)) -> f64| points.iter().map(pick).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let variance: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let covariance: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    (points.len() > 1 && variance > 0.0).then(|| covariance / variance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_a_slope() {
        let grown: Vec<_> = (0..10)
            .map(|n| (f64::from(n), 5.0 + 2.0 * f64::from(n)))
            .collect();
        assert!((slope(&grown).unwrap() - 2.0).abs() < 1e-9);
        assert_eq!(slope(&grown[..1]), None);
        assert!(slope(&[(0.0, 1.0), (1.0, 1.0)]).unwrap().abs() < 1e-9);
    }
}
