//! What came out: one structure for people, programs and pages.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::load::Load;
use crate::measurement::Measurement;
use crate::proof;

pub(crate) mod page;
mod plot;
pub(crate) mod table;

/// What a ramp found.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Capacity {
    /// 0: not even the smallest stage held.
    pub(crate) viewers: u32,
    /// A longer stage held all bounds, too.
    pub(crate) confirmed: bool,
    /// The fewest viewers at which a bound broke; `None`: `--viewers` was reached first.
    pub(crate) broken_at: Option<u32>,
    /// The bounds that broke there.
    pub(crate) limited_by: Vec<String>,
}

/// What grew in a long run.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Trend {
    pub(crate) server_mib_per_hour: Option<f64>,
    pub(crate) delay_p99_ms_per_hour: Option<f64>,
}

/// The load, so that a run can be repeated.
#[derive(Debug, Serialize)]
pub(crate) struct About {
    pub(crate) scenario: &'static str,
    pub(crate) command_line: Vec<String>,
    pub(crate) seed: u64,
    pub(crate) publishers: u32,
    /// The file that was sent; else it was made after what follows.
    pub(crate) media: Option<String>,
    pub(crate) codec: Option<String>,
    pub(crate) audio: bool,
    pub(crate) kbit_per_second: u32,
    pub(crate) frames_per_second: u32,
    pub(crate) packet_size: usize,
    /// What was wrong with which way.
    pub(crate) impairment: BTreeMap<&'static str, String>,
    pub(crate) machine: BTreeMap<&'static str, String>,
}

/// Everything.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) about: About,
    /// The measurement that counts: of several, the last.
    #[serde(flatten)]
    pub(crate) result: Measurement,
    /// All of them, if there are several.
    pub(crate) steps: Vec<Measurement>,
    pub(crate) capacity: Option<Capacity>,
    pub(crate) trend: Option<Trend>,
    /// Bounds that were given and broke.
    pub(crate) broken: Vec<String>,
}

impl Report {
    pub(crate) fn new(load: &Load, result: Measurement) -> Self {
        let broken = load.bounds.broken(&result);
        Self {
            about: About::new(load),
            result,
            steps: Vec::new(),
            capacity: None,
            trend: None,
            broken,
        }
    }

    /// Bounds hold for each of them.
    pub(crate) fn of_steps(load: &Load, steps: Vec<Measurement>, mut broken: Vec<String>) -> Self {
        for (number, step) in steps.iter().enumerate() {
            let of_step = load.bounds.broken(step);
            broken.extend(
                of_step
                    .into_iter()
                    .map(|bound| format!("interval {}: {bound}", number + 1)),
            );
        }
        Self {
            result: steps.last().cloned().unwrap_or_default(),
            steps,
            broken,
            about: About::new(load),
            capacity: None,
            trend: None,
        }
    }

    /// That a bound broke is what a ramp is for.
    pub(crate) fn of_capacity(load: &Load, steps: Vec<Measurement>, capacity: Capacity) -> Self {
        let broken = if capacity.confirmed {
            Vec::new()
        } else {
            vec!["no number of viewers held its bounds for the longer stage".to_owned()]
        };
        Self {
            result: steps.last().cloned().unwrap_or_default(),
            steps,
            broken,
            about: About::new(load),
            capacity: Some(capacity),
            trend: None,
        }
    }

    pub(crate) fn with_trend(mut self, trend: Trend) -> Self {
        self.trend = Some(trend);
        self
    }

    /// Whether the run found what it was to find.
    pub(crate) fn holds(&self) -> bool {
        self.broken.is_empty() && (self.capacity.is_some() || self.result.viewers.failed == 0)
    }
}

impl About {
    /// What was sent, in words.
    pub(crate) fn sent(&self) -> String {
        let video = match (&self.codec, &self.media) {
            (Some(codec), Some(path)) => format!("{codec} of {path}"),
            (Some(codec), None) => format!(
                "{codec} at {} kbit/s, {} frames/s, packets up to {} bytes",
                self.kbit_per_second, self.frames_per_second, self.packet_size
            ),
            (None, _) => "no video".to_owned(),
        };
        let audio = if self.audio { " and Opus" } else { "" };
        format!("{video}{audio}")
    }

    fn new(load: &Load) -> Self {
        Self {
            scenario: load.scenario,
            command_line: load.command_line.clone(),
            seed: load.seed,
            publishers: load.publishers,
            media: load.file.as_ref().map(|filed| filed.path.clone()),
            codec: load.video.map(|codec| codec.to_string()),
            audio: load.audio,
            kbit_per_second: load.shape.kbit_per_second,
            frames_per_second: load.shape.frames_per_second,
            packet_size: load.shape.packet,
            impairment: [
                ("to viewers", load.impair.to_viewers),
                ("from viewers", load.impair.from_viewers),
                ("from publishers", load.impair.from_publishers),
            ]
            .into_iter()
            .filter_map(|(way, impairment)| Some((way, impairment?.to_string())))
            .collect(),
            machine: proof::machine(),
        }
    }
}
