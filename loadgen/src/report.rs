//! What came out, for people and for programs.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use crate::broadcast::Settings;
use crate::process::Sample;
use crate::publisher::Sent;
use crate::quantiles::Quantiles;
use crate::viewer::{Joined, Seen};

/// Errors that are shown; the rest is only counted.
const SHOWN_ERRORS: usize = 3;

/// Processes before viewers joined, and around the measurement.
pub(crate) struct Costs {
    pub(crate) before: Vec<Sample>,
    pub(crate) start: Vec<Sample>,
    pub(crate) end: Vec<Sample>,
    pub(crate) generator: Option<(Sample, Sample)>,
    pub(crate) lasted: Duration,
}

/// Everything.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    version: &'static str,
    seconds: f64,
    kbit_per_second: u32,
    frames_per_second: u32,
    packet_size: usize,
    audio: bool,
    seed: u64,
    pub(crate) viewers: Viewers,
    sent_packets: u64,
    sent_keyframes: u64,
    late_frames: u64,
    publisher_send_drops: u64,
    packets: u64,
    packets_per_second: f64,
    mbit_per_second: f64,
    lost: u64,
    loss_percent: f64,
    worst_viewer_loss_percent: f64,
    foreign_packets: u64,
    delay_ms: Summary,
    join_ms: Summary,
    first_packet_ms: Summary,
    first_keyframe_ms: Summary,
    server: Vec<Cost>,
    server_ns_per_packet: Option<f64>,
    server_rss_per_viewer_bytes: Option<f64>,
    generator_cpu_percent: Option<f64>,
}

/// How many came through.
#[derive(Debug, Serialize)]
pub(crate) struct Viewers {
    asked: u32,
    connected: usize,
    with_media: usize,
    pub(crate) failed: usize,
    errors: Vec<String>,
}

/// Quantiles in milliseconds; absent when nothing was measured.
#[derive(Debug, Serialize)]
struct Summary {
    count: u64,
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
    max: Option<f64>,
}

impl Summary {
    fn of(quantiles: &Quantiles) -> Self {
        let at = |share| quantiles.at(share);
        Self {
            count: quantiles.count(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: at(1.0),
        }
    }

    fn of_joins(seen: &[Seen], time: impl Fn(&Joined) -> Option<Duration>) -> Self {
        let mut quantiles = Quantiles::default();
        seen.iter()
            .filter_map(|one| time(&one.joined))
            .for_each(|time| quantiles.add(time));
        Self::of(&quantiles)
    }
}

/// What one process of the server cost.
#[derive(Debug, Serialize)]
struct Cost {
    pid: u32,
    name: String,
    cpu_percent: f64,
    ns_per_packet: Option<f64>,
    rss_bytes: u64,
    rss_growth_bytes: i128,
}

impl Report {
    pub(crate) fn new(
        settings: &Settings,
        sent: &Sent,
        seen: &[Seen],
        errors: &[String],
        costs: &Costs,
    ) -> Self {
        let packets: u64 = seen.iter().map(|one| one.packets).sum();
        let lost: u64 = seen.iter().map(|one| one.lost).sum();
        let bytes: u64 = seen.iter().map(|one| one.bytes).sum();
        let mut delay = Quantiles::default();
        seen.iter().for_each(|one| delay.merge(&one.delay));
        let seconds = costs.lasted.as_secs_f64();
        let with_media = seen.iter().filter(|one| one.packets > 0).count();
        let server = server_costs(costs, packets);
        let cpu: f64 = server.iter().filter_map(|one| one.ns_per_packet).sum();
        let growth: i128 = server.iter().map(|one| one.rss_growth_bytes).sum();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            seconds,
            kbit_per_second: settings.shape.kbit_per_second,
            frames_per_second: settings.shape.frames_per_second,
            packet_size: settings.shape.packet,
            audio: settings.audio,
            seed: settings.shape.seed,
            viewers: Viewers {
                asked: settings.viewers,
                connected: seen.iter().filter(|one| one.joined.connected.is_some()).count(),
                with_media,
                failed: errors.len() + (seen.len() - with_media),
                errors: errors.iter().take(SHOWN_ERRORS).cloned().collect(),
            },
            sent_packets: sent.packets,
            sent_keyframes: sent.keyframes,
            late_frames: sent.late_frames,
            publisher_send_drops: sent.send_drops,
            packets,
            packets_per_second: packets as f64 / seconds,
            mbit_per_second: bytes as f64 * 8.0 / 1e6 / seconds,
            lost,
            loss_percent: percent(lost, packets),
            worst_viewer_loss_percent: seen
                .iter()
                .map(|one| percent(one.lost, one.packets))
                .fold(0.0, f64::max),
            foreign_packets: seen.iter().map(|one| one.foreign).sum(),
            delay_ms: Summary::of(&delay),
            join_ms: Summary::of_joins(seen, |joined| joined.connected),
            first_packet_ms: Summary::of_joins(seen, |joined| joined.first_packet),
            first_keyframe_ms: Summary::of_joins(seen, |joined| joined.first_keyframe),
            server_ns_per_packet: (!server.is_empty() && packets > 0).then_some(cpu),
            server_rss_per_viewer_bytes: (!server.is_empty())
                .then(|| growth as f64 / f64::from(settings.viewers)),
            server,
            generator_cpu_percent: costs
                .generator
                .as_ref()
                .map(|(start, end)| end.spent_since(Some(start)).as_secs_f64() / seconds * 100.0),
        }
    }

    /// The table for people.
    pub(crate) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "{} viewers for {:.1} s: {} kbit/s, {} frames/s, packets up to {} bytes{}, seed {}\n",
            self.viewers.asked,
            self.seconds,
            self.kbit_per_second,
            self.frames_per_second,
            self.packet_size,
            if self.audio { ", with audio" } else { "" },
            self.seed
        )?;
        writeln!(
            out,
            "viewers        {} connected, {} with media, {} failed",
            self.viewers.connected, self.viewers.with_media, self.viewers.failed
        )?;
        for error in &self.viewers.errors {
            writeln!(out, "               {error}")?;
        }
        writeln!(
            out,
            "published      {} packets, {} keyframes, {} frames too late, {} not taken by the socket",
            self.sent_packets, self.sent_keyframes, self.late_frames, self.publisher_send_drops
        )?;
        writeln!(
            out,
            "received       {} packets, {:.0}/s, {:.1} Mbit/s",
            self.packets, self.packets_per_second, self.mbit_per_second
        )?;
        writeln!(
            out,
            "lost           {} ({:.3} %), worst viewer {:.3} %",
            self.lost, self.loss_percent, self.worst_viewer_loss_percent
        )?;
        if self.foreign_packets > 0 {
            writeln!(
                out,
                "not ours       {} packets without our time stamp",
                self.foreign_packets
            )?;
        }
        writeln!(
            out,
            "\n{:<22}{:>10}{:>10}{:>10}{:>10}",
            "milliseconds", "p50", "p90", "p99", "max"
        )?;
        for (name, summary) in [
            ("delay", &self.delay_ms),
            ("POST to DTLS", &self.join_ms),
            ("POST to first packet", &self.first_packet_ms),
            ("POST to whole keyframe", &self.first_keyframe_ms),
        ] {
            write!(out, "{name:<22}")?;
            for value in [summary.p50, summary.p90, summary.p99, summary.max] {
                match value {
                    Some(ms) => write!(out, "{ms:>10.2}")?,
                    None => write!(out, "{:>10}", "-")?,
                }
            }
            writeln!(out)?;
        }
        self.print_costs(out)
    }

    fn print_costs(&self, out: &mut impl Write) -> io::Result<()> {
        if !self.server.is_empty() {
            writeln!(
                out,
                "\n{:<28}{:>8}{:>14}{:>12}{:>14}",
                "server process", "CPU %", "ns/packet", "RSS MiB", "grown by MiB"
            )?;
        }
        for one in &self.server {
            writeln!(
                out,
                "{:<28}{:>8.1}{:>14.0}{:>12.1}{:>14.1}",
                format!("{} {}", one.pid, one.name),
                one.cpu_percent,
                one.ns_per_packet.unwrap_or(0.0),
                one.rss_bytes as f64 / 1024.0 / 1024.0,
                one.rss_growth_bytes as f64 / 1024.0 / 1024.0
            )?;
        }
        if let Some(ns) = self.server_ns_per_packet {
            writeln!(
                out,
                "server, all    {ns:.0} ns of CPU for each packet that a viewer received"
            )?;
        }
        if let Some(bytes) = self.server_rss_per_viewer_bytes {
            writeln!(out, "memory         {:.1} KiB for each viewer", bytes / 1024.0)?;
        }
        if let Some(percent) = self.generator_cpu_percent {
            writeln!(out, "generator      {percent:.0} % of one core")?;
        }
        Ok(())
    }
}

fn percent(lost: u64, received: u64) -> f64 {
    if lost + received == 0 {
        0.0
    } else {
        lost as f64 * 100.0 / (lost + received) as f64
    }
}

fn server_costs(costs: &Costs, packets: u64) -> Vec<Cost> {
    let find = |samples: &[Sample], pid| samples.iter().find(|one| one.pid == pid).cloned();
    costs
        .end
        .iter()
        .map(|end| {
            let start = find(&costs.start, end.pid);
            let spent = end.spent_since(start.as_ref());
            let rss_before = find(&costs.before, end.pid).map_or(0, |before| before.rss);
            Cost {
                pid: end.pid,
                name: end.name.clone(),
                cpu_percent: spent.as_secs_f64() / costs.lasted.as_secs_f64() * 100.0,
                ns_per_packet: (packets > 0).then(|| spent.as_nanos() as f64 / packets as f64),
                rss_bytes: end.rss,
                rss_growth_bytes: i128::from(end.rss) - i128::from(rss_before),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(cpu_ms: u64, rss: u64) -> Sample {
        Sample {
            pid: 1,
            name: "server".into(),
            cpu: [(1, Duration::from_millis(cpu_ms))].into(),
            rss,
        }
    }

    #[test]
    fn cost_is_time_spent_over_packets_received() {
        let costs = Costs {
            before: vec![sample(0, 1000)],
            start: vec![sample(100, 4000)],
            end: vec![sample(600, 5000)],
            generator: None,
            lasted: Duration::from_secs(10),
        };
        let found = server_costs(&costs, 1_000_000);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].ns_per_packet, Some(500.0));
        assert!((found[0].cpu_percent - 5.0).abs() < 1e-9);
        assert_eq!(found[0].rss_growth_bytes, 4000);
        assert_eq!(server_costs(&costs, 0)[0].ns_per_packet, None);
    }

    #[test]
    fn loss_is_over_what_was_sent() {
        assert!((percent(1, 99) - 1.0).abs() < 1e-9);
        assert!(percent(0, 0).abs() < 1e-9);
    }
}
