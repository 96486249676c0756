//! Plots as SVG: lines over a linear scale, with axes that read well.

use maud::{Markup, html};

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 296.0;
/// Room for labels around the plot: left, top, right, bottom.
const LEFT: f64 = 58.0;
const TOP: f64 = 30.0;
const RIGHT: f64 = 16.0;
const BOTTOM: f64 = 40.0;
const TICKS: f64 = 5.0;

/// One line of a plot.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

impl Series {
    /// `None` where there is no value leaves the point out.
    pub(super) fn new(name: &str, points: impl IntoIterator<Item = (f64, Option<f64>)>) -> Self {
        Self {
            name: name.to_owned(),
            points: points.into_iter().filter_map(|(x, y)| Some((x, y?))).collect(),
        }
    }
}

/// A figure: what it shows, its axes and lines.
pub(super) struct Plot {
    pub(super) title: &'static str,
    pub(super) x: &'static str,
    pub(super) y: &'static str,
    pub(super) series: Vec<Series>,
}

/// A scale from 0, or from the least value, to a round number.
struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, from_zero: bool) -> Self {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        let low = if from_zero || !low.is_finite() { 0.0 } else { low };
        let high = if high > low { high } else { low + 1.0 };
        let step = round_step((high - low) / TICKS);
        Self {
            low: (low / step).floor() * step,
            high: (high / step).ceil() * step,
            step,
        }
    }

    fn at(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> + '_ {
        std::iter::successors(Some(self.low), |tick| Some(tick + self.step))
            .take_while(|tick| *tick <= self.high + self.step / 2.0)
    }
}

/// 1, 2 or 5 times a power of ten.
fn round_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough)
        .unwrap_or(rough)
}

/// `1500` as `1.5k`, `0.25` as it is.
fn label(value: f64) -> String {
    let (value, unit) = match value.abs() {
        large if large >= 1e6 => (value / 1e6, "M"),
        large if large >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{unit}")
}

impl Plot {
    fn has_points(&self) -> bool {
        self.series.iter().any(|series| !series.points.is_empty())
    }

    /// Nothing to show shows nothing.
    pub(super) fn render(&self) -> Markup {
        if !self.has_points() {
            return html! {};
        }
        let points = || self.series.iter().flat_map(|series| &series.points);
        let x = Axis::over(points().map(|point| point.0), false);
        let y = Axis::over(points().map(|point| point.1), true);
        let left = |value: f64| LEFT + x.at(value) * (WIDTH - LEFT - RIGHT);
        let top = |value: f64| HEIGHT - BOTTOM - y.at(value) * (HEIGHT - TOP - BOTTOM);
        html! {
            figure {
                figcaption { (self.title) }
                svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(self.title) {
                    @for tick in y.ticks() {
                        line.grid x1=(LEFT) x2=(WIDTH - RIGHT) y1=(top(tick)) y2=(top(tick)) {}
                        text.tick x=(LEFT - 8.0) y=(top(tick) + 4.0) text-anchor="end" { (label(tick)) }
                    }
                    @for tick in x.ticks() {
                        text.tick x=(left(tick)) y=(HEIGHT - BOTTOM + 18.0) text-anchor="middle" { (label(tick)) }
                    }
                    line.axis x1=(LEFT) x2=(WIDTH - RIGHT) y1=(HEIGHT - BOTTOM) y2=(HEIGHT - BOTTOM) {}
                    text.unit x=(WIDTH - RIGHT) y=(HEIGHT - 6.0) text-anchor="end" { (self.x) }
                    text.unit x="4" y="12" { (self.y) }
                    @for (number, series) in self.series.iter().enumerate() {
                        @let path = path(&series.points, left, top);
                        path class=(format!("line s{number}")) d=(path) {}
                        @if series.points.len() < 60 {
                            @for (px, py) in &series.points {
                                circle class=(format!("dot s{number}")) cx=(left(*px)) cy=(top(*py)) r="2.6" {
                                    title { (series.name) ": " (label(*py)) " at " (label(*px)) }
                                }
                            }
                        }
                    }
                }
                @if self.series.len() > 1 {
                    ul.legend {
                        @for (number, series) in self.series.iter().enumerate() {
                            li { span class=(format!("key s{number}")) {} (series.name) }
                        }
                    }
                }
            }
        }
    }
}

fn path(points: &[(f64, f64)], left: impl Fn(f64) -> f64, top: impl Fn(f64) -> f64) -> String {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut path = String::new();
    for (number, (x, y)) in sorted.into_iter().enumerate() {
        let verb = if number == 0 { 'M' } else { 'L' };
        path.push_str(&format!("{verb}{:.1} {:.1}", left(x), top(y)));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_on_round_numbers() {
        let axis = Axis::over([3.0, 1873.0].into_iter(), true);
        assert_eq!((axis.low, axis.high, axis.step), (0.0, 2000.0, 500.0));
        assert_eq!(axis.ticks().count(), 5);
        let flat = Axis::over(std::iter::repeat_n(7.0, 3), false);
        assert!(flat.high > flat.low);
        assert!(Axis::over(std::iter::empty(), true).high > 0.0);
    }

    #[test]
    fn labels_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (1500.0, "1.5k"),
            (2e6, "2M"),
            (100.0, "100"),
        ] {
            assert_eq!(label(value), text);
        }
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        let plot = |points: Vec<(f64, Option<f64>)>| Plot {
            title: "t",
            x: "x",
            y: "y",
            series: vec![Series::new("a<b", points)],
        };
        assert!(plot(vec![(1.0, None)]).render().into_string().is_empty());
        let drawn = plot(vec![(1.0, Some(2.0)), (2.0, Some(3.0))])
            .render()
            .into_string();
        assert!(drawn.contains("<svg") && drawn.contains("a&lt;b") && !drawn.contains("NaN"));
    }
}
