//! The settings of both planes at once.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tracing_subscriber::EnvFilter;
use weever_controlplane::{Admission, Config};
use weever_dataplane::Invocation;
use weever_settings::{LogFormat, Program, Resolved, Stop};

/// What both planes need, and what the parent itself does.
#[derive(Debug)]
pub(crate) struct Settings {
    /// As bound, so perhaps with an unspecified address.
    pub(crate) public: SocketAddr,
    pub(crate) private: SocketAddr,
    pub(crate) tls: bool,
    pub(crate) auth: bool,
    pub(crate) log: String,
    pub(crate) log_format: LogFormat,
    pub(crate) drain_timeout: Duration,
    /// Whether someone wants the control socket in a certain place.
    pub(crate) control_socket_given: bool,
    /// For the planes.
    pub(crate) resolved: Resolved,
}

/// The program, as its help shows it.
pub(crate) const PROGRAM: Program<'_> = Program {
    name: "weever",
    version: env!("CARGO_PKG_VERSION"),
    about: "A WebRTC server for broadcasting: few publish, thousands watch. Starts the control plane and the data plane and \
            keeps them running; `weever controlplane` and `weever dataplane` are one of them alone. SIGTERM drains: it ends \
            when the last has left; Ctrl-C ends at once.",
    examples: &[
        (
            "weever",
            "Serves on http://localhost:8443/, media on UDP port 8443 and up.",
        ),
        (
            "weever --cert-file cert.pem --key-file key.pem --public-ip 203.0.113.7",
            "Over TLS, behind a NAT that maps its ports one to one.",
        ),
        (
            "PORT=80 weever --config weever.toml --auth",
            "With settings from all three places.",
        ),
    ],
    tables: &[weever_controlplane::SETTINGS, weever_dataplane::SETTINGS],
};

impl Settings {
    /// Reads the command line (without the program's name), this process's environment, and the file.
    pub(crate) fn read(args: &[String]) -> Result<Self, Stop> {
        Self::take(PROGRAM.from_process(args)?)
    }

    /// Has both planes look at what is theirs, so that nothing wrong waits for a child to find it.
    fn take(resolved: Resolved) -> Result<Self, Stop> {
        let mut take = resolved.take();
        let config = Config::from(&mut take);
        let _ = Invocation::take(&mut take);
        let _: EnvFilter = take.parse_with("log", |filter| EnvFilter::try_new(filter));
        for port in ["port", "private-port"] {
            if take.parse::<u16>(port) == 0 {
                take.reject(port, "1 to 65535, because others must be told");
            }
        }
        let control_socket_given = take.given("control-socket");
        take.finish()?;
        Ok(Self {
            public: SocketAddr::new(config.host, config.port),
            private: SocketAddr::new(config.private_host, config.private_port),
            tls: config.tls.is_some(),
            auth: matches!(config.admission, Admission::Tokens),
            log: config.log,
            log_format: config.log_format,
            drain_timeout: config.drain_timeout,
            control_socket_given,
            resolved,
        })
    }
}

/// Where this machine reaches what is bound to `address`.
pub(crate) fn local(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io;

    use super::*;

    /// From a command line alone.
    pub(crate) fn read(args: &[&str]) -> Result<Settings, Stop> {
        let args: Vec<String> = args.iter().map(|word| (*word).to_owned()).collect();
        let no_file = |_: &_| Err(io::Error::from(io::ErrorKind::NotFound));
        Settings::take(PROGRAM.resolve(&args, |_| None, no_file)?)
    }

    #[test]
    fn defaults_of_both_planes_are_good() {
        let settings = read(&[]).unwrap();
        assert_eq!((settings.public.port(), settings.private.port()), (8443, 9443));
        assert!(settings.private.ip().is_loopback());
        assert!(!settings.tls && !settings.auth && !settings.control_socket_given);
        assert_eq!(local(settings.public).to_string(), "127.0.0.1:8443");
    }

    #[test]
    fn mistakes_in_the_settings_of_both_planes_are_named_at_once() {
        let bad = [
            "--port=none",
            "--private-port=0",
            "--workers=0",
            "--log=weever=loud",
            "--udp=1",
        ];
        let Err(Stop::Errors(errors)) = read(&bad) else {
            panic!("accepted");
        };
        let mut keys: Vec<&str> = errors.iter().map(|error| error.key.as_str()).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["--log", "--port", "--private-port", "--udp", "--workers"]);
    }

    /// `WEEVER_WRITE_SAMPLES=1 cargo test -p weever-standalone samples` writes them anew.
    #[test]
    fn samples_are_those_of_the_tables() {
        for (name, program) in [
            ("weever", PROGRAM),
            ("controlplane", crate::planes::CONTROLPLANE),
            ("dataplane", crate::planes::DATAPLANE),
        ] {
            let path = format!("{}/../config/{name}.toml", env!("CARGO_MANIFEST_DIR"));
            if std::env::var_os("WEEVER_WRITE_SAMPLES").is_some() {
                std::fs::write(&path, program.sample()).unwrap();
            }
            let sample = std::fs::read_to_string(&path).unwrap();
            let is_same = sample == program.sample();
            assert!(
                is_same,
                "{path} is not what the tables say; WEEVER_WRITE_SAMPLES=1 writes it anew"
            );
            let args = ["--config".to_owned(), path];
            let resolved = program.resolve(&args, |_| None, |_| Ok(sample.clone())).unwrap();
            assert_eq!(resolved.to_env(), [], "all of it is commented out");
            let mut take = resolved.take();
            match name {
                "dataplane" => drop(Invocation::take(&mut take)),
                _ => drop(Config::from(&mut take)),
            }
            take.finish().unwrap();
        }
    }

    #[test]
    fn help_shows_both_planes() {
        let help = PROGRAM.help();
        for flag in ["--port PORT", "--udp-port PORT", "--auth", "--public-ip ADDR"] {
            assert!(help.contains(flag), "{flag}");
        }
        assert_eq!(help.matches("  --control-socket ").count(), 1);
    }
}
