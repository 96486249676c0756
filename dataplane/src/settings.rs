//! What a data plane is told at its start: flags, or environment variables of the same name in upper snake case.

use std::{
    ffi::OsString, fmt::Display, net::IpAddr, num::NonZeroUsize, os::unix::fs::MetadataExt, path::PathBuf,
};

use clap::{Arg, ArgMatches};
use weever_proto::limits::{MAX_NAME, MAX_WORKERS};
use weever_uring::IoChoice;

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
}

/// A program's settings and what else its command line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// What to serve with.
    pub settings: Settings,
    /// Log filter in the syntax of `RUST_LOG`.
    pub log: String,
}

/// Why the settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// No command line of this program, or a request for help; printed by its `exit`.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// Every bad value, one a line.
    #[error("{}", .0.join("\n"))]
    Values(Vec<String>),
}

/// Name, default, and what it means. The environment variable is the name in upper snake case.
const SETTINGS: [(&str, &str, &str); 8] = [
    (
        "control-socket",
        "",
        "Unix socket of the control plane [$XDG_RUNTIME_DIR/weever/control.sock]",
    ),
    (
        "name",
        "dataplane",
        "Name of this data plane, unique at its control plane",
    ),
    ("workers", "auto", "Worker threads: auto (one a core) or a number"),
    (
        "udp-port",
        "8443",
        "UDP port of the first worker; the others count up from it",
    ),
    (
        "udp-host",
        "auto",
        "Addresses to listen on: auto, or a list with commas",
    ),
    (
        "public-ip",
        "",
        "Addresses that clients reach through a NAT, a list with commas",
    ),
    ("io", "auto", "How to talk to the kernel: auto, uring or syscalls"),
    ("max-sessions", "20000", "Sessions beyond this are refused"),
];

impl Invocation {
    /// Reads a command line (the program's name first) and the environment. A flag beats the environment.
    ///
    /// # Errors
    /// All bad values at once, each by its name.
    pub fn read(
        arguments: impl IntoIterator<Item = OsString>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        let flags = SETTINGS.map(|(name, _, help)| Arg::new(name).long(name).value_name("VALUE").help(help));
        let log = Arg::new("log")
            .long("log")
            .value_name("FILTER")
            .help("Log filter, as RUST_LOG [info]");
        let command = clap::Command::new("weever-dataplane")
            .version(env!("CARGO_PKG_VERSION"))
            .about("Forwards the media of Weever's sessions")
            .args(flags)
            .arg(log);
        let matches = command.try_get_matches_from(arguments)?;
        let mut reader = Reader {
            matches: &matches,
            environment: &environment,
            errors: Vec::new(),
        };
        let settings = reader.settings();
        let log = reader
            .flag("log")
            .or_else(|| environment("RUST_LOG"))
            .unwrap_or_else(|| "info".to_owned());
        match reader.errors {
            errors if errors.is_empty() => Ok(Self { settings, log }),
            errors => Err(SettingsError::Values(errors)),
        }
    }
}

struct Reader<'a, E> {
    matches: &'a ArgMatches,
    environment: &'a E,
    errors: Vec<String>,
}

impl<E: Fn(&str) -> Option<String>> Reader<'_, E> {
    fn flag(&self, name: &str) -> Option<String> {
        self.matches.get_one::<String>(name).cloned()
    }

    fn text(&self, name: &str) -> String {
        let variable = name.replace('-', "_").to_uppercase();
        let default = SETTINGS
            .iter()
            .find(|(setting, ..)| *setting == name)
            .map(|(_, default, _)| *default);
        self.flag(name)
            .or_else(|| (self.environment)(&variable))
            .or(default.map(str::to_owned))
            .unwrap_or_default()
    }

    fn value<T: Default, R: Display>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, R>) -> T {
        let text = self.text(name);
        parse(text.trim()).unwrap_or_else(|reason| {
            self.errors.push(format!("--{name} {text:?}: {reason}"));
            T::default()
        })
    }

    fn settings(&mut self) -> Settings {
        let runtime_directory = (self.environment)("XDG_RUNTIME_DIR");
        Settings {
            control_socket: self.value("control-socket", |text| match text {
                "" => default_socket(runtime_directory),
                path => Ok(path.into()),
            }),
            name: self.value("name", |text| match text.len() {
                1..=MAX_NAME => Ok(text.to_owned()),
                _ => Err(format!("1 to {MAX_NAME} bytes")),
            }),
            workers: self.value("workers", |text| match (text, text.parse::<NonZeroUsize>()) {
                ("auto", _) => Ok(None),
                (_, Ok(count)) if count.get() <= MAX_WORKERS => Ok(Some(count)),
                _ => Err(format!("auto, or 1 to {MAX_WORKERS}")),
            }),
            udp_port: self.value("udp-port", |text| text.parse().map_err(|_| "0 to 65535")),
            udp_host: self.value("udp-host", |text| {
                if text == "auto" {
                    Ok(Vec::new())
                } else {
                    addresses(text)
                }
            }),
            public_ip: self.value("public-ip", addresses),
            io: self.value("io", |text| match text {
                "auto" => Ok(IoChoice::Auto),
                "uring" => Ok(IoChoice::Uring),
                "syscalls" => Ok(IoChoice::Syscalls),
                _ => Err("auto, uring or syscalls"),
            }),
            max_sessions: self.value("max-sessions", |text| text.parse().map_err(|_| "a number")),
        }
    }
}

fn addresses(list: &str) -> Result<Vec<IpAddr>, String> {
    let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
    items
        .map(|item| item.parse().map_err(|_| format!("{item:?} is no IP address")))
        .collect()
}

fn default_socket(runtime_directory: Option<String>) -> Result<PathBuf, std::io::Error> {
    if let Some(directory) = runtime_directory.filter(|directory| !directory.is_empty()) {
        return Ok(PathBuf::from(directory).join("weever/control.sock"));
    }
    let user = std::fs::metadata("/proc/self")?.uid();
    Ok(format!("/tmp/weever-{user}/control.sock").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Invocation, SettingsError> {
        let arguments = std::iter::once("weever-dataplane")
            .chain(arguments.iter().copied())
            .map(OsString::from);
        Invocation::read(arguments, |name| {
            let found = environment.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_said_is_the_default() {
        let Invocation { settings, log } = read(&[], &[("XDG_RUNTIME_DIR", "/run/user/7")]).unwrap();
        assert_eq!(
            settings.control_socket,
            PathBuf::from("/run/user/7/weever/control.sock")
        );
        assert_eq!(
            (settings.udp_port, settings.workers, settings.io),
            (8443, None, IoChoice::Auto)
        );
        assert!(settings.udp_host.is_empty() && settings.public_ip.is_empty());
        assert_eq!(log, "info");
        let settings = read(&[], &[]).unwrap().settings;
        assert!(settings.control_socket.starts_with("/tmp"));
    }

    #[test]
    fn a_flag_beats_the_environment() {
        let environment = [
            ("UDP_PORT", "9000"),
            ("PUBLIC_IP", "192.0.2.1, 2001:db8::1"),
            ("RUST_LOG", "debug"),
        ];
        let Invocation { settings, log } =
            read(&["--udp-port", "9100", "--workers=3"], &environment).unwrap();
        assert_eq!(settings.udp_port, 9100);
        assert_eq!(settings.workers, NonZeroUsize::new(3));
        assert_eq!(settings.public_ip.len(), 2);
        assert_eq!(log, "debug");
    }

    #[test]
    fn all_bad_values_are_named_at_once() {
        let bad = [
            "--udp-port=70000",
            "--workers=0",
            "--io=dpdk",
            "--udp-host=here",
            "--name=",
        ];
        let error = read(&bad, &[("MAX_SESSIONS", "many")]).unwrap_err().to_string();
        for name in ["udp-port", "workers", "io", "udp-host", "name", "max-sessions"] {
            assert!(error.contains(&format!("--{name} ")), "{name}: {error}");
        }
        assert_eq!(error.lines().count(), 6);
        assert!(matches!(read(&["--port"], &[]), Err(SettingsError::Usage(_))));
    }
}
