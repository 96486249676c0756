//! What a run leans on besides its own counting: processes, the kernel's counters, the server's own word.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::load::Server;
use crate::process::{self, Sample};
use crate::publisher::Sent;

/// The machine's UDP counters (`/proc/net/snmp`, `/proc/net/snmp6`), of this network namespace.
#[derive(Debug, Default, Clone, Copy, Serialize, PartialEq, Eq)]
pub(crate) struct Udp {
    /// Datagrams for which a socket had no room.
    pub(crate) receive_buffer_errors: u64,
    pub(crate) send_buffer_errors: u64,
    pub(crate) in_errors: u64,
    /// Datagrams to ports that nobody listened on.
    pub(crate) no_ports: u64,
}

impl Udp {
    fn now() -> Self {
        let mut sum = Self::default();
        let v4 = fs::read_to_string("/proc/net/snmp").unwrap_or_default();
        let v6 = fs::read_to_string("/proc/net/snmp6").unwrap_or_default();
        sum.add_v4(&v4);
        sum.add_v6(&v6);
        sum
    }

    fn count(&mut self, name: &str, value: u64) {
        match name {
            "RcvbufErrors" => self.receive_buffer_errors += value,
            "SndbufErrors" => self.send_buffer_errors += value,
            "InErrors" => self.in_errors += value,
            "NoPorts" => self.no_ports += value,
            _ => {}
        }
    }

    /// A line of names and a line of values.
    fn add_v4(&mut self, text: &str) {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
        let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
            return;
        };
        for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
            self.count(name, value.parse().unwrap_or(0));
        }
    }

    /// A line for each.
    fn add_v6(&mut self, text: &str) {
        for line in text.lines().filter_map(|line| line.strip_prefix("Udp6")) {
            let mut words = line.split_whitespace();
            if let (Some(name), Some(value)) = (words.next(), words.next()) {
                self.count(name, value.parse().unwrap_or(0));
            }
        }
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            receive_buffer_errors: self
                .receive_buffer_errors
                .saturating_sub(before.receive_buffer_errors),
            send_buffer_errors: self.send_buffer_errors.saturating_sub(before.send_buffer_errors),
            in_errors: self.in_errors.saturating_sub(before.in_errors),
            no_ports: self.no_ports.saturating_sub(before.no_ports),
        }
    }
}

/// What a server says of itself in Prometheus' text format.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Scraped {
    pub(crate) cpu: Option<Duration>,
    pub(crate) rss: Option<u64>,
}

/// Weever's workers, else what client libraries export for a process.
const CPU_NAMES: [&str; 2] = ["weever_worker_cpu_seconds_total", "process_cpu_seconds_total"];
const RSS_NAMES: [&str; 2] = [
    "weever_shard_resident_memory_bytes",
    "process_resident_memory_bytes",
];

impl Scraped {
    pub(crate) fn parse(text: &str) -> Self {
        let cpu = CPU_NAMES.iter().find_map(|name| sum_of(text, name));
        let rss = RSS_NAMES.iter().find_map(|name| sum_of(text, name));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "bytes of memory"
        )]
        Self {
            cpu: cpu.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            rss: rss.map(|bytes| bytes as u64),
        }
    }
}

/// All series of a metric together; `None` when there is none.
fn sum_of(text: &str, name: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labelled) => labelled.rsplit_once('}')?.1,
            None => rest.starts_with(' ').then_some(rest)?,
        };
        value.split_whitespace().next()?.parse::<f64>().ok()
    });
    values.reduce(|sum, value| sum + value)
}

/// Everything at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) at: Instant,
    pub(crate) server: Vec<Sample>,
    pub(crate) scraped: Option<Scraped>,
    pub(crate) own: Option<Sample>,
    pub(crate) udp: Udp,
    pub(crate) socket_drops: u64,
    pub(crate) sent: Sent,
}

impl Snapshot {
    pub(crate) async fn take(server: &Server, sent: Sent) -> Self {
        let scraped = match &server.metrics {
            Some(url) => scrape(url).await,
            None => None,
        };
        Self {
            server: server.pids.iter().flat_map(|pid| process::tree(*pid)).collect(),
            scraped,
            udp: Udp::now(),
            socket_drops: socket_drops(),
            sent,
            own: process::own(),
            at: Instant::now(),
        }
    }
}

async fn scrape(url: &str) -> Option<Scraped> {
    let response = reqwest::get(url).await.ok()?;
    let text = response.error_for_status().ok()?.text().await.ok()?;
    Some(Scraped::parse(&text))
}

/// Datagrams that sockets of this process had no room for.
fn socket_drops() -> u64 {
    let own = own_inodes();
    ["/proc/self/net/udp", "/proc/self/net/udp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .map(|table| drops_of(&table, &own))
        .sum()
}

fn own_inodes() -> BTreeSet<u64> {
    let Ok(files) = fs::read_dir("/proc/self/fd") else {
        return BTreeSet::new();
    };
    files
        .flatten()
        .filter_map(|file| {
            let link = fs::read_link(file.path()).ok()?;
            let name = link.to_str()?;
            name.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
        })
        .collect()
}

/// The columns `inode` and `drops` of the kernel's table.
fn drops_of(table: &str, own: &BTreeSet<u64>) -> u64 {
    let columns = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    table
        .lines()
        .skip(1)
        .map(columns)
        .filter(|line| {
            line.get(9)
                .and_then(|inode| inode.parse().ok())
                .is_some_and(|inode| own.contains(&inode))
        })
        .filter_map(|line| line.last()?.parse::<u64>().ok())
        .sum()
}

/// What this machine is, for reports.
pub(crate) fn machine() -> BTreeMap<&'static str, String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo").lines().find_map(|line| {
        line.strip_prefix("model name")?
            .split_once(':')
            .map(|(_, name)| name.trim().to_owned())
    });
    // As many as there are, also where affinity hides some.
    let cores = read("/proc/cpuinfo").matches("processor\t").count();
    BTreeMap::from([
        ("cpu", cpu.unwrap_or_else(|| "unknown".into())),
        ("cores", cores.to_string()),
        ("kernel", read("/proc/sys/kernel/osrelease").trim().to_owned()),
        ("loadgen", env!("CARGO_PKG_VERSION").to_owned()),
    ])
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let mut udp = Udp::default();
        udp.add_v4("Ip: a\nIp: 1\nUdp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors\nUdp: 9 1 2 8 3 4\n");
        udp.add_v6("Udp6InErrors   \t10\nUdp6RcvbufErrors 20\nIp6InReceives 7\n");
        let expected = Udp {
            receive_buffer_errors: 23,
            send_buffer_errors: 4,
            in_errors: 12,
            no_ports: 1,
        };
        assert_eq!(udp, expected);
        assert_eq!(udp.since(&udp), Udp::default());
    }

    #[test]
    fn own_drops_are_seen() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let before = socket_drops();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..2000 {
            sender.send_to(&[0; 1400], socket.local_addr().unwrap()).unwrap();
        }
        assert!(socket_drops() > before);
    }

    #[test]
    fn a_servers_own_word_is_read() {
        let text = "# HELP x y\nweever_worker_cpu_seconds_total{shard=\"a\",worker=\"0\"} 1.5\n\
                    weever_worker_cpu_seconds_total{shard=\"a\",worker=\"1\"} 2\nprocess_resident_memory_bytes 1048576\n\
                    process_resident_memory_bytes_more 5\n";
        let scraped = Scraped::parse(text);
        assert_eq!(scraped.cpu, Some(Duration::from_millis(3500)));
        assert_eq!(scraped.rss, Some(1_048_576));
        assert_eq!(Scraped::parse("nothing 1\n"), Scraped::default());
    }
}
