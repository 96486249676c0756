//! What a run must hold.

use clap::ArgMatches;

use crate::measurement::Measurement;

/// Bounds that were given; those of `capacity` have defaults.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) loss_percent: Option<f64>,
    pub(crate) delay_p99_ms: Option<f64>,
    pub(crate) join_p99_ms: Option<f64>,
    /// Of one core, of the busiest process of the server.
    pub(crate) server_cpu_percent: Option<f64>,
    pub(crate) freezes: Option<f64>,
}

impl Bounds {
    pub(crate) fn from_matches(matches: &ArgMatches) -> Self {
        let bound = |name: &str| matches.try_get_one::<f64>(name).ok().flatten().copied();
        Self {
            loss_percent: bound("max-loss"),
            delay_p99_ms: bound("max-delay"),
            join_p99_ms: bound("max-join"),
            server_cpu_percent: bound("max-server-cpu"),
            freezes: bound("max-freezes"),
        }
    }

    /// Those that a measurement broke, in words. A bound on what wasn't measured is broken.
    pub(crate) fn broken(&self, measured: &Measurement) -> Vec<String> {
        let mut broken = Vec::new();
        let mut check = |name: &str, unit: &str, bound: Option<f64>, value: Option<f64>| {
            let Some(bound) = bound else { return };
            match value {
                Some(value) if value <= bound => {}
                Some(value) => broken.push(format!("{name} {value:.2} {unit} is above {bound} {unit}")),
                None => broken.push(format!(
                    "{name} was not measured, so it can't be below {bound} {unit}"
                )),
            }
        };
        check("loss", "%", self.loss_percent, Some(measured.loss_percent));
        check("p99 delay", "ms", self.delay_p99_ms, measured.delay_ms.p99);
        // A stage in which nobody joined holds this bound.
        let joined = measured.join_ms.count > 0;
        check(
            "p99 join time",
            "ms",
            self.join_p99_ms.filter(|_| joined),
            measured.join_ms.p99,
        );
        check(
            "server CPU",
            "%",
            self.server_cpu_percent,
            measured.busiest_server_percent(),
        );
        check(
            "freezes",
            "a viewer and minute",
            self.freezes,
            measured.freezes_per_viewer_minute,
        );
        if measured.auth_failures > 0 {
            broken.push(format!("{} packets were not authentic", measured.auth_failures));
        }
        if measured.viewers.failed > 0 {
            broken.push(format!("{} viewers failed", measured.viewers.failed));
        }
        broken
    }
}
