//! The command line.

use clap::{Arg, ArgAction, Command, value_parser};

const EXAMPLES: &str = "\
Examples:
  One publisher, one viewer, ten seconds, against a Weever on this machine:
    weever-loadgen broadcast --whip http://localhost:8443/pub/load/source \\
        --whep http://localhost:8443/sub/load/viewer{n}

  A hundred viewers for half a minute, and what each forwarded packet costs the server:
    weever-loadgen broadcast --whip http://localhost:8443/pub/load/source \\
        --whep http://localhost:8443/sub/load/viewer{n} \\
        --viewers 100 --seconds 30 --server-pid $(pgrep -ox weever)

  The same for a program:  ... --json | jq .loss_percent

The generator shares the machine's cores with a server on it: look at its own CPU in the report before you
believe the server's limit. Each viewer has a socket of its own: raise `ulimit -n` above twice their number.";

/// All subcommands and flags.
pub(crate) fn command() -> Command {
    Command::new("weever-loadgen")
        .about("Load for WHIP/WHEP servers: publishers, viewers, and what they saw")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(broadcast())
}

fn broadcast() -> Command {
    Command::new("broadcast")
        .about("One publisher and many viewers")
        .after_help(EXAMPLES)
        .arg(text("whip", "URL", "WHIP endpoint that the publisher posts to").required(true))
        .arg(
            text(
                "whep",
                "URL",
                "WHEP endpoint that viewers post to; {n} becomes the viewer's number",
            )
            .required(true),
        )
        .arg(text("token", "TOKEN", "Bearer token of every request"))
        .arg(number("viewers", "1", "How many viewers").value_parser(value_parser!(u32).range(1..=20_000)))
        .arg(
            number("seconds", "10", "How long to measure, seconds")
                .value_parser(value_parser!(u64).range(1..=86_400)),
        )
        .arg(number("bitrate", "1000", "Video, kbit/s").value_parser(value_parser!(u32).range(50..=100_000)))
        .arg(number("fps", "30", "Frames per second").value_parser(value_parser!(u32).range(1..=240)))
        .arg(
            number("packet-size", "1100", "Largest RTP payload, bytes")
                .value_parser(value_parser!(u16).range(64..=1200)),
        )
        .arg(
            Arg::new("audio")
                .long("audio")
                .action(ArgAction::SetTrue)
                .help("Also an Opus-sized audio track, 50 packets a second"),
        )
        .arg(
            number("join-rate", "50", "Viewers that join in a second")
                .value_parser(value_parser!(u32).range(1..=10_000)),
        )
        .arg(
            number("threads", "2", "Threads of the generator")
                .value_parser(value_parser!(u16).range(1..=256)),
        )
        .arg(number("seed", "1", "Seed of the media's sizes and bytes").value_parser(value_parser!(u64)))
        .arg(
            text(
                "server-pid",
                "PID",
                "The server's process here: its CPU and memory, with its children's",
            )
            .value_parser(value_parser!(u32)),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Report as JSON instead of as a table"),
        )
}

fn text(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

fn number(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("N")
        .default_value(default)
        .help(help)
}
