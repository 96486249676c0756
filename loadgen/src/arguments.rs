//! The command line.

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::scenario::capacity::Ramp;
use crate::scenario::churn::Churn;
use crate::scenario::soak::Soak;

pub(crate) const SCENARIOS: [&str; 5] = ["broadcast", "conference", "churn", "capacity", "soak"];

const TARGETS: &str = "\
Where to:
  a Weever, with its control channel     --server http://localhost:8443 --room load
  several nodes of one, by turns         --server http://a:8443,http://b:8443 --publish-server http://c:8443
  any WHIP/WHEP server                   --whip URL --whep URL, where {n} becomes the viewer's number and {p} the publisher's";

const TOP: &str = "\
Examples:
  weever-loadgen broadcast --server http://localhost:8443 --viewers 100
  weever-loadgen capacity --server http://localhost:8443 --server-pid $(pgrep -ox weever) --bitrate 3000
  weever-loadgen broadcast --whip http://localhost:1985/rtc/v1/whip/?app=live\\&stream=a \\
      --whep http://localhost:1985/rtc/v1/whep/?app=live\\&stream=a\\&viewer={n} --codec h264

`weever-loadgen SUBCOMMAND --help` says more. Exit code 1: a viewer failed, or a bound that was given broke.";

const BROADCAST: &str = "\
Examples:
  A hundred viewers for half a minute, and what each forwarded packet costs the server:
    weever-loadgen broadcast --server http://localhost:8443 --viewers 100 --seconds 30 \\
        --server-pid $(pgrep -ox weever)

  A thousand, the generator on core 1, failing when more than 0.1 % is lost or p99 is above 20 ms:
    weever-loadgen broadcast --server http://localhost:8443 --viewers 1000 --join-rate 200 --pin 1 \\
        --max-loss 0.1 --max-delay 20

  Over a way that loses 2 % in bursts and takes 40 ms:
    weever-loadgen broadcast --server http://localhost:8443 --viewers 20 --impair loss=2%,burst=3,delay=40ms,on=media

  A Weever that asks for tokens (weever --auth): one for all of publisher+1, publisher+2, ..., one for all of viewer+1, ...
    curl -d '{\"room\":\"load\",\"id\":\"publisher\",\"token\":\"T\"}' localhost:9443/create/pub
    curl -d '{\"room\":\"load\",\"id\":\"viewer\",\"token\":\"T\"}' localhost:9443/create/sub
    weever-loadgen broadcast --server http://localhost:8443 --token T --viewers 100

  Three nodes of a cluster, published at the first, 150 viewers at each of the two others, and figures of each node:
    weever-loadgen broadcast --publish-server http://localhost:8443 \\
        --server http://localhost:8453 --server http://localhost:8463 --viewers 300

  Another server, with a token, for a program:
    weever-loadgen broadcast --whip https://host/whip/a --whep https://host/whep/a?{n} --token T --json | jq .loss_percent";

const CONFERENCE: &str = "\
Examples:
  Ten people, each seeing and hearing the nine others:
    weever-loadgen conference --server http://localhost:8443 --viewers 10 --audio --bitrate 500

  The same on a server where each publisher is watched by a session of its own:
    weever-loadgen conference --whip http://host/whip/room-{p} --whep http://host/whep/room-{p}?{n} --viewers 10";

const CHURN: &str = "\
Example:
  200 viewers, of which half come and go, staying 10 s on average (10 joins and 10 leaves a second):
    weever-loadgen churn --server http://localhost:8443 --viewers 200 --share 50 --stay 10 --seconds 60";

const CAPACITY: &str = "\
Examples:
  How many viewers of 3 Mbit/s a Weever on core 0 carries, generated on core 1:
    weever-loadgen capacity --server http://localhost:8443 --bitrate 3000 --pin 1 \\
        --server-pid $(pgrep -ox weever) --step 200 --html capacity.html

  By other bounds:  ... --max-loss 0.01 --max-delay 5 --max-server-cpu 80

Viewers are added until a bound breaks; then the largest good number is searched, and confirmed by a longer stage. The
generator's own limits (a thread at 90 % of a core, a socket that dropped) count as broken bounds, and are named.";

const SOAK: &str = "\
Example:
  Eight hours in intervals of five minutes; fails when memory grows by more than 5 MiB an hour:
    weever-loadgen soak --server http://localhost:8443 --viewers 500 --seconds 28800 --interval 300 \\
        --server-pid $(pgrep -ox weever) --max-growth 5 --html soak.html";

/// The help, with `text` behind it. As `after_help` clap would make a line break of each `{n}`; in a template it leaves what
/// it doesn't know as it is.
fn help_with(text: &str) -> String {
    format!("{{before-help}}{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{{all-args}}\n\n{text}\n")
}

/// All subcommands and flags.
pub(crate) fn command() -> Command {
    Command::new("weever-loadgen")
        .about("Load for WHIP/WHEP servers: publishers, viewers, and what they saw")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .help_template(help_with(TOP))
        .subcommand(
            scenario("broadcast", "Few publish, many watch", BROADCAST)
                .arg(viewers("1"))
                .arg(seconds("10")),
        )
        .subcommand(
            scenario(
                "conference",
                "Everybody publishes and watches everybody else",
                CONFERENCE,
            )
            .arg(viewers("4").help("How many take part"))
            .arg(seconds("10")),
        )
        .subcommand(
            scenario("churn", "Viewers come and go while others watch", CHURN)
                .arg(viewers("100"))
                .arg(seconds("30"))
                .arg(decimal("stay", "SECONDS", "How long one stays on average").default_value("10"))
                .arg(number(
                    "share",
                    "100",
                    "PERCENT",
                    "Viewers that come and go; the others stay",
                    0..=100,
                )),
        )
        .subcommand(
            scenario(
                "capacity",
                "How many viewers it carries before a bound breaks",
                CAPACITY,
            )
            .arg(viewers("10000").help("At most so many"))
            .arg(number(
                "start",
                "100",
                "N",
                "Viewers of the first stage",
                1..=20_000,
            ))
            .arg(number(
                "step",
                "100",
                "N",
                "Viewers that each stage adds",
                1..=20_000,
            ))
            .arg(seconds("5").help("Length of a stage"))
            .arg(long("confirm", "20", "SECONDS", "Length of the last stage"))
            .arg(number(
                "precision",
                "2",
                "PERCENT",
                "How exact the number is to be",
                1..=50,
            ))
            .mut_arg("max-loss", |arg| arg.default_value("0.1"))
            .mut_arg("max-delay", |arg| arg.default_value("20"))
            .mut_arg("max-join", |arg| arg.default_value("2000")),
        )
        .subcommand(
            scenario(
                "soak",
                "A long run in intervals, and whether anything grows",
                SOAK,
            )
            .arg(viewers("100"))
            .arg(seconds("3600"))
            .arg(long("interval", "60", "SECONDS", "Length of one measurement"))
            .arg(decimal(
                "max-growth",
                "MIB",
                "Fail above it: the server's memory, MiB an hour",
            )),
        )
}

fn scenario(name: &'static str, about: &'static str, examples: &'static str) -> Command {
    Command::new(name)
        .about(about)
        .help_template(help_with(&format!("{TARGETS}\n\n{examples}")))
        .args(target())
        .args(publishing())
        .args(watching())
        .args(impairment())
        .args(generator())
        .args(bounds())
}

fn target() -> Vec<Arg> {
    let text = |name, value, help| text(name, value, help).help_heading("Target");
    vec![
        text(
            "server",
            "URL",
            "A Weever: viewers open the control channel and get all publishers' tracks. Several (the flag again, or \
             separated by commas): viewers go to them in turn, and each has its row in the report",
        )
        .action(ArgAction::Append),
        text(
            "publish-server",
            "URL",
            "The Weever that publishers go to [the first --server]",
        ),
        text("room", "NAME", "Room on that Weever").default_value("load"),
        text("whip", "URL", "WHIP endpoint that publishers post to"),
        text("whep", "URL", "WHEP endpoint that viewers post to; several as for --server")
            .action(ArgAction::Append),
        text(
            "token",
            "TOKEN",
            "Bearer token of every request. With --server all publishers are one ID, `publisher`, and all viewers `viewer`; in a conference each has an ID of its own",
        ),
        text(
            "header",
            "NAME: VALUE",
            "Header of every request; may be given several times",
        )
        .action(ArgAction::Append),
        text("ca", "FILE", "PEM certificates to trust besides the system's"),
        flag("insecure", "Take any TLS certificate").help_heading("Target"),
        text(
            "server-pid",
            "PID",
            "The server's process here: its CPU and memory, with its children's; several separated by commas",
        )
        .action(ArgAction::Append)
        .value_delimiter(',')
        .value_parser(value_parser!(u32)),
        text(
            "server-metrics",
            "URL",
            "The server's Prometheus metrics: its CPU and memory, when it runs elsewhere",
        ),
    ]
}

fn publishing() -> Vec<Arg> {
    vec![
        number("publishers", "1", "N", "How many publish", 1..=1000),
        text(
            "media",
            "FILE",
            "Send this MP4, WebM or IVF over and over instead of made media",
        )
        .conflicts_with_all([
            "codec",
            "bitrate",
            "fps",
            "packet-size",
            "gop",
            "paced",
            "audio",
            "no-video",
        ]),
        text("codec", "CODEC", "vp8, vp9, h264 or av1").default_value("vp8"),
        number("bitrate", "1000", "KBIT", "Video, kbit/s", 50..=100_000),
        number("fps", "30", "N", "Frames per second", 1..=240),
        number("packet-size", "1100", "BYTES", "Largest RTP payload", 64..=1200),
        number(
            "gop",
            "0",
            "FRAMES",
            "Frames from one keyframe to the next; 0: only when one is asked for",
            0..=100_000,
        ),
        flag(
            "paced",
            "Spread a frame's packets over its interval instead of sending them at once",
        ),
        flag("audio", "Also Opus, 50 packets a second"),
        flag("no-video", "Only audio"),
        Arg::new("seed")
            .long("seed")
            .value_name("N")
            .default_value("1")
            .value_parser(value_parser!(u64))
            .help("Seed of everything random: the same seed gives the same media"),
    ]
    .into_iter()
    .map(|arg| arg.help_heading("Publishers"))
    .collect()
}

fn watching() -> Vec<Arg> {
    vec![
        number(
            "join-rate",
            "50",
            "N",
            "Viewers that join in a second",
            1..=10_000,
        ),
        text(
            "verify",
            "SHARE",
            "Packets that viewers authenticate, decrypt and measure: all, none or a share",
        )
        .default_value("5%"),
        flag(
            "no-nack",
            "No retransmission: viewers don't ask, publishers don't send again",
        ),
    ]
    .into_iter()
    .map(|arg| arg.help_heading("Viewers"))
    .collect()
}

fn impairment() -> Vec<Arg> {
    [
        ("impair", "What is wrong with the way from the server to each viewer, like loss=1%,burst=4,delay=50ms,jitter=5ms,reorder=0.5%,duplicate=0.1%,rate=5Mbit,queue=100ms,rebind=10s,on=media"),
        ("impair-back", "The same for the way from each viewer to the server"),
        ("impair-publishers", "The same for the way from each publisher to the server"),
    ]
    .into_iter()
    .map(|(name, help)| text(name, "WHAT", help).help_heading("Impairment (seeded: the same seed loses the same packets)"))
    .collect()
}

fn generator() -> Vec<Arg> {
    vec![
        number(
            "threads",
            "1",
            "N",
            "Threads that viewers are spread over",
            1..=256,
        ),
        text(
            "pin",
            "CORES",
            "Cores of the generator, like 1 or 2,3 or 4-7; its threads take them in turn",
        ),
        flag("json", "Report as JSON instead of as a table"),
        text("html", "FILE", "Also a page with plots"),
    ]
    .into_iter()
    .map(|arg| arg.help_heading("Generator"))
    .collect()
}

fn bounds() -> Vec<Arg> {
    [
        ("max-loss", "PERCENT", "Packets that never came"),
        ("max-delay", "MS", "p99 of the delay through the server"),
        ("max-join", "MS", "p99 from POST to the end of the handshake"),
        (
            "max-server-cpu",
            "PERCENT",
            "CPU of the server's busiest process, of one core",
        ),
        ("max-freezes", "N", "Freezes in a minute of each viewer"),
    ]
    .into_iter()
    .map(|(name, value, help)| decimal(name, value, help).help_heading("Bounds (exit code 1 above them)"))
    .collect()
}

fn text(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn decimal(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    text(name, value, help).value_parser(not_negative)
}

fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err("give a number that is not below 0".into()),
    }
}

fn number(
    name: &'static str,
    default: &'static str,
    value: &'static str,
    help: &'static str,
    range: std::ops::RangeInclusive<i64>,
) -> Arg {
    text(name, value, help)
        .default_value(default)
        .value_parser(value_parser!(u32).range(range))
}

fn long(name: &'static str, default: &'static str, value: &'static str, help: &'static str) -> Arg {
    text(name, value, help)
        .default_value(default)
        .value_parser(value_parser!(u64).range(2..=2_592_000))
}

fn viewers(default: &'static str) -> Arg {
    number("viewers", default, "N", "How many watch", 1..=100_000)
}

fn seconds(default: &'static str) -> Arg {
    long("seconds", default, "SECONDS", "How long to measure")
}

fn get<T: Copy + Default + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> T {
    matches.get_one::<T>(name).copied().unwrap_or_default()
}

pub(crate) fn churn(matches: &ArgMatches) -> Churn {
    Churn {
        stay: get(matches, "stay"),
        share_percent: get(matches, "share"),
    }
}

pub(crate) fn ramp(matches: &ArgMatches) -> Ramp {
    Ramp {
        start: get(matches, "start"),
        step: get(matches, "step"),
        stage_seconds: get(matches, "seconds"),
        confirm_seconds: get(matches, "confirm"),
        precision: get(matches, "precision"),
    }
}

pub(crate) fn soak(matches: &ArgMatches) -> Soak {
    Soak {
        interval: get(matches, "interval"),
        growth_max: matches.get_one::<f64>("max-growth").copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_scenario_has_its_defaults_and_examples() {
        for name in SCENARIOS {
            let matches = command()
                .try_get_matches_from(["weever-loadgen", name, "--server", "http://localhost:1"])
                .unwrap();
            assert_eq!(matches.subcommand_name(), Some(name));
            let mut command = command();
            let help = command
                .find_subcommand_mut(name)
                .unwrap()
                .render_help()
                .to_string();
            assert!(help.contains("Example") && help.contains("--server"), "{name}");
            assert!(help.contains("where {n} becomes the viewer's"), "{help}");
        }
    }

    #[test]
    fn help_shows_placeholders_as_they_are_written() {
        let mut command = command();
        let top = command.render_help().to_string();
        assert!(top.contains("viewer={n} --codec h264"), "{top}");
        let broadcast = command.find_subcommand_mut("broadcast").unwrap();
        let help = broadcast.render_long_help().to_string();
        assert!(help.contains("whep/a?{n} --token T"), "{help}");
    }
}
