//! The report for people.

use std::io::{self, Write};

use super::Report;
use crate::measurement::{Measurement, Summary};

const MIB: f64 = 1024.0 * 1024.0;

pub(crate) fn print(report: &Report, out: &mut impl Write) -> io::Result<()> {
    head(report, out)?;
    if report.steps.len() > 1 {
        steps(report, out)?;
    }
    let result = &report.result;
    viewers(result, out)?;
    nodes(result, out)?;
    media(result, out)?;
    times(result, out)?;
    server(result, out)?;
    generator(result, out)?;
    verdict(report, out)
}

fn row(out: &mut impl Write, name: &str, text: &str) -> io::Result<()> {
    writeln!(out, "{name:<14} {text}")
}

fn head(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let about = &report.about;
    writeln!(
        out,
        "{}: {} viewers of {} publisher{}, {:.1} s\n{}, seed {}",
        about.scenario,
        report.result.viewers.asked,
        about.publishers,
        if about.publishers == 1 { "" } else { "s" },
        report.result.seconds,
        about.sent(),
        about.seed,
    )?;
    for (way, impairment) in &about.impairment {
        writeln!(out, "{way}: {impairment}")?;
    }
    let machine = |name| about.machine.get(name).map_or("", String::as_str);
    writeln!(
        out,
        "{}, {} cores, Linux {}, {}\n",
        machine("cpu"),
        machine("cores"),
        machine("kernel"),
        report.result.cipher.unwrap_or("no SRTP")
    )
}

fn steps(report: &Report, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{:>8}{:>10}{:>12}{:>12}{:>12}{:>12}{:>14}",
        "viewers", "loss %", "p50 ms", "p99 ms", "server %", "ns/packet", "generator %"
    )?;
    let number =
        |value: Option<f64>, digits: usize| value.map_or("-".into(), |value| format!("{value:.digits$}"));
    for step in &report.steps {
        writeln!(
            out,
            "{:>8}{:>10.3}{:>12}{:>12}{:>12}{:>12}{:>14.0}",
            step.viewers.with_media,
            step.loss_percent,
            number(step.delay_ms.p50, 2),
            number(step.delay_ms.p99, 2),
            number(step.server_cpu_percent, 0),
            number(step.server_ns_per_packet, 0),
            step.generator_cpu_percent,
        )?;
    }
    writeln!(out)
}

fn viewers(result: &Measurement, out: &mut impl Write) -> io::Result<()> {
    let viewers = &result.viewers;
    let text = format!(
        "{} connected, {} with media, {} failed",
        viewers.connected, viewers.with_media, viewers.failed
    );
    row(out, "viewers", &text)?;
    for error in &viewers.errors {
        row(out, "", error)?;
    }
    Ok(())
}

/// Of several servers that were watched.
fn nodes(result: &Measurement, out: &mut impl Write) -> io::Result<()> {
    if result.nodes.is_empty() {
        return Ok(());
    }
    let longest = result.nodes.iter().map(|node| node.node.chars().count()).max();
    let width = longest.unwrap_or(0).max("node".len());
    writeln!(
        out,
        "\n{:<width$}{:>9}{:>8}{:>11}{:>10}{:>9}{:>9}{:>9}{:>9}{:>10}",
        "node", "viewers", "failed", "join p99", "Mbit/s", "loss %", "p50 ms", "p90 ms", "p99 ms", "freezes"
    )?;
    let ms = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.2}"));
    for node in &result.nodes {
        writeln!(
            out,
            "{:<width$}{:>9}{:>8}{:>11}{:>10.1}{:>9.3}{:>9}{:>9}{:>9}{:>10}",
            node.node,
            node.viewers.with_media,
            node.viewers.failed,
            ms(node.join_ms.p99),
            node.mbit_per_second,
            node.loss_percent,
            ms(node.delay_ms.p50),
            ms(node.delay_ms.p90),
            ms(node.delay_ms.p99),
            node.freezes,
        )?;
    }
    writeln!(out)
}

fn media(result: &Measurement, out: &mut impl Write) -> io::Result<()> {
    let sent = &result.sent;
    let mut published = format!(
        "{} packets, {} frames, {} keyframes",
        sent.packets, sent.frames, sent.keyframes
    );
    for (count, what) in [
        (sent.nacked, "asked for again"),
        (sent.late_frames, "frames too late"),
        (sent.send_drops, "not taken by the socket"),
    ] {
        if count > 0 {
            published.push_str(&format!(", {count} {what}"));
        }
    }
    row(out, "published", &published)?;
    let received = format!(
        "{} packets, {:.0}/s, {:.1} Mbit/s",
        result.packets, result.packets_per_second, result.mbit_per_second
    );
    row(out, "received", &received)?;
    let lost = format!(
        "{} ({:.3} %), worst viewer {:.3} %; at first {:.3} %, {} recovered",
        result.lost,
        result.loss_percent,
        result.worst_viewer_loss_percent,
        result.network_loss_percent,
        result.recovered
    );
    row(out, "lost", &lost)?;
    let order = format!("{} late, {} twice", result.reordered, result.duplicates);
    row(out, "out of order", &order)?;
    let frozen = format!(
        "{} freezes, {:.1} s together",
        result.freezes, result.frozen_seconds
    );
    row(out, "frozen", &frozen)?;
    let mut verified = format!(
        "{} packets, {} not authentic",
        result.verified_packets, result.auth_failures
    );
    if result.foreign_packets > 0 {
        verified.push_str(&format!(", {} without our time stamp", result.foreign_packets));
    }
    row(out, "verified", &verified)?;
    let asked = format!("{} NACKs, {} PLIs", result.nacks_sent, result.plis_sent);
    row(out, "asked for", &asked)
}

fn times(result: &Measurement, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "\n{:<24}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "milliseconds", "p50", "p90", "p99", "max", "count"
    )?;
    for (name, summary) in [
        ("delay", &result.delay_ms),
        ("POST to DTLS", &result.join_ms),
        ("POST to first packet", &result.first_packet_ms),
        ("POST to whole keyframe", &result.first_keyframe_ms),
    ] {
        times_row(name, summary, out)?;
    }
    Ok(())
}

fn times_row(name: &str, summary: &Summary, out: &mut impl Write) -> io::Result<()> {
    write!(out, "{name:<24}")?;
    for value in [summary.p50, summary.p90, summary.p99, summary.max] {
        match value {
            Some(ms) => write!(out, "{ms:>10.2}")?,
            None => write!(out, "{:>10}", "-")?,
        }
    }
    writeln!(out, "{:>10}", summary.count)
}

fn server(result: &Measurement, out: &mut impl Write) -> io::Result<()> {
    if !result.server.is_empty() {
        writeln!(
            out,
            "\n{:<28}{:>8}{:>14}{:>12}{:>14}",
            "server process", "CPU %", "ns/packet", "RSS MiB", "grown by MiB"
        )?;
    }
    for one in &result.server {
        writeln!(
            out,
            "{:<28}{:>8.1}{:>14.0}{:>12.1}{:>14.1}",
            format!("{} {}", one.pid, one.name),
            one.cpu_percent,
            one.ns_per_packet.unwrap_or(0.0),
            one.rss_bytes as f64 / MIB,
            one.rss_growth_bytes as f64 / MIB
        )?;
    }
    if let Some(ns) = result.server_ns_per_packet {
        let percent = result.server_cpu_percent.unwrap_or(0.0);
        row(
            out,
            "server",
            &format!("{percent:.1} % of a core, {ns:.0} ns of CPU for each packet that a viewer received"),
        )?;
    }
    if let Some(bytes) = result.server_rss_per_viewer_bytes {
        row(
            out,
            "memory",
            &format!("{:.1} kB for each viewer", bytes / 1000.0),
        )?;
    }
    Ok(())
}

fn generator(result: &Measurement, out: &mut impl Write) -> io::Result<()> {
    let generator = &result.generator;
    let busy = generator
        .threads
        .iter()
        .filter(|thread| thread.cpu_percent >= 0.5);
    let threads: Vec<String> = busy
        .map(|thread| format!("{} {:.0} %", thread.name, thread.cpu_percent))
        .collect();
    writeln!(out)?;
    row(
        out,
        "generator",
        &format!(
            "{:.0} % of a core ({})",
            generator.cpu_percent,
            threads.join(", ")
        ),
    )?;
    let per_packet = generator.ns_per_packet.unwrap_or(0.0);
    let per_viewer = generator.rss_bytes_per_viewer.unwrap_or(0.0) / 1000.0;
    row(
        out,
        "",
        &format!(
            "{per_packet:.0} ns for each packet received, {per_viewer:.1} kB for each viewer, {} dropped by its sockets",
            generator.socket_drops
        ),
    )?;
    let udp = &result.udp;
    row(
        out,
        "this machine",
        &format!(
            "UDP: {} without room to receive, {} to send, {} to closed ports",
            udp.receive_buffer_errors, udp.send_buffer_errors, udp.no_ports
        ),
    )
}

fn verdict(report: &Report, out: &mut impl Write) -> io::Result<()> {
    if let Some(trend) = &report.trend {
        let number = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:+.2}"));
        writeln!(
            out,
            "\nan hour: server memory {} MiB, p99 delay {} ms",
            number(trend.server_mib_per_hour),
            number(trend.delay_p99_ms_per_hour)
        )?;
    }
    if let Some(capacity) = &report.capacity {
        writeln!(
            out,
            "\ncapacity: {} viewers{}",
            capacity.viewers,
            if capacity.confirmed {
                ", confirmed by a longer stage"
            } else {
                ", not confirmed"
            }
        )?;
        match capacity.broken_at {
            Some(viewers) => writeln!(out, "at {viewers}: {}", capacity.limited_by.join("; "))?,
            None => writeln!(out, "no bound broke: --viewers was reached first")?,
        }
    }
    for bound in &report.broken {
        writeln!(out, "BROKEN: {bound}")?;
    }
    Ok(())
}
