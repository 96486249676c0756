//! The layers laid over each other.

use std::{
    collections::BTreeMap,
    fmt::{self, Debug, Formatter},
    io,
    path::{Path, PathBuf},
};

use crate::{Program, Setting, SettingError, Source, Stop, Take, file, flags, secrets};

/// Values of one layer by the settings' names.
pub(crate) type Layer = BTreeMap<&'static str, String>;

/// One setting's value and where it came from.
#[derive(Clone)]
pub(crate) struct Value {
    pub(crate) setting: Setting,
    pub(crate) source: Source,
    /// `None`: no layer says anything and there is no default.
    pub(crate) text: Option<String>,
    /// A secret that stood in the file that the setting beside it names.
    pub(crate) from_file: bool,
}

impl Value {
    /// As it is spelled where it stands.
    pub(crate) fn key(&self) -> String {
        match self.source {
            Source::Environment => self.setting.env_name(),
            Source::File(_) => self.setting.name.to_owned(),
            Source::Flag | Source::Default => format!("--{}", self.setting.name),
        }
    }

    /// What is wrong with it.
    pub(crate) fn wrong(&self, value: Option<String>, problem: &str) -> SettingError {
        SettingError {
            source: self.source.clone(),
            key: self.key(),
            value,
            problem: problem.to_owned(),
        }
    }
}

/// All settings, each from the strongest layer that has it. `Debug` leaves secrets out.
#[derive(Clone)]
pub struct Resolved {
    /// The program's name.
    pub(crate) program: String,
    /// Say what is in force instead of going on.
    pub(crate) print: bool,
    pub(crate) values: Vec<Value>,
    pub(crate) errors: Vec<SettingError>,
}

impl Resolved {
    /// Starts to take typed values; what was wrong in the layers comes out at its [finish](Take::finish).
    pub fn take(&self) -> Take<'_> {
        Take::new(self)
    }

    /// What a child process needs in its environment to see the same settings: all that are not defaults, secrets too.
    ///
    /// A child that inherits the environment has to be rid of [`Resolved::env_names`] and `CONFIG` first.
    pub fn to_env(&self) -> Vec<(String, String)> {
        self.values
            .iter()
            // What a file holds, the child reads from there.
            .filter(|value| value.source != Source::Default && !value.from_file)
            .filter_map(|value| Some((value.setting.env_name(), value.text.clone()?)))
            .collect()
    }

    /// The environment variables of all settings, set or not.
    pub fn env_names(&self) -> impl Iterator<Item = String> {
        self.values.iter().map(|value| value.setting.env_name())
    }
}

impl Debug for Resolved {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let shown = self.values.iter().map(|value| {
            let text = match &value.text {
                Some(_) if value.setting.secret => Some("(secret)"),
                text => text.as_deref(),
            };
            (value.setting.name, (&value.source, text))
        });
        formatter.debug_map().entries(shown).finish()?;
        match self.errors.as_slice() {
            [] => Ok(()),
            errors => write!(formatter, " and {errors:?}"),
        }
    }
}

pub(crate) fn resolve(
    program: &Program<'_>,
    args: &[String],
    env: &impl Fn(&str) -> Option<String>,
    read_file: &impl Fn(&Path) -> io::Result<String>,
) -> Result<Resolved, Stop> {
    let settings = program.settings();
    let mut errors = Vec::new();
    let (config, mut flags, print) = match flags::read(program, &settings, args, &mut errors) {
        flags::Line::Help => return Err(Stop::Help(program.help())),
        flags::Line::Version => return Err(Stop::Version(format!("{} {}", program.name, program.version))),
        flags::Line::Set {
            config,
            values,
            print,
        } => (config, values, print),
    };
    let env = |name: &str| env(name).filter(|value| !value.is_empty());
    let (from, config) = match config {
        Some(path) => (Source::Flag, Some(path).filter(|path| !path.is_empty())),
        None => (Source::Environment, env("CONFIG")),
    };
    let path = config.map(PathBuf::from);
    let mut file = match &path {
        Some(path) => read(&settings, from, path, read_file, &mut errors),
        None => Layer::new(),
    };
    let mut values: Vec<Value> = settings
        .into_iter()
        .map(|setting| {
            let from_flag = flags.remove(setting.name).map(|text| (Source::Flag, text));
            let from_env = || env(&setting.env_name()).map(|text| (Source::Environment, text));
            let from_file = || Some((Source::File(path.clone()?), file.remove(setting.name)?));
            let (source, text) = from_flag
                .or_else(from_env)
                .or_else(from_file)
                // An empty value is a way back to the default, past the weaker layers.
                .filter(|(_, text)| !text.is_empty())
                .map_or((Source::Default, setting.default.map(str::to_owned)), |(source, text)| {
                    (source, Some(text))
                });
            Value {
                setting,
                source,
                text,
                from_file: false,
            }
        })
        .collect();
    secrets::fill(&mut values, read_file, &mut errors);
    Ok(Resolved {
        program: program.name.to_owned(),
        print,
        values,
        errors,
    })
}

fn read(
    settings: &[Setting],
    from: Source,
    path: &Path,
    read_file: &impl Fn(&Path) -> io::Result<String>,
    errors: &mut Vec<SettingError>,
) -> Layer {
    match read_file(path) {
        Ok(text) => file::read(settings, path, &text, errors),
        Err(error) => {
            let key = if from == Source::Flag {
                "--config"
            } else {
                "CONFIG"
            };
            errors.push(SettingError {
                source: from,
                key: key.to_owned(),
                value: Some(path.display().to_string()),
                problem: format!("can't read the file: {error}"),
            });
            Layer::new()
        }
    }
}
