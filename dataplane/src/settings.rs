//! What a data plane is told at its start.

use std::{net::IpAddr, num::NonZeroUsize, os::unix::fs::MetadataExt, path::PathBuf, time::Duration};

use tracing_subscriber::EnvFilter;
use weever_proto::limits::{MAX_NAME, MAX_WORKERS};
use weever_settings::{LOG_FORMAT, LogFormat, Program, Setting, Take};
use weever_uring::IoChoice;

use crate::relay::settings::{self as relay, RelaySettings};

/// All settings of a data plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The control plane's Unix socket.
    pub control_socket: PathBuf,
    /// Unique among the data planes of one control plane; 1 to 128 bytes.
    pub name: String,
    /// Worker threads; `None`: one for each core that the process may use.
    pub workers: Option<NonZeroUsize>,
    /// UDP port of worker 0; the others count up from it. 0: any free ones.
    pub udp_port: u16,
    /// Addresses to listen on; empty: found by the machine's routes.
    pub udp_host: Vec<IpAddr>,
    /// Addresses that clients reach through a NAT, offered first.
    pub public_ip: Vec<IpAddr>,
    /// The I/O backend.
    pub io: IoChoice,
    /// Sessions in all; more are refused.
    pub max_sessions: u32,
    /// How long a packet may wait for others of its frame when the core is busy; at most 50 ms.
    pub egress_window_max: Duration,
    /// How long SIGTERM waits for the last session to leave.
    pub drain_timeout: Duration,
    /// Media to and from other data planes, if there is to be any.
    pub relay: Option<RelaySettings>,
}

/// A program's settings and what else its command line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// What to serve with.
    pub settings: Settings,
    /// Log filter in the syntax of `RUST_LOG`.
    pub log: String,
    /// How the log is written.
    pub log_format: LogFormat,
}

pub(crate) const fn setting(
    group: &'static str,
    name: &'static str,
    value: &'static str,
    default: Option<&'static str>,
    help: &'static str,
) -> Setting {
    Setting {
        name,
        value,
        default,
        help,
        group,
        secret: false,
    }
}

/// More would be heard as a delay of its own.
const MAX_EGRESS_WINDOW_MS: u64 = 50;

/// A day: whoever is still there is not going to leave.
const MAX_DRAIN_SECONDS: u64 = 24 * 60 * 60;

const MEDIA: &str = "Media";
const PROCESS: &str = "Process";

/// All settings of a data plane.
pub const SETTINGS: &[Setting] = &[
    setting(
        MEDIA,
        "udp-port",
        "PORT",
        Some("8443"),
        "UDP port of the first worker; the others count up from it. 0 for any free ones.",
    ),
    setting(
        MEDIA,
        "udp-host",
        "ADDR[,ADDR…]",
        Some("auto"),
        "Addresses to listen on; auto finds them by the machine's routes.",
    ),
    setting(
        MEDIA,
        "public-ip",
        "ADDR[,ADDR…]",
        None,
        "Addresses that clients reach through a NAT, offered first.",
    ),
    setting(
        MEDIA,
        "workers",
        "N",
        Some("auto"),
        "Worker threads; auto is one for each core.",
    ),
    setting(
        MEDIA,
        "io",
        "BACKEND",
        Some("auto"),
        "How to talk to the kernel: auto, uring or syscalls.",
    ),
    setting(
        MEDIA,
        "max-sessions",
        "N",
        Some("20000"),
        "Sessions beyond this are refused.",
    ),
    setting(
        MEDIA,
        "egress-window-max",
        "MS",
        Some("5"),
        "How long a packet may wait for others of its frame when a core is busy, 0 to 50; on a calm one none waits.",
    ),
    setting(
        PROCESS,
        "name",
        "NAME",
        Some("dataplane"),
        "Name of this data plane, unique at its control plane.",
    ),
    setting(
        PROCESS,
        "control-socket",
        "PATH",
        None,
        "Unix socket of the control plane [default: $XDG_RUNTIME_DIR/weever/control.sock].",
    ),
    setting(
        PROCESS,
        "drain-timeout",
        "SECONDS",
        Some("60"),
        "How long SIGTERM waits for the last session to leave; a second SIGTERM ends at once.",
    ),
    setting(
        PROCESS,
        "log",
        "FILTER",
        Some("info"),
        "What is logged, in the syntax of RUST_LOG.",
    ),
    LOG_FORMAT,
    relay::SETTINGS[0],
    relay::SETTINGS[1],
    relay::SETTINGS[2],
    relay::SETTINGS[3],
    relay::SETTINGS[4],
    relay::SETTINGS[5],
    relay::SETTINGS[6],
];

/// The program, as its help shows it.
pub const PROGRAM: Program<'_> = Program {
    name: "weever-dataplane",
    version: env!("CARGO_PKG_VERSION"),
    about: "Weever's data plane: forwards the media of sessions that its control plane opens. SIGTERM drains it: it ends with \
            its last session.",
    examples: &[
        (
            "weever-dataplane",
            "Serves on UDP port 8443 and up, one for each core.",
        ),
        (
            "weever-dataplane --public-ip 203.0.113.7 --udp-host 10.0.0.7 --udp-port 5000",
            "Serves behind a NAT.",
        ),
    ],
    tables: &[SETTINGS],
};

impl Invocation {
    /// Takes everything of [`SETTINGS`]; whatever is wrong waits in `take`.
    pub fn take(take: &mut Take<'_>) -> Self {
        Self {
            settings: Settings::take(take),
            log: take.parse_with("log", |text| EnvFilter::try_new(text).map(|_| text.to_owned())),
            log_format: take.parse("log-format"),
        }
    }
}

impl Settings {
    /// Takes all but the log filter; whatever is wrong waits in `take`.
    pub fn take(take: &mut Take<'_>) -> Self {
        let settings = Self {
            control_socket: take.optional("control-socket").unwrap_or_else(default_socket),
            name: take.parse_with("name", |text| match text.len() {
                1..=MAX_NAME => Ok(text.to_owned()),
                _ => Err(format!("1 to {MAX_NAME} bytes")),
            }),
            workers: take.parse_with("workers", |text| match (text, text.parse::<NonZeroUsize>()) {
                ("auto", _) => Ok(None),
                (_, Ok(count)) if count.get() <= MAX_WORKERS => Ok(Some(count)),
                _ => Err(format!("auto, or 1 to {MAX_WORKERS}")),
            }),
            udp_port: take.parse("udp-port"),
            udp_host: take.parse_with("udp-host", |text| match text {
                "auto" => Ok(Vec::new()),
                list => addresses(list),
            }),
            public_ip: take.list("public-ip"),
            io: take.parse_with("io", |text| match text {
                "auto" => Ok(IoChoice::Auto),
                "uring" => Ok(IoChoice::Uring),
                "syscalls" => Ok(IoChoice::Syscalls),
                _ => Err("auto, uring or syscalls"),
            }),
            max_sessions: take.parse("max-sessions"),
            egress_window_max: take.parse_with("egress-window-max", |text| match text.parse() {
                Ok(ms @ 0..=MAX_EGRESS_WINDOW_MS) => Ok(Duration::from_millis(ms)),
                _ => Err(format!("0 to {MAX_EGRESS_WINDOW_MS} milliseconds")),
            }),
            drain_timeout: take.parse_with("drain-timeout", |text| match text.parse() {
                Ok(seconds @ 0..=MAX_DRAIN_SECONDS) => Ok(Duration::from_secs(seconds)),
                _ => Err(format!("0 to {MAX_DRAIN_SECONDS} seconds")),
            }),
            relay: RelaySettings::take(take),
        };
        if settings.udp_host.iter().any(IpAddr::is_unspecified) {
            take.reject(
                "udp-host",
                "name the addresses themselves, clients can't be told a wildcard",
            );
        }
        let others = settings.workers.map_or(0, |count| count.get() - 1);
        if settings.udp_port != 0 && usize::from(settings.udp_port) + others > usize::from(u16::MAX) {
            take.reject(
                "udp-port",
                format!("with --workers {} there is no port for the last ones", others + 1),
            );
        }
        settings
    }
}

fn addresses(list: &str) -> Result<Vec<IpAddr>, String> {
    let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
    items
        .map(|item| item.parse().map_err(|_| format!("{item:?} is no IP address")))
        .collect()
}

/// In the user's runtime directory, or in a directory of the user's own under `/tmp`.
fn default_socket() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty()) {
        Some(directory) => PathBuf::from(directory).join("weever/control.sock"),
        None => {
            // Linux always has /proc/self; without it, a name that nobody has.
            let user = std::fs::metadata("/proc/self").map_or(u32::MAX, |process| process.uid());
            format!("/tmp/weever-{user}/control.sock").into()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use weever_settings::Stop;

    use super::*;

    fn read(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Invocation, Stop> {
        let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
        let environment = |name: &str| {
            let found = environment.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let resolved = PROGRAM.resolve(&arguments, environment, |_| Err(Error::from(ErrorKind::NotFound)))?;
        crate::check(&resolved)?;
        let mut take = resolved.take();
        let invocation = Invocation::take(&mut take);
        take.finish()?;
        Ok(invocation)
    }

    #[test]
    fn nothing_said_is_the_default() {
        let Invocation { settings, log, .. } = read(&[], &[]).unwrap();
        assert!(settings.control_socket.ends_with("control.sock"));
        assert_eq!(
            (settings.udp_port, settings.workers, settings.io),
            (8443, None, IoChoice::Auto)
        );
        assert_eq!(
            (settings.name.as_str(), settings.max_sessions),
            ("dataplane", 20_000)
        );
        assert_eq!(settings.egress_window_max, Duration::from_millis(5));
        assert_eq!(settings.drain_timeout, Duration::from_secs(60));
        assert!(settings.udp_host.is_empty() && settings.public_ip.is_empty());
        assert_eq!(log, "info");
    }

    #[test]
    fn a_flag_beats_the_environment() {
        let environment = [
            ("UDP_PORT", "9000"),
            ("PUBLIC_IP", "192.0.2.1, 2001:db8::1"),
            ("RUST_LOG", "debug"),
        ];
        let Invocation { settings, log, .. } =
            read(&["--udp-port", "9100", "--workers=3"], &environment).unwrap();
        assert_eq!(settings.udp_port, 9100);
        assert_eq!(settings.workers, NonZeroUsize::new(3));
        assert_eq!(settings.public_ip.len(), 2);
        assert_eq!(log, "debug");
    }

    #[test]
    fn all_bad_values_are_named_at_once() {
        let long = format!("--name={}", "x".repeat(MAX_NAME + 1));
        let bad = [
            "--udp-port=70000",
            "--workers=0",
            "--io=dpdk",
            "--drain-timeout=-1",
            "--udp-host=here",
            &long,
            "--port",
            "--log=weever=loud",
        ];
        let Err(Stop::Errors(errors)) = read(&bad, &[("MAX_SESSIONS", "many")]) else {
            panic!("accepted");
        };
        let mut keys: Vec<&str> = errors.iter().map(|error| error.key.as_str()).collect();
        keys.sort_unstable();
        assert_eq!(
            keys,
            [
                "--drain-timeout",
                "--io",
                "--log",
                "--name",
                "--port",
                "--udp-host",
                "--udp-port",
                "--workers",
                "MAX_SESSIONS"
            ]
        );
    }

    #[test]
    fn a_wildcard_and_workers_without_a_port_are_refused_before_anything_starts() {
        let Err(Stop::Errors(errors)) = read(&["--udp-host=::", "--udp-port=65535", "--workers=2"], &[])
        else {
            panic!("accepted");
        };
        let keys: Vec<&str> = errors.iter().map(|error| error.key.as_str()).collect();
        assert_eq!(keys, ["--udp-host", "--udp-port"]);
        assert!(read(&["--udp-port=65535", "--workers=1"], &[]).is_ok());
        assert!(read(&["--udp-port=0", "--workers=2"], &[]).is_ok());
    }
}
