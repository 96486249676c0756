//! Both planes as child processes, started again when they end.

use std::{
    fmt::{self, Display, Formatter},
    io::{Write, stdout},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    pin::pin,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, ChildStdin, Command},
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use weever_settings::log_to_stderr;

use crate::{
    parent::{HANDED_OVER, PARENT_PIPE},
    readiness,
    restarts::{Restarts, Verdict},
    settings::{Settings, local},
    socket_dir::SocketDir,
    welcome,
};

/// From SIGINT to SIGKILL.
const GRACE: Duration = Duration::from_secs(10);
/// From the end of a drain to that of the control plane. One that lives on is another, which has to be asked as well.
const DRAIN_AGAIN: Duration = Duration::from_millis(200);
/// A start that takes longer is worth a word.
const SLOW_START: Duration = Duration::from_secs(10);

/// Starts both planes and keeps them running until SIGINT, or a drained control plane. SIGTERM drains it; a second one ends
/// at once.
pub(crate) fn run(args: &[String]) -> anyhow::Result<()> {
    let settings = Settings::read(args)?;
    log_to_stderr(&settings.log, settings.log_format);
    // Otherwise another Weever's readiness would pass for ours.
    check_free("port", settings.public)?;
    check_free("private-port", settings.private)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(&settings))
}

fn check_free(flag: &str, address: SocketAddr) -> anyhow::Result<()> {
    TcpListener::bind(address).with_context(|| format!("--{flag}: can't listen on {address}"))?;
    Ok(())
}

async fn serve(settings: &Settings) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let directory = match settings.control_socket_given {
        true => None,
        false => {
            Some(SocketDir::create(&std::env::temp_dir()).context("a directory for the control socket")?)
        }
    };
    let launcher = Arc::new(Launcher::new(settings, directory.as_ref())?);
    let mut planes = JoinSet::new();
    let [control, data] = [Plane::Control, Plane::Data].map(|plane| {
        let (stop, stopped) = watch::channel(false);
        planes.spawn(keep_running(plane, Arc::clone(&launcher), stopped));
        stop
    });
    let private = local(settings.private);
    let (mut ready, mut slow) = (pin!(readiness::ready(private)), pin!(sleep(SLOW_START)));
    let mut overdue = pin!(drain(private, settings.drain_timeout));
    let (mut welcomed, mut warned, mut draining) = (false, false, false);
    let end = loop {
        tokio::select! {
            () = &mut ready, if !welcomed && !draining => {
                welcomed = true;
                // Nobody has to listen.
                let _ = stdout().write_all(welcome::text(settings).as_bytes());
            }
            () = &mut slow, if !welcomed && !warned => {
                warned = true;
                tracing::warn!("not ready after {SLOW_START:?}; still waiting for the planes to find each other");
            }
            _ = terminate.recv() => match std::mem::replace(&mut draining, true) {
                false => tracing::info!("SIGTERM: draining; a second one ends at once"),
                true => break Ok(()),
            },
            _ = interrupt.recv() => break Ok(()),
            () = &mut overdue, if draining => {
                tracing::warn!("the drain did not come to its end in time");
                break Ok(());
            }
            Some(end) = planes.join_next() => break end.unwrap_or_else(|panic| Err(panic.into())),
        }
    };
    tracing::info!("ending both planes");
    // The data plane first: it tells the control plane how its sessions end.
    for stop in [data, control] {
        stop.send_replace(true);
        stop.closed().await;
    }
    while planes.join_next().await.is_some() {}
    end
}

/// Asks for a drain, of the next control plane too if one ends on the way. Completes only when it has taken too long: its
/// proper end is that of the control plane.
async fn drain(private: SocketAddr, drain_timeout: Duration) {
    let asking = async {
        loop {
            readiness::pre_stop(private).await;
            sleep(DRAIN_AGAIN).await;
        }
    };
    // Longer than the control plane itself waits.
    let _: Result<(), _> = timeout(drain_timeout + GRACE, asking).await;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plane {
    Control,
    Data,
}

impl Plane {
    fn subcommand(self) -> &'static str {
        match self {
            Self::Control => "controlplane",
            Self::Data => "dataplane",
        }
    }
}

impl Display for Plane {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Control => "control plane",
            Self::Data => "data plane",
        })
    }
}

/// How a plane is started.
struct Launcher {
    program: PathBuf,
    remove: Vec<String>,
    set: Vec<(String, String)>,
    control_socket: Option<PathBuf>,
}

impl Launcher {
    fn new(settings: &Settings, directory: Option<&SocketDir>) -> anyhow::Result<Self> {
        Ok(Self {
            program: std::env::current_exe().context("finding this program's own file")?,
            remove: settings
                .resolved
                .env_names()
                .chain(["CONFIG".to_owned()])
                .collect(),
            set: settings.resolved.to_env(),
            control_socket: directory.map(SocketDir::socket),
        })
    }

    /// The pipe has to be held for as long as the child shall live.
    fn start(&self, plane: Plane) -> std::io::Result<(Child, Option<ChildStdin>)> {
        let mut command = Command::new(&self.program);
        command.arg(plane.subcommand());
        for name in &self.remove {
            command.env_remove(name);
        }
        command
            .envs(self.set.iter().map(|(name, value)| (name, value)))
            .envs(self.control_socket.iter().map(|path| ("CONTROL_SOCKET", path)))
            .env(PARENT_PIPE, "1")
            .stdin(Stdio::piped())
            // Ctrl-C is for the parent, who then ends its children in order.
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        // Or waiting for the child would close it.
        let pipe = child.stdin.take();
        Ok((child, pipe))
    }
}

/// Ends well when stopped, or when the control plane ends well of itself: drained. One that handed over is followed by the
/// next, of a new version if this program's file is one by then.
async fn keep_running(
    plane: Plane,
    launcher: Arc<Launcher>,
    mut stopped: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let mut restarts = Restarts::default();
    loop {
        let born = Instant::now();
        let (verdict, reason) = match launcher.start(plane) {
            Err(error) => (restarts.not_started(), error.to_string()),
            Ok((mut child, _pipe)) => {
                tracing::info!("{plane}: process {}", child.id().unwrap_or_default());
                let status: ExitStatus = tokio::select! {
                    status = child.wait() => status?,
                    () = asked(&mut stopped) => {
                        end(plane, child).await;
                        return Ok(());
                    }
                };
                if plane == Plane::Control && status.success() {
                    return Ok(());
                }
                if plane == Plane::Control && status.code() == Some(HANDED_OVER.into()) {
                    tracing::info!("the control plane handed over; starting the next one");
                    restarts.handed_over();
                    continue;
                }
                if plane == Plane::Data && status.success() {
                    tracing::info!("the data plane ended as it was asked to; starting the next one");
                    restarts.handed_over();
                    continue;
                }
                (restarts.ended(status, born.elapsed()), status.to_string())
            }
        };
        match verdict {
            Verdict::GiveUp => bail!("the {plane} can't start ({reason}); what it said stands above"),
            Verdict::StartAfter(pause) => {
                match pause {
                    Duration::ZERO => tracing::warn!("the {plane} ended ({reason}); starting it again"),
                    _ => tracing::warn!("the {plane} ended ({reason}); starting it again in {pause:?}"),
                }
                tokio::select! {
                    () = sleep(pause) => {}
                    () = asked(&mut stopped) => return Ok(()),
                }
            }
        }
    }
}

async fn asked(stopped: &mut watch::Receiver<bool>) {
    // An error says that nobody can ask any more: the parent is ending.
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// Asks, waits, and then doesn't ask any more.
async fn end(plane: Plane, mut child: Child) {
    let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    if let Some(pid) = pid {
        // It is not reaped before `wait`, so the number is still its own; an error means that it has ended.
        let _ = kill_process(pid, Signal::INT);
    }
    if timeout(GRACE, child.wait()).await.is_err() {
        tracing::warn!("the {plane} did not end within {GRACE:?}; killing it");
        let _ = child.kill().await;
    }
}
