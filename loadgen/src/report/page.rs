//! The report as one page that needs nothing else: figures, plots, conditions.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::Report;
use super::plot::{Plot, Series};
use crate::measurement::{Measurement, Summary};

const STYLE: &str = include_str!("page.css");

/// The whole page.
pub(crate) fn render(report: &Report) -> String {
    let result = &report.result;
    let title = format!(
        "{} · {} viewers",
        report.about.scenario, result.viewers.with_media
    );
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · weever-loadgen" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (heading(report)) }
                    p.sub { (subtitle(report)) }
                }
                (verdict(report))
                (tiles(report))
                @if !result.nodes.is_empty() { (nodes(result)) }
                section.plots {
                    @for plot in plots(report) { (plot.render()) }
                }
                @if report.steps.len() > 1 { (steps(report)) }
                (costs(result))
                (conditions(report))
            }
        }
    };
    page.into_string()
}

fn heading(report: &Report) -> String {
    match &report.capacity {
        Some(capacity) => format!("Capacity: {} viewers", capacity.viewers),
        None => format!(
            "{} viewers, {:.3} % lost",
            report.result.viewers.with_media, report.result.loss_percent
        ),
    }
}

fn subtitle(report: &Report) -> String {
    let about = &report.about;
    format!(
        "{} · {} · {} publisher{} · {}",
        about.scenario,
        about.sent(),
        about.publishers,
        if about.publishers == 1 { "" } else { "s" },
        report.result.cipher.unwrap_or("no SRTP")
    )
}

fn verdict(report: &Report) -> Markup {
    html! {
        @for bound in &report.broken { p.broken { (bound) } }
        @if let Some(capacity) = &report.capacity {
            @match capacity.broken_at {
                Some(viewers) => p.note { "At " (viewers) " viewers: " (capacity.limited_by.join("; ")) }
                None => p.note { "No bound broke: the largest number that was asked for was reached." }
            }
        }
        @for error in &report.result.viewers.errors { p.broken { (error) } }
    }
}

fn tile(name: &str, value: &str, unit: &str, note: &str) -> Markup {
    html! {
        div.tile {
            span.name { (name) }
            span.value { (value) small { " " (unit) } }
            span.tilenote { (note) }
        }
    }
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("–".into(), |value| format!("{value:.digits$}"))
}

fn tiles(report: &Report) -> Markup {
    let result = &report.result;
    let generator = &result.generator;
    let busiest = generator
        .threads
        .iter()
        .filter(|thread| thread.name.starts_with("viewers"))
        .map(|thread| thread.cpu_percent)
        .reduce(f64::max);
    let at = |summary: &Summary, share: &str| match share {
        "p50" => number(summary.p50, 2),
        _ => number(summary.p99, 2),
    };
    html! {
        section.tiles {
            (tile("received", &format!("{:.1}", result.mbit_per_second), "Mbit/s", &format!("{:.0} packets/s", result.packets_per_second)))
            (tile("lost", &format!("{:.3}", result.loss_percent), "%", &format!("{:.3} % at first, {} recovered", result.network_loss_percent, result.recovered)))
            (tile("delay p99", &at(&result.delay_ms, "p99"), "ms", &format!("median {} ms", at(&result.delay_ms, "p50"))))
            (tile("join p99", &number(result.join_ms.p99, 0), "ms", &format!("first keyframe {} ms", number(result.first_keyframe_ms.p99, 0))))
            (tile("freezes", &result.freezes.to_string(), "", &format!("{:.1} s together", result.frozen_seconds)))
            (tile("server", &number(result.server_ns_per_packet, 0), "ns/packet", &format!("{} % of a core", number(result.server_cpu_percent, 0))))
            (tile("memory", &number(result.server_rss_per_viewer_bytes.map(|bytes| bytes / 1000.0), 1), "kB/viewer", "of the server"))
            (tile("generator", &number(busiest, 0), "%", &format!("busiest thread; {} dropped by its sockets", generator.socket_drops)))
        }
    }
}

/// Over viewers where their number grows, over time where it doesn't.
fn plots(report: &Report) -> Vec<Plot> {
    let mut plots = Vec::new();
    if report.steps.len() > 1 {
        let by_viewers = report.capacity.is_some();
        let x = if by_viewers { "viewers" } else { "minutes" };
        let at = move |number: usize, step: &Measurement| {
            if by_viewers {
                step.viewers.with_media as f64
            } else {
                (number + 1) as f64 * step.seconds / 60.0
            }
        };
        let series = |name: &str, value: fn(&Measurement) -> Option<f64>| {
            let points = report
                .steps
                .iter()
                .enumerate()
                .map(|(number, step)| (at(number, step), value(step)));
            Series::new(name, points)
        };
        let plot = |title, y, series| Plot { title, x, y, series };
        plots.push(plot(
            "Delay through the server",
            "ms",
            vec![
                series("p50", |step| step.delay_ms.p50),
                series("p90", |step| step.delay_ms.p90),
                series("p99", |step| step.delay_ms.p99),
            ],
        ));
        plots.push(plot(
            "Loss",
            "%",
            vec![
                series("never came", |step| Some(step.loss_percent)),
                series("not at first", |step| Some(step.network_loss_percent)),
            ],
        ));
        plots.push(plot(
            "CPU",
            "% of a core",
            vec![
                series("server", |step| step.server_cpu_percent),
                series("generator", |step| Some(step.generator_cpu_percent)),
            ],
        ));
        plots.push(plot(
            "Packets received",
            "packets/s",
            vec![series("packets", |step| Some(step.packets_per_second))],
        ));
        plots.push(plot(
            "Server's cost",
            "ns/packet",
            vec![series("ns", |step| step.server_ns_per_packet)],
        ));
        plots.push(plot("Server's memory", "MB", vec![series("MB", resident)]));
    }
    let nodes = report.result.nodes.iter();
    let mut delays: Vec<(&str, &Summary)> = nodes.map(|node| (node.node.as_str(), &node.delay_ms)).collect();
    if delays.is_empty() {
        delays.push(("delay", &report.result.delay_ms));
    }
    plots.push(shares("Delay of the packets measured", delays));
    let joins = joins(report);
    plots.push(shares(
        "Joining",
        vec![
            ("POST to DTLS", &joins.join_ms),
            ("to first packet", &joins.first_packet_ms),
            ("to whole keyframe", &joins.first_keyframe_ms),
        ],
    ));
    plots
}

fn resident(step: &Measurement) -> Option<f64> {
    let rss: u64 = step.server.iter().map(|process| process.rss_bytes).sum();
    (rss > 0).then_some(rss as f64 / 1e6)
}

/// The stage in which most joined.
fn joins(report: &Report) -> &Measurement {
    let most = report.steps.iter().max_by_key(|step| step.join_ms.count);
    most.unwrap_or(&report.result)
}

/// How many were at most that long.
fn shares(title: &'static str, summaries: Vec<(&str, &Summary)>) -> Plot {
    Plot {
        title,
        x: "ms",
        y: "% of all",
        series: summaries
            .into_iter()
            .map(|(name, summary)| {
                let points = summary
                    .distribution
                    .iter()
                    .map(|(ms, share)| (*ms, Some(share * 100.0)));
                Series::new(name, points)
            })
            .collect(),
    }
}

fn steps(report: &Report) -> Markup {
    html! {
        section {
            h2 { "Stages" }
            table {
                thead { tr {
                    @for head in ["viewers", "loss %", "p50 ms", "p99 ms", "join p99 ms", "server %", "ns/packet", "generator %"] { th { (head) } }
                } }
                tbody {
                    @for step in &report.steps {
                        tr {
                            td { (step.viewers.with_media) }
                            td { (format!("{:.3}", step.loss_percent)) }
                            td { (number(step.delay_ms.p50, 2)) }
                            td { (number(step.delay_ms.p99, 2)) }
                            td { (number(step.join_ms.p99, 0)) }
                            td { (number(step.server_cpu_percent, 0)) }
                            td { (number(step.server_ns_per_packet, 0)) }
                            td { (format!("{:.0}", step.generator_cpu_percent)) }
                        }
                    }
                }
            }
        }
    }
}

fn nodes(result: &Measurement) -> Markup {
    html! {
        section {
            h2 { "Nodes" }
            table {
                thead { tr {
                    @for head in ["node", "viewers", "failed", "join p50 ms", "join p99 ms", "keyframe p99 ms", "Mbit/s", "loss %", "p50 ms", "p90 ms", "p99 ms", "freezes"] { th { (head) } }
                } }
                tbody {
                    @for node in &result.nodes {
                        tr {
                            td { (node.node) }
                            td { (node.viewers.with_media) }
                            td { (node.viewers.failed) }
                            td { (number(node.join_ms.p50, 0)) }
                            td { (number(node.join_ms.p99, 0)) }
                            td { (number(node.first_keyframe_ms.p99, 0)) }
                            td { (format!("{:.1}", node.mbit_per_second)) }
                            td { (format!("{:.3}", node.loss_percent)) }
                            td { (number(node.delay_ms.p50, 2)) }
                            td { (number(node.delay_ms.p90, 2)) }
                            td { (number(node.delay_ms.p99, 2)) }
                            td { (node.freezes) }
                        }
                    }
                }
            }
        }
    }
}

fn costs(result: &Measurement) -> Markup {
    html! {
        section {
            h2 { "Who spent what" }
            table {
                thead { tr { th { "process or thread" } th { "% of a core" } th { "ns/packet" } th { "memory MB" } } }
                tbody {
                    @for one in &result.server {
                        tr {
                            td { (one.name) " (" (one.pid) ")" }
                            td { (format!("{:.1}", one.cpu_percent)) }
                            td { (number(one.ns_per_packet, 0)) }
                            td { (format!("{:.1}", one.rss_bytes as f64 / 1e6)) }
                        }
                    }
                    @for thread in result.generator.threads.iter().filter(|thread| thread.cpu_percent >= 0.1) {
                        tr {
                            td { "generator: " (thread.name) }
                            td { (format!("{:.1}", thread.cpu_percent)) }
                            td { @if thread.name.starts_with("viewers") { (number(result.generator.ns_per_packet, 0)) } }
                            td { @if thread.name.starts_with("viewers") { (format!("{:.1}", result.generator.rss_bytes as f64 / 1e6)) } }
                        }
                    }
                }
            }
            p.note {
                "The machine's UDP counters over this time: " (result.udp.receive_buffer_errors) " datagrams without room to be received, "
                (result.udp.send_buffer_errors) " to be sent, " (result.udp.no_ports) " to closed ports."
            }
        }
    }
}

fn conditions(report: &Report) -> Markup {
    let about = &report.about;
    html! {
        section {
            h2 { "Conditions" }
            table.conditions {
                tbody {
                    @for (name, value) in &about.machine { tr { td { (name) } td { (value) } } }
                    @for (way, impairment) in &about.impairment { tr { td { "impaired " (way) } td { (impairment) } } }
                    tr { td { "seed" } td { (about.seed) } }
                    tr { td { "SRTP" } td { (report.result.cipher.unwrap_or("–")) } }
                    tr { td { "verified" } td { (report.result.verified_packets) " packets, " (report.result.auth_failures) " not authentic" } }
                    tr { td { "command" } td { code { "weever-loadgen " (about.command_line.join(" ")) } } }
                }
            }
        }
    }
}
