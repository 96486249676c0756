//! From settings to a running control plane.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use weever_settings::{Resolved, Stop, log_to_stderr};

use crate::auth::{Auth, AuthError};
use crate::cluster::{self, Cluster, Identity};
use crate::config::{Config, PROGRAM};
use crate::descriptors;
use crate::directory::Directory;
use crate::directory::memory::MemoryDirectory;
use crate::directory::redis::RedisDirectory;
use crate::directory::redis::place::PlaceError;
use crate::events::Events;
use crate::events::webhook::{Patience, Webhook};
use crate::files::{self, Marks};
use crate::http::limits::{Bodies, Rate};
use crate::http::listen::{ListenError, Server, bind};
use crate::http::streams::Streams;
use crate::http::tls::{Certificate, TlsError};
use crate::http::{App, player_events, private, public};
use crate::metrics::Metrics;
use crate::otlp::{Otlp, OtlpError};
use crate::rooms::{Clock, NodeName, RoomsConfig};
use crate::shards::{self, SocketError};
use crate::signalling::Signalling;

/// Why a control plane could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The certificate or its key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The control socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Who decides who may join.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// What the event webhook needs.
    #[error("--event-webhook: {0}")]
    Webhook(reqwest::Error),
    /// The collector of traces.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    /// The cluster's directory.
    #[error(transparent)]
    Directory(#[from] PlaceError),
    /// The executor or the signals.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Everything that the binary does: settings, log, service. `args` are without the program's name.
pub fn main(args: &[String]) -> ExitCode {
    let resolved = match PROGRAM.from_process(args) {
        Ok(resolved) => resolved,
        Err(stop) => return stop.report(PROGRAM.name),
    };
    let mut take = resolved.take();
    let config = Config::from(&mut take);
    if let Err(stop) = take.finish() {
        return stop.report(PROGRAM.name);
    }
    log_to_stderr(&config.log, config.log_format);
    let code = match run(config) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    };
    weever_settings::flush_log();
    code
}

/// Whether the settings are in order.
///
/// # Errors
/// Everything that is wrong with them.
pub fn check(resolved: &Resolved) -> Result<(), Stop> {
    let mut take = resolved.take();
    Config::from(&mut take);
    take.finish()
}

/// How a control plane came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// `/preStop` was asked for: the sessions have left, or the drain timeout is over.
    Drained,
    /// SIGTERM or SIGINT. Sessions live on in their data planes, for the next control plane to take over.
    HandedOver,
}

/// Serves until SIGTERM, SIGINT or the end of a drain.
///
/// # Errors
/// It could not start.
pub fn run(config: Config) -> Result<End, StartError> {
    descriptors::raise();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut running = start(config).await?;
        let mut stopped = running.stop.subscribe();
        let end = tokio::select! {
            _ = terminate.recv() => {
                tracing::info!("SIGTERM: handing over; sessions live on in their data planes");
                End::HandedOver
            }
            _ = interrupt.recv() => {
                tracing::info!("SIGINT");
                End::HandedOver
            }
            _ = stopped.wait_for(|stop| *stop) => {
                tracing::info!("drained");
                End::Drained
            }
        };
        running.finish().await;
        running.part(end).await;
        Ok(end)
    })
}

/// A control plane that serves.
pub struct Running {
    /// The public server.
    pub public: SocketAddr,
    /// The private server.
    pub private: SocketAddr,
    /// Where data planes dial.
    pub control_socket: PathBuf,
    /// The rooms.
    pub signalling: Signalling,
    stop: watch::Sender<bool>,
    servers: [JoinHandle<()>; 2],
    let_go: watch::Sender<bool>,
    data_planes: JoinHandle<()>,
    cluster: Option<(Cluster, JoinSet<()>)>,
    /// Files that are read again when they change: until this is dropped.
    _followed: JoinSet<()>,
}

impl Running {
    /// Takes no more connections, and removes the socket. Sessions go on: their data planes hold them until there is a
    /// control plane again.
    pub fn end(&mut self) {
        self.refuse_connections();
        self.data_planes.abort();
        if let Some((_, tasks)) = &mut self.cluster {
            tasks.abort_all();
        }
        // A data plane that dials meanwhile tries again.
        let _ = std::fs::remove_file(&self.control_socket);
    }

    /// Takes no more connections; requests that are under way are answered.
    pub fn refuse_connections(&self) {
        self.stop.send_replace(true);
    }

    /// Ends, and lets requests that are under way be answered (two seconds at most), and what was decided be told to the
    /// data planes (two more). Afterwards it serves nobody.
    pub async fn finish(&mut self) {
        self.refuse_connections();
        for server in &mut self.servers {
            // It neither panics nor is cancelled.
            let _ = server.await;
        }
        self.let_go.send_replace(true);
        let _ = (&mut self.data_planes).await;
        let _ = std::fs::remove_file(&self.control_socket);
    }

    /// Takes leave of the cluster: what this node has there goes, or waits for its next life.
    pub async fn part(&mut self, end: End) {
        let Some((cluster, mut tasks)) = self.cluster.take() else {
            return;
        };
        // Nothing is told behind the last word.
        tasks.shutdown().await;
        match end {
            End::Drained => cluster.leave().await,
            End::HandedOver => cluster.hand_over().await,
        }
    }
}

/// Starts serving, on the current executor.
///
/// # Errors
/// A port, a certificate or the socket.
pub async fn start(config: Config) -> Result<Running, StartError> {
    start_in(config, None).await
}

/// As [`start`]. Several control planes that are given one directory are a cluster.
///
/// # Errors
/// As there.
pub async fn start_in(config: Config, shared: Option<Arc<dyn Directory>>) -> Result<Running, StartError> {
    let mut followed = JoinSet::new();
    let acceptor = match &config.tls {
        Some((certificates, key)) => {
            let marks = Marks::of(&[certificates.clone(), key.clone()]);
            let certificate = Certificate::read(certificates, key)?;
            followed.spawn(files::follow(certificate.clone(), marks));
            Some(certificate.acceptor()?)
        }
        None => None,
    };
    let public_at = SocketAddr::new(config.host, config.port);
    let private_at = SocketAddr::new(config.private_host, config.private_port);
    let public_listener = bind("the public server", "--host or --port", public_at).await?;
    let private_listener = bind(
        "the private server",
        "--private-host or --private-port",
        private_at,
    )
    .await?;
    let control = shards::listen(&config.control_socket)?;
    let metrics = Arc::new(Metrics::new(&config.pod_name));
    let rooms = RoomsConfig {
        strict_rooms: config.strict_rooms,
        room_budget: 0,
        overflow: config.overflow_url.clone(),
        clock: Clock::default(),
    };
    let otlp = match &config.otlp_endpoint {
        Some(endpoint) => Some(Otlp::start(endpoint, &config.pod_name, metrics.clone())?),
        None => None,
    };
    let epoch = getrandom::u64().map_err(std::io::Error::other)?;
    let events = Events::new(epoch, &config.pod_name);
    if let Some((url, secret)) = config.event_webhook.clone() {
        let webhook = Webhook::new(url, secret, Patience::default(), metrics.clone());
        tokio::spawn(webhook.map_err(StartError::Webhook)?.run(events.from_the_start()));
    }
    let (directory, cluster) = join_cluster(&config, shared, epoch, &metrics).await?;
    let outbox = cluster.as_ref().map(Cluster::outbox);
    let signalling = Signalling::start(rooms, metrics.clone(), events, otlp, outbox);
    let cluster = cluster.map(|cluster| {
        let tasks = cluster.run(&signalling);
        (cluster, tasks)
    });
    let marks = config.key_set().map(|file| Marks::of(&[file]));
    let auth = Auth::new(&config, &signalling, &metrics, directory)?;
    if let Some((keys, marks)) = auth.keys().zip(marks) {
        followed.spawn(files::follow(keys, marks));
    }
    let (let_go, end) = watch::channel(false);
    let connections = descriptors::share(config.max_connections);
    let data_planes = shards::serve(
        control,
        connections.data_planes,
        signalling.clone(),
        metrics.clone(),
        end,
    );
    let data_planes = tokio::spawn(data_planes);

    let (stop, stopped) = watch::channel(false);
    let config = Arc::new(config);
    let app = App {
        signalling: signalling.clone(),
        cluster: cluster.as_ref().map(|(cluster, _)| cluster.clone()),
        auth,
        requests: Arc::new(Rate::a_second(config.max_requests_per_address)),
        joins: Arc::new(Rate::a_second(config.max_joins_per_address)),
        failures: Arc::new(Rate::a_minute(config.max_bad_tokens_per_address)),
        bodies: Arc::new(Bodies::default()),
        config: config.clone(),
        metrics,
        streams: Streams::new(stopped.clone()),
        player_streams: Streams::holding(player_events::MAX_READING, stopped.clone()),
        stop: stop.clone(),
    };
    let public_at = public_listener.local_addr()?;
    let private_at = private_listener.local_addr()?;
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    tracing::info!(public = %public_at, scheme, private = %private_at, "serving");
    let server = |listener, tls, router, max_connections, patient| Server {
        listener,
        tls,
        router,
        max_connections,
        max_per_address: config.max_connections_per_address,
        patient,
    };
    let servers = [
        tokio::spawn(
            server(
                public_listener,
                acceptor,
                public(app.clone()),
                connections.public,
                false,
            )
            .serve(stopped.clone()),
        ),
        tokio::spawn(server(private_listener, None, private(app), connections.private, true).serve(stopped)),
    ];
    Ok(Running {
        public: public_at,
        private: private_at,
        control_socket: config.control_socket.clone(),
        signalling,
        stop,
        servers,
        let_go,
        data_planes,
        cluster,
        _followed: followed,
    })
}

/// The directory, and this node's place in it. One that is alone has only its tokens there.
async fn join_cluster(
    config: &Config,
    shared: Option<Arc<dyn Directory>>,
    incarnation: u64,
    metrics: &Metrics,
) -> Result<(Arc<dyn Directory>, Option<Cluster>), StartError> {
    let (directory, figures) = match (shared, config.redis.clone()) {
        (Some(shared), _) => (shared, metrics.directory()),
        (None, Some(settings)) => {
            let figures = metrics.directory();
            let redis = RedisDirectory::start(settings, figures.clone()).await?;
            (Arc::new(redis) as Arc<dyn Directory>, figures)
        }
        (None, None) => return Ok((Arc::new(MemoryDirectory::default()), None)),
    };
    let identity = Identity {
        node: NodeName(config.pod_name.clone()),
        owner: cluster::owner(&config.control_socket),
        url: config.advertise_url.clone(),
    };
    let cluster = Cluster::enter(directory.clone(), identity, incarnation, figures).await?;
    Ok((directory, Some(cluster)))
}
