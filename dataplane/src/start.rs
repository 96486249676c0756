//! From settings to running threads.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use tokio::sync::mpsc;
use weever_core::{Identity, IdentityError, WorkerConfig};
use weever_proto::{
    Hello, VERSION, WorkerHello, WorkerId,
    limits::{MAX_CANDIDATES, MAX_WORKERS},
};
use weever_uring::{BindError, BoundSockets};

use crate::{
    Ask, RelaySettings, Settings, WorkerError,
    addresses::{candidates, local_addresses},
    control::{Control, Stats, Texts},
    link::Redial,
    mailbox::{Mailbox, Reports},
    relay::RelayHandle,
    sessions::Sessions,
    worker::{self, Start},
};

/// Why a data plane did not start, or ended.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum RunError {
    #[error("the control thread: {0}")]
    Runtime(io::Error),
    #[error("listing network interfaces: {0} (--udp-host names addresses instead)")]
    Interfaces(io::Error),
    #[error("no address to listen on was found; name one with --udp-host")]
    NoAddress,
    #[error("--udp-host {0}: name the addresses themselves, clients can't be told a wildcard")]
    Wildcard(IpAddr),
    #[error("--workers {0}: at most {MAX_WORKERS}")]
    TooManyWorkers(usize),
    #[error("--udp-port {port} and {workers} workers: there is no port for the last ones")]
    Ports { port: u16, workers: usize },
    #[error(
        "worker {worker}: {source} (ports are --udp-port plus the worker's number, addresses come from --udp-host)"
    )]
    Bind { worker: u16, source: BindError },
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("random numbers: {0}")]
    Random(getrandom::Error),
    #[error("starting the thread of worker {worker}: {source}")]
    Thread { worker: u16, source: io::Error },
    #[error("starting the thread of the relay: {0}")]
    Relay(io::Error),
    #[error("worker {worker} died: {source}")]
    Worker { worker: WorkerId, source: WorkerError },
    #[error("worker {worker} has stopped working: its queue stayed full")]
    Stuck { worker: WorkerId },
}

/// Serves until asked to end, or until drained. Nobody being left who could ask is as good as [`Ask::End`].
///
/// # Errors
/// As [`crate::run`].
pub async fn serve(settings: &Settings, asked: mpsc::Receiver<Ask>) -> Result<(), RunError> {
    let cpus = weever_uring::available_cpus();
    let count = settings
        .workers
        .map_or(cpus.len().clamp(1, MAX_WORKERS), Into::into);
    let sockets = bind_all(settings, count)?;
    let identity = Identity::generate()?;
    let hello = hello(settings, &sockets, &identity)?;
    let mailboxes: Arc<[Mailbox]> = (0..count).map(|_| Mailbox::new()).collect();
    let reports = Arc::new(Reports::new());
    let start_relay =
        |relay: &RelaySettings| RelayHandle::start(relay.clone(), &settings.name, Arc::clone(&mailboxes));
    let relay = settings.relay.as_ref().map(start_relay);
    let relay = relay.transpose().map_err(RunError::Relay)?;
    let (lives, mut ends) = mpsc::unbounded_channel();
    for (worker, sockets) in hello.workers.iter().zip(sockets) {
        let start = Start {
            config: WorkerConfig {
                id: worker.id,
                identity: Arc::clone(&identity),
                max_sessions: settings.max_sessions as usize,
                egress_window_max: settings.egress_window_max,
                relay: settings.relay.is_some(),
            },
            sockets,
            io: settings.io,
            // With more workers than cores the kernel shares them out better.
            cpu: cpus
                .get(usize::from(worker.id.0))
                .copied()
                .filter(|_| count <= cpus.len()),
            mailboxes: Arc::clone(&mailboxes),
            relay: relay.as_ref().map(|relay| Arc::clone(&relay.mailbox)),
            reports: Arc::clone(&reports),
        };
        let number = worker.id.0;
        worker::spawn(start, lives.clone()).map_err(|source| RunError::Thread {
            worker: number,
            source,
        })?;
    }
    drop(lives);
    for _ in 0..count {
        match ends.recv().await {
            Some((worker, Ok(Some(io)))) => {
                let listening = &hello.workers[usize::from(worker.0)].candidates;
                tracing::info!(%worker, io = io.as_str(), ?listening, "worker serves");
            }
            Some((worker, Ok(None))) => {
                return Err(RunError::Worker {
                    worker,
                    source: WorkerError::Panicked,
                });
            }
            Some((worker, Err(source))) => return Err(RunError::Worker { worker, source }),
            None => break,
        }
    }
    let control = Control {
        socket: settings.control_socket.clone(),
        hello,
        mailboxes,
        relay,
        reports,
        lives: ends,
        running: count,
        sessions: Sessions::new(count, settings.max_sessions as usize),
        texts: Texts::default(),
        stats: Stats::default(),
        drain_timeout: settings.drain_timeout,
        drained_by: None,
        redial: Redial::default(),
        accepted: tokio::time::Instant::now(),
    };
    control.run(asked).await
}

fn hello(settings: &Settings, sockets: &[BoundSockets], identity: &Identity) -> Result<Hello, RunError> {
    let workers = (0..).zip(sockets).map(|(number, sockets)| WorkerHello {
        id: WorkerId(number),
        candidates: candidates(&settings.public_ip, sockets.addresses()),
    });
    Ok(Hello {
        version: VERSION,
        name: settings.name.clone(),
        incarnation: getrandom::u64().map_err(RunError::Random)?,
        software: env!("CARGO_PKG_VERSION").to_owned(),
        fingerprint: identity.fingerprint().clone(),
        workers: workers.collect(),
        max_sessions: settings.max_sessions,
        draining: false,
        relay: settings.relay.is_some(),
    })
}

/// The sockets of all workers, before any thread is started.
fn bind_all(settings: &Settings, count: usize) -> Result<Vec<BoundSockets>, RunError> {
    if count > MAX_WORKERS {
        return Err(RunError::TooManyWorkers(count));
    }
    let base = settings.udp_port;
    let ports: Vec<u16> = match base {
        0 => vec![0; count],
        _ => (base..=u16::MAX).take(count).collect(),
    };
    if ports.len() < count {
        return Err(RunError::Ports {
            port: base,
            workers: count,
        });
    }
    let found = settings.udp_host.is_empty();
    let addresses = if found {
        local_addresses(MAX_CANDIDATES).map_err(RunError::Interfaces)?
    } else {
        settings.udp_host.clone()
    };
    if let Some(wildcard) = addresses.iter().find(|address| address.is_unspecified()) {
        return Err(RunError::Wildcard(*wildcard));
    }
    (0..)
        .zip(ports)
        .map(|(worker, port)| bind(worker, port, addresses.clone(), found))
        .collect()
}

/// One worker's sockets. An address that was found and turns out not to be usable yet (IPv6, right after the interface
/// came up) is left out; one that was named must work.
fn bind(worker: u16, port: u16, mut addresses: Vec<IpAddr>, found: bool) -> Result<BoundSockets, RunError> {
    loop {
        if addresses.is_empty() {
            return Err(RunError::NoAddress);
        }
        let wanted: Vec<SocketAddr> = addresses
            .iter()
            .map(|address| SocketAddr::new(*address, port))
            .collect();
        match weever_uring::bind(&wanted) {
            Ok(sockets) => return Ok(sockets),
            Err(BindError::Bind { address, source })
                if found && source.kind() == io::ErrorKind::AddrNotAvailable =>
            {
                tracing::warn!(%address, %source, "left out");
                addresses.retain(|left| *left != address.ip());
            }
            Err(source) => return Err(RunError::Bind { worker, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use weever_uring::IoChoice;

    use super::*;

    fn settings() -> Settings {
        Settings {
            control_socket: "/nowhere".into(),
            name: "test".into(),
            workers: None,
            udp_port: 0,
            udp_host: vec!["127.0.0.1".parse().unwrap()],
            public_ip: Vec::new(),
            io: IoChoice::Syscalls,
            max_sessions: 10,
            egress_window_max: std::time::Duration::from_millis(5),
            drain_timeout: std::time::Duration::from_secs(60),
            relay: None,
        }
    }

    #[test]
    fn a_taken_port_is_an_error_that_names_it_and_the_flag() {
        let taken = weever_uring::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let address = taken.addresses()[0];
        let error = bind_all(
            &Settings {
                udp_port: address.port(),
                ..settings()
            },
            1,
        )
        .unwrap_err()
        .to_string();
        assert!(
            error.contains(&address.to_string()) && error.contains("--udp-port"),
            "{error}"
        );
    }

    #[test]
    fn ports_count_up_and_run_out() {
        let error = bind_all(
            &Settings {
                udp_port: u16::MAX,
                ..settings()
            },
            2,
        )
        .unwrap_err();
        assert!(matches!(
            error,
            RunError::Ports {
                port: u16::MAX,
                workers: 2
            }
        ));
        assert!(matches!(
            bind_all(&settings(), 257),
            Err(RunError::TooManyWorkers(257))
        ));
        assert_eq!(bind_all(&settings(), 3).unwrap().len(), 3);
    }

    #[test]
    fn wildcards_are_refused() {
        for wildcard in ["0.0.0.0", "::"] {
            let settings = Settings {
                udp_host: vec![wildcard.parse().unwrap()],
                ..settings()
            };
            assert!(matches!(bind_all(&settings, 1), Err(RunError::Wildcard(_))));
        }
    }

    #[test]
    fn found_addresses_can_be_left_out_named_ones_can_not() {
        // TEST-NET-3: never this machine's.
        let addresses = vec!["203.0.113.9".parse().unwrap(), "127.0.0.1".parse().unwrap()];
        assert_eq!(bind(0, 0, addresses.clone(), true).unwrap().addresses().len(), 1);
        assert!(matches!(
            bind(0, 0, addresses, false),
            Err(RunError::Bind { worker: 0, .. })
        ));
    }
}
