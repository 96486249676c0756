//! Why a program does not go on behind its settings.

use std::{
    fmt::{self, Display, Formatter},
    io::Write,
    path::PathBuf,
    process::ExitCode,
};

/// The layer that a value came from, weakest first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The program's own table.
    Default,
    /// The settings file.
    File(PathBuf),
    /// An environment variable.
    Environment,
    /// The command line.
    Flag,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingError {
    /// Where it stands.
    pub source: Source,
    /// As it is spelled there: `--port`, `PORT`, `port`.
    pub key: String,
    /// What it was set to; never a secret, nor what follows an unknown flag, which may be a misspelt one.
    pub value: Option<String>,
    /// What was expected instead.
    pub problem: String,
}

impl Display for SettingError {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            source, key, problem, ..
        } = self;
        match source {
            Source::Default => write!(formatter, "default of {key}")?,
            Source::File(path) => write!(formatter, "{}: {key}", path.display())?,
            Source::Environment => write!(formatter, "environment variable {key}")?,
            Source::Flag => formatter.write_str(key)?,
        }
        if let Some(value) = &self.value {
            write!(formatter, " {value:?}")?;
        }
        write!(formatter, ": {problem}")
    }
}

/// Why a program does not go on behind its settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// `--help`: the text.
    #[error("{0}")]
    Help(String),
    /// `--version`: the line.
    #[error("{0}")]
    Version(String),
    /// `--print-config`: the file.
    #[error("{0}")]
    Config(String),
    /// All that is wrong.
    #[error("{}", lines(.0))]
    Errors(Vec<SettingError>),
}

impl Stop {
    /// 0 for what was asked for, 2 for errors.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Help(_) | Self::Version(_) | Self::Config(_) => 0,
            Self::Errors(_) => 2,
        }
    }

    /// Writes what was asked for to standard output, errors to standard error, one a line.
    pub fn report(&self, program: &str) -> ExitCode {
        // A reader that has gone away can't be told either.
        let _ = match self {
            Self::Help(text) | Self::Version(text) | Self::Config(text) => {
                writeln!(std::io::stdout(), "{}", text.trim_end())
            }
            Self::Errors(errors) => writeln!(
                std::io::stderr(),
                "{}\n{program} --help lists all settings",
                errors
                    .iter()
                    .map(|error| format!("{program}: {error}"))
                    .collect::<Vec<_>>()
                    .join("\n")
            ),
        };
        ExitCode::from(self.exit_code())
    }
}

fn lines(errors: &[SettingError]) -> String {
    errors
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}
