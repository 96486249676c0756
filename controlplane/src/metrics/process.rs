//! The process itself, under the names that all Prometheus clients use.

use std::fs;

use prometheus::proto::MetricFamily;
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::Family;

/// What `/proc/self/stat` (proc(5)) tells.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stat {
    /// User and system, clock ticks.
    cpu_ticks: u64,
    threads: u64,
    /// Clock ticks from the machine's start.
    started_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    /// The program's name may hold anything, so fields are counted from behind its closing bracket.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // Numbered from 1, and two stand before the bracket.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            started_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// Those that can be read; all of them on any Linux.
pub(super) fn families() -> Vec<MetricFamily> {
    let mut all = Vec::new();
    if let Some(stat) = fs::read_to_string("/proc/self/stat")
        .ok()
        .as_deref()
        .and_then(Stat::parse)
    {
        let seconds = |ticks: u64| number(ticks) / number(clock_ticks_per_second());
        let pages = u64::try_from(page_size()).unwrap_or(4096);
        all.push(
            Family::counter("process_cpu_seconds_total", "CPU time of the control plane.")
                .with(&[], seconds(stat.cpu_ticks)),
        );
        all.push(
            Family::gauge("process_resident_memory_bytes", "Memory of the control plane.")
                .with(&[], number(stat.resident_pages * pages)),
        );
        all.push(
            Family::gauge(
                "process_virtual_memory_bytes",
                "Address space of the control plane.",
            )
            .with(&[], number(stat.virtual_bytes)),
        );
        all.push(
            Family::gauge("process_threads", "Threads of the control plane.").with(&[], number(stat.threads)),
        );
        if let Some(boot) = boot_time() {
            let at = number(boot) + seconds(stat.started_ticks);
            all.push(
                Family::gauge(
                    "process_start_time_seconds",
                    "When the control plane started, seconds since 1970.",
                )
                .with(&[], at),
            );
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        let open = u64::try_from(open.count()).unwrap_or(u64::MAX);
        // Listing them takes one.
        all.push(
            Family::gauge("process_open_fds", "File descriptors of the control plane.")
                .with(&[], number(open.saturating_sub(1))),
        );
    }
    // Unlimited is no number, and no series.
    if let Some(max) = getrlimit(Resource::Nofile).current {
        all.push(
            Family::gauge("process_max_fds", "File descriptors that it may have.").with(&[], number(max)),
        );
    }
    all.into_iter().filter_map(Family::finish).collect()
}

/// Seconds since 1970 at which the machine started.
fn boot_time() -> Option<u64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}

#[allow(clippy::cast_precision_loss)]
fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_name_may_hold_anything() {
        let text =
            "4242 (a) b (c) S 1 4242 4242 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 7 0 12345 1048576 256 0";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(
            (stat.cpu_ticks, stat.threads, stat.started_ticks),
            (200, 7, 12345)
        );
        assert_eq!((stat.virtual_bytes, stat.resident_pages), (1 << 20, 256));
        assert_eq!(Stat::parse("4242 (cut"), None);
        assert_eq!(Stat::parse("4242 (cut) S 1"), None);
    }
}
