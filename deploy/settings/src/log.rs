//! The log on standard error: lines for people, or JSON for machines.

use std::{
    fmt::{self, Display, Formatter},
    io::{IsTerminal, stderr},
    str::FromStr,
};

use tracing_subscriber::EnvFilter;

use crate::{Setting, sink};

/// `--log-format`, for the tables of programs that log.
pub const LOG_FORMAT: Setting = Setting {
    name: "log-format",
    value: "text|json",
    default: Some("text"),
    help: "How the log is written: lines for people, or one JSON object a line.",
    group: "Process",
    secret: false,
};

/// How the log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Time, level, spans, message, fields; with colours on a terminal.
    #[default]
    Text,
    /// One object a line: `timestamp`, `level`, `target`, `message`, the event's fields beside it, and `spans`, outermost
    /// first.
    Json,
}

impl Display for LogFormat {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("text or json"),
        }
    }
}

/// What libraries warn of for each peer that misbehaves: it is counted or of no use, and would flood the log; and each vain attempt
/// to reach a NATS server, of which the relay itself says what matters. A filter that names them has its way.
const OF_PEERS: &str = "h2=error,async_nats=off";

/// Sends the process's log to standard error, as far as `filter` lets it (the syntax of `RUST_LOG`; what can't be read
/// means `info`). Who logs neither waits nor fails, whatever standard error leads to; [`flush_log`](crate::flush_log) is for the
/// end. If there is a log already, it stays.
pub fn log_to_stderr(filter: &str, format: LogFormat) {
    let filter =
        EnvFilter::try_new(format!("{OF_PEERS},{filter}")).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(sink::stderr);
    // It fails if a program that hosts this one has set up its own.
    let _ = match format {
        LogFormat::Text => {
            let colours =
                stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            builder.with_ansi(colours).try_init()
        }
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .try_init(),
    };
}
