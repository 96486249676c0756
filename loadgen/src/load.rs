//! What was asked on the command line, by every subcommand.

use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use clap::ArgMatches;

use crate::bounds::Bounds;
use crate::impair::{Impairment, Proxy};
use crate::media::{Codec, MediaFile, Shape};
use crate::process;
use crate::publisher::Filed;
use crate::sdp::Wishes;
use crate::signal::SignalSettings;
use crate::target::Target;

/// Beside sockets: standard streams, `/proc`, HTTP connections, the runtimes' own.
const OTHER_FILES: u64 = 200;

/// One run.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) scenario: &'static str,
    pub(crate) target: Target,
    pub(crate) signal: SignalSettings,
    pub(crate) publishers: u32,
    pub(crate) viewers: u32,
    pub(crate) seconds: u64,
    pub(crate) video: Option<Codec>,
    pub(crate) audio: bool,
    pub(crate) shape: Shape,
    /// Sent instead of what is made after `shape`.
    pub(crate) file: Option<Filed>,
    pub(crate) paced: bool,
    pub(crate) nack: bool,
    /// Of 2^32 packets.
    pub(crate) verify: u64,
    pub(crate) join_rate: u32,
    pub(crate) threads: usize,
    pub(crate) cpus: Vec<usize>,
    pub(crate) seed: u64,
    pub(crate) server: Server,
    pub(crate) impair: Impair,
    pub(crate) bounds: Bounds,
    pub(crate) json: bool,
    pub(crate) html: Option<String>,
    /// As typed.
    pub(crate) command_line: Vec<String>,
}

/// What is wrong with which way; as it should be without.
#[derive(Debug, Clone, Default)]
pub(crate) struct Impair {
    pub(crate) to_viewers: Option<Impairment>,
    pub(crate) from_viewers: Option<Impairment>,
    pub(crate) from_publishers: Option<Impairment>,
}

impl Impair {
    fn from_matches(matches: &ArgMatches) -> anyhow::Result<Self> {
        let way = |name: &str| {
            let text = matches.try_get_one::<String>(name).ok().flatten();
            text.map(|text| text.parse().with_context(|| format!("--{name}")))
                .transpose()
        };
        Ok(Self {
            to_viewers: way("impair")?,
            from_viewers: way("impair-back")?,
            from_publishers: way("impair-publishers")?,
        })
    }

    /// Between viewers and the server, if anything is wrong there.
    pub(crate) fn viewers(&self, seed: u64) -> std::io::Result<Option<Proxy>> {
        let (to, from) = (self.to_viewers, self.from_viewers);
        let wrong = to.is_some() || from.is_some();
        wrong
            .then(|| Proxy::start(from.unwrap_or_default(), to.unwrap_or_default(), seed))
            .transpose()
    }

    /// Between publishers and the server.
    pub(crate) fn publishers(&self, seed: u64) -> std::io::Result<Option<Proxy>> {
        let from = self.from_publishers;
        from.map(|from| Proxy::start(from, Impairment::default(), seed))
            .transpose()
    }
}

/// How the server's cost is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Server {
    pub(crate) pids: Vec<u32>,
    pub(crate) metrics: Option<String>,
}

impl Load {
    pub(crate) fn from_matches(scenario: &'static str, matches: &ArgMatches) -> anyhow::Result<Self> {
        let text = |name: &str| matches.try_get_one::<String>(name).ok().flatten().cloned();
        let number = |name: &str| matches.try_get_one::<u32>(name).ok().flatten().copied();
        let flag = |name: &str| matches.try_get_one::<bool>(name).ok().flatten() == Some(&true);
        let seed = matches.get_one::<u64>("seed").copied().unwrap_or_default();
        let codec: Codec = text("codec")
            .unwrap_or_default()
            .parse()
            .map_err(|_| anyhow::anyhow!("--codec: vp8, vp9, h264 or av1"))?;
        let file = match text("media") {
            Some(path) => Some(Filed {
                media: Arc::new(MediaFile::open(&path).context("--media")?),
                times: Arc::default(),
                path,
            }),
            None => None,
        };
        let conference = scenario == "conference";
        let viewers = number("viewers").unwrap_or(1);
        let load = Self {
            scenario,
            target: target(
                text("whip"),
                &several(matches, "whep", ",http"),
                &several(matches, "server", ","),
                text("publish-server"),
                text("room"),
                conference,
            )?,
            signal: SignalSettings {
                token: text("token"),
                headers: matches
                    .get_many::<String>("header")
                    .into_iter()
                    .flatten()
                    .cloned()
                    .collect(),
                authority: text("ca"),
                insecure: flag("insecure"),
            },
            publishers: if conference {
                viewers
            } else {
                number("publishers").unwrap_or(1)
            },
            viewers,
            seconds: matches.get_one::<u64>("seconds").copied().unwrap_or_default(),
            video: match &file {
                Some(filed) => filed.media.video.as_ref().map(|(codec, _)| *codec),
                None => (!flag("no-video")).then_some(codec),
            },
            audio: match &file {
                Some(filed) => filed.media.audio.is_some(),
                None => flag("audio") || flag("no-video"),
            },
            shape: Shape {
                codec,
                gop: number("gop").filter(|gop| *gop > 0),
                kbit_per_second: number("bitrate").unwrap_or_default(),
                frames_per_second: number("fps").unwrap_or_default(),
                packet: usize::try_from(number("packet-size").unwrap_or_default())?,
                seed,
            },
            file,
            paced: flag("paced"),
            nack: !flag("no-nack"),
            verify: verify(&text("verify").unwrap_or_default())?,
            join_rate: number("join-rate").unwrap_or_default(),
            threads: usize::try_from(number("threads").unwrap_or(1))?,
            cpus: cpus(&text("pin").unwrap_or_default())?,
            seed,
            server: Server {
                pids: matches
                    .try_get_many::<u32>("server-pid")
                    .ok()
                    .flatten()
                    .into_iter()
                    .flatten()
                    .copied()
                    .collect(),
                metrics: text("server-metrics"),
            },
            impair: Impair::from_matches(matches)?,
            bounds: Bounds::from_matches(matches),
            json: flag("json"),
            html: text("html"),
            command_line: without_secrets(std::env::args().skip(1)),
        };
        load.target.check(load.viewers, load.publishers)?;
        for pid in &load.server.pids {
            ensure!(
                !process::tree(*pid).is_empty(),
                "--server-pid {pid}: there is no such process here"
            );
        }
        check_file_limit(u64::from(load.viewers) + u64::from(load.publishers))?;
        Ok(load)
    }

    pub(crate) fn wishes(&self) -> Wishes {
        Wishes {
            codec: self.video.unwrap_or(Codec::Vp8),
            audio: self.audio,
            nack: self.nack,
            channel_only: self.target.multistream,
        }
    }
}

/// Reports travel: what admits must not be in them.
fn without_secrets(words: impl Iterator<Item = String>) -> Vec<String> {
    const SECRET: [&str; 2] = ["--token", "--header"];
    let mut hide = false;
    words
        .map(|word| {
            let hidden = std::mem::replace(&mut hide, SECRET.contains(&word.as_str()));
            match word.split_once('=') {
                Some((name, _)) if SECRET.contains(&name) => format!("{name}=***"),
                _ if hidden => "***".to_owned(),
                _ => word,
            }
        })
        .collect()
}

/// A flag that is given several times, or once with several URLs: at each `mark` the next one begins, behind its comma.
fn several(matches: &ArgMatches, name: &str, mark: &str) -> Vec<String> {
    let given = matches.try_get_many::<String>(name).ok().flatten();
    let mut urls = Vec::new();
    for text in given.into_iter().flatten() {
        let mut rest = text.as_str();
        while let Some(comma) = rest.find(mark) {
            urls.push(rest[..comma].trim().to_owned());
            rest = &rest[comma + 1..];
        }
        urls.push(rest.trim().to_owned());
    }
    urls
}

fn target(
    whip: Option<String>,
    wheps: &[String],
    servers: &[String],
    publish: Option<String>,
    room: Option<String>,
    conference: bool,
) -> anyhow::Result<Target> {
    match (whip, wheps, servers, publish) {
        (Some(whip), [_, ..], [], None) => Target::endpoints(&whip, wheps),
        (None, [], [first, ..], publish) => {
            let publish = publish.as_ref().unwrap_or(first);
            Target::room(publish, servers, &room.unwrap_or_default(), conference)
        }
        (None, [], [], None) => {
            bail!("where to? Give --whip URL and --whep URL, or --server URL for a Weever")
        }
        (_, _, [], Some(_)) => bail!("--publish-server goes with --server, which says where viewers go"),
        (_, _, [_, ..], _) => bail!("--server stands for --whip and --whep: give it alone"),
        (None, ..) => bail!("--whip URL is missing: who publishes what --whep watches?"),
        (_, [], ..) => bail!("--whep URL is missing: who watches what --whip publishes?"),
    }
}

/// `all`, `none` or a share like `5%` or `0.05`, of 2^32.
fn verify(text: &str) -> anyhow::Result<u64> {
    let whole = 2f64.powi(32);
    let share = match text {
        "all" => 1.0,
        "none" => 0.0,
        _ => {
            let (number, unit) = text
                .strip_suffix('%')
                .map_or((text, 1.0), |number| (number, 0.01));
            number
                .trim()
                .parse::<f64>()
                .ok()
                .map_or(f64::NAN, |number| number * unit)
        }
    };
    ensure!(
        (0.0..=1.0).contains(&share),
        "--verify `{text}`: give all, none or a share like 5%"
    );
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to 2^32"
    )]
    Ok((share * whole) as u64)
}

/// `1`, `0,2` or `4-7`.
fn cpus(text: &str) -> anyhow::Result<Vec<usize>> {
    let available = std::thread::available_parallelism().map_or(usize::MAX, |count| {
        // Affinity may hide some of them; `/proc/cpuinfo` doesn't.
        std::fs::read_to_string("/proc/cpuinfo").map_or(count.get(), |info| {
            info.matches("processor\t").count().max(count.get())
        })
    });
    let mut found = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| {
            text.parse::<usize>()
                .with_context(|| format!("--pin `{part}`: cores like 1, 0,2 or 4-7"))
        };
        found.extend(number(first)?..=number(last)?);
    }
    if let Some(missing) = found.iter().find(|cpu| **cpu >= available) {
        bail!(
            "--pin: there is no core {missing} here, only 0 to {}",
            available - 1
        );
    }
    Ok(found)
}

/// Fails before the load instead of in it. The soft limit is raised as far as it may.
fn check_file_limit(clients: u64) -> anyhow::Result<()> {
    let needed = clients + OTHER_FILES;
    let resource = rustix::process::Resource::Nofile;
    let mut limit = rustix::process::getrlimit(resource);
    if limit.current.is_some_and(|soft| soft < needed) {
        limit.current = limit.maximum;
        // Refused: then it stays as it is, and is too low.
        let _ = rustix::process::setrlimit(resource, limit);
        limit = rustix::process::getrlimit(resource);
    }
    match limit.current {
        Some(soft) if soft < needed => bail!(
            "{clients} clients need {needed} open files, but no more than {soft} are allowed: raise the limit by \
             `ulimit -n {needed}` as root, or LimitNOFILE= in a systemd unit"
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read() {
        assert_eq!(verify("all").unwrap(), 1 << 32);
        assert_eq!(verify("none").unwrap(), 0);
        assert_eq!(verify("50%").unwrap(), 1 << 31);
        assert_eq!(verify("0.25").unwrap(), 1 << 30);
        for bad in ["", "101%", "-1", "some"] {
            assert!(verify(bad).unwrap_err().to_string().contains("--verify"), "{bad}");
        }
    }

    #[test]
    fn secrets_are_left_out() {
        let words = [
            "churn",
            "--token",
            "s3cret",
            "--header=X: s3cret",
            "--viewers",
            "3",
        ];
        let kept = without_secrets(words.into_iter().map(str::to_owned)).join(" ");
        assert_eq!(kept, "churn --token *** --header=*** --viewers 3");
    }

    #[test]
    fn cores_are_read() {
        assert!(cpus("").unwrap().is_empty());
        assert_eq!(cpus("0").unwrap(), [0]);
        for bad in ["x", "0-", "100000"] {
            assert!(cpus(bad).unwrap_err().to_string().contains("--pin"), "{bad}");
        }
    }

    #[test]
    fn a_target_is_given_in_one_way() {
        let some = |text: &str| Some(text.to_owned());
        let (url, room) = (["http://a/{n}".to_owned()], || some("room"));
        assert!(target(some("http://a/i"), &url, &[], None, None, false).is_ok());
        assert!(target(None, &[], &url, None, room(), false).is_ok());
        assert!(target(None, &[], &url, some("http://b"), room(), false).is_ok());
        for (whip, wheps, servers, publish) in [
            (None, &[][..], &[][..], None),
            (some("http://a"), &[], &[], None),
            (None, &url, &[], None),
            (some("http://a"), &url, &url, None),
            (some("http://a"), &url, &[], some("http://b")),
            (None, &[], &[], some("http://b")),
        ] {
            assert!(target(whip, wheps, servers, publish, room(), false).is_err());
        }
    }

    #[test]
    fn urls_are_given_one_by_one_or_together() {
        let parsed = |words: &[&str], name: &str, mark: &str| {
            let all = ["weever-loadgen", "broadcast"].iter().chain(words);
            let matches = crate::arguments::command().get_matches_from(all);
            several(matches.subcommand().unwrap().1, name, mark)
        };
        let servers = parsed(
            &["--server", "http://a,http://b", "--server", "http://c"],
            "server",
            ",",
        );
        assert_eq!(servers, ["http://a", "http://b", "http://c"]);
        let wheps = parsed(&["--whep", "http://a/x?y=1,2,http://b/{n}"], "whep", ",http");
        assert_eq!(wheps, ["http://a/x?y=1,2", "http://b/{n}"]);
    }

    #[test]
    fn too_many_clients_are_refused_before_they_come() {
        assert!(check_file_limit(10).is_ok());
        let error = check_file_limit(1 << 40).unwrap_err().to_string();
        assert!(
            error.contains("ulimit -n") && error.contains("open files"),
            "{error}"
        );
    }
}
