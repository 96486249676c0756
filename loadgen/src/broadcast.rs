//! `broadcast`: one publisher, many viewers, one report.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::ArgMatches;
use str0m::crypto::dtls::DtlsCert;
use str0m::media::Direction;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::client::{CONNECT, Client, ClientError, Request};
use crate::http::Url;
use crate::media::{Clock, Shape};
use crate::process::{self, Sample};
use crate::report::{Costs, Report};
use crate::viewer::{Phase, Seen};
use crate::{publisher, viewer};

/// Between the last joiner and measuring: handshakes and keyframes are over.
const SETTLE: Duration = Duration::from_secs(1);
/// Beside sockets: standard streams, `/proc`, the runtime's own.
const OTHER_FILES: u64 = 64;

/// What was asked on the command line.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) whip: Url,
    /// With `{n}` in its path.
    pub(crate) whep: Url,
    pub(crate) token: Option<String>,
    pub(crate) viewers: u32,
    pub(crate) seconds: u64,
    pub(crate) shape: Shape,
    pub(crate) audio: bool,
    pub(crate) join_rate: u32,
    pub(crate) threads: usize,
    pub(crate) server_pid: Option<u32>,
    pub(crate) json: bool,
}

impl Settings {
    pub(crate) fn from_matches(matches: &ArgMatches) -> anyhow::Result<Self> {
        let text = |name: &str| matches.get_one::<String>(name).cloned();
        let url =
            |name: &str| Url::parse(&text(name).unwrap_or_default()).with_context(|| format!("--{name}"));
        let number = |name: &str| matches.get_one::<u32>(name).copied().unwrap_or_default();
        let small = |name: &str| matches.get_one::<u16>(name).copied().unwrap_or_default();
        let settings = Self {
            whip: url("whip")?,
            whep: url("whep")?,
            token: text("token"),
            viewers: number("viewers"),
            seconds: matches.get_one::<u64>("seconds").copied().unwrap_or_default(),
            shape: Shape {
                kbit_per_second: number("bitrate"),
                frames_per_second: number("fps"),
                packet: usize::from(small("packet-size")),
                seed: matches.get_one::<u64>("seed").copied().unwrap_or_default(),
            },
            audio: matches.get_flag("audio"),
            join_rate: number("join-rate"),
            threads: usize::from(small("threads")),
            server_pid: matches.get_one::<u32>("server-pid").copied(),
            json: matches.get_flag("json"),
        };
        ensure!(
            settings.viewers == 1 || settings.whep.path.contains("{n}"),
            "--whep needs {{n}} in it, so that {} viewers have names of their own",
            settings.viewers
        );
        if let Some(pid) = settings.server_pid {
            ensure!(
                !process::tree(pid).is_empty(),
                "--server-pid {pid}: there is no such process here"
            );
        }
        Ok(settings)
    }

    fn viewer_endpoint(&self, number: u32) -> Url {
        Url {
            authority: self.whep.authority.clone(),
            path: self.whep.path.replace("{n}", &number.to_string()),
        }
    }
}

/// Runs it all; what goes wrong with single viewers is in the report.
pub(crate) async fn run(settings: &Settings) -> anyhow::Result<Report> {
    check_file_limit(settings.viewers)?;
    let certificate = str0m::crypto::from_feature_flags()
        .dtls_provider
        .generate_certificate()
        .context("no DTLS certificate could be made")?;
    let clock = Clock::start();
    let (phase, phases) = watch::channel(Phase::Join);
    let publisher = start_publisher(settings, &certificate, clock, phases.clone()).await?;
    sleep(SETTLE).await;
    let before = sample(settings);

    let mut viewers = start_viewers(settings, &certificate, clock, &phases).await;
    sleep(SETTLE).await;
    let start = (Instant::now(), sample(settings), process::own());
    phase.send_replace(Phase::Measure);
    progress(&format!("measuring for {} s", settings.seconds));
    sleep(Duration::from_secs(settings.seconds)).await;
    let costs = Costs {
        before,
        start: start.1,
        end: sample(settings),
        generator: start.2.zip(process::own()),
        lasted: start.0.elapsed(),
    };
    phase.send_replace(Phase::Done);

    let mut seen = Vec::new();
    let mut errors = Vec::new();
    for viewer in viewers.drain(..) {
        match viewer.await? {
            Ok(one) => seen.push(one),
            Err(error) => errors.push(error.to_string()),
        }
    }
    let sent = publisher.await?.context("the publisher")?;
    if seen.is_empty() {
        bail!(
            "no viewer came through; the first one: {}",
            errors.first().map_or("", String::as_str)
        );
    }
    Ok(Report::new(settings, &sent, &seen, &errors, &costs))
}

type Publishing = JoinHandle<Result<publisher::Sent, ClientError>>;

async fn start_publisher(
    settings: &Settings,
    certificate: &DtlsCert,
    clock: Clock,
    phases: watch::Receiver<Phase>,
) -> anyhow::Result<Publishing> {
    let client = Client::join(&Request {
        endpoint: &settings.whip,
        token: settings.token.as_deref(),
        direction: Direction::SendOnly,
        audio: settings.audio,
        certificate,
    })
    .await
    .context("the publisher")?;
    let (connected, heard) = oneshot::channel();
    let task = tokio::spawn(publisher::run(client, settings.shape, clock, phases, connected));
    if heard.await.is_err() {
        task.await?.context("the publisher")?;
        bail!("the publisher ended before it was connected");
    }
    Ok(task)
}

type Viewing = JoinHandle<Result<Seen, ClientError>>;

/// Starts them at the given rate, and waits until each has a packet or had its time.
async fn start_viewers(
    settings: &Settings,
    certificate: &DtlsCert,
    clock: Clock,
    phases: &watch::Receiver<Phase>,
) -> Vec<Viewing> {
    let (ready, mut readies) = mpsc::unbounded_channel();
    let mut viewers = Vec::new();
    for number in 1..=settings.viewers {
        let endpoint = settings.viewer_endpoint(number);
        let (token, certificate) = (settings.token.clone(), certificate.clone());
        let (audio, phases, ready) = (settings.audio, phases.clone(), ready.clone());
        viewers.push(tokio::spawn(async move {
            let request = Request {
                endpoint: &endpoint,
                token: token.as_deref(),
                direction: Direction::RecvOnly,
                audio,
                certificate: &certificate,
            };
            Box::pin(viewer::run(request, clock, phases, ready)).await
        }));
        sleep(Duration::from_secs(1) / settings.join_rate).await;
    }
    drop(ready);
    let mut count = 0;
    // A closed channel means that all are ready or failed.
    let _ = timeout(CONNECT, async {
        while readies.recv().await.is_some() {
            count += 1;
            progress(&format!("{count} of {} viewers have media", settings.viewers));
        }
    })
    .await;
    viewers
}

fn sample(settings: &Settings) -> Vec<Sample> {
    settings.server_pid.map(process::tree).unwrap_or_default()
}

/// One line that is written over, for people only.
fn progress(text: &str) {
    let mut out = io::stderr();
    if out.is_terminal() {
        let _ = write!(out, "\r{text:<60}\r");
        let _ = out.flush();
    }
}

/// Fails before the load instead of in it.
fn check_file_limit(viewers: u32) -> anyhow::Result<()> {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    let needed = u64::from(viewers) * 2 + OTHER_FILES;
    if let Some(soft) = soft.filter(|soft| *soft < needed) {
        bail!(
            "{viewers} viewers need {needed} open files, but the limit is {soft}: raise it by `ulimit -n {needed}`"
        );
    }
    Ok(())
}
