//! The command line: `--name value`, `--name=value`, `--switch`, `--switch=false`.

use crate::{Setting, SettingError, Source, resolve::Layer, setting::Program};

/// What a command line says.
pub(crate) enum Line {
    Help,
    Version,
    Set {
        config: Option<String>,
        values: Layer,
        /// Say what is in force instead of going on.
        print: bool,
    },
}

pub(crate) fn read(
    program: &Program<'_>,
    settings: &[Setting],
    args: &[String],
    errors: &mut Vec<SettingError>,
) -> Line {
    let mut words = args.iter().enumerate().peekable();
    let (mut values, mut config, mut print) = (Layer::new(), None, false);
    while let Some((index, word)) = words.next() {
        match word.as_str() {
            "--help" | "-h" => return Line::Help,
            "--version" | "-V" => return Line::Version,
            "--print-config" => {
                print = true;
                continue;
            }
            _ => {}
        }
        let Some(flag) = word.strip_prefix("--") else {
            errors.push(stray(args, index));
            continue;
        };
        let (name, inline) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        let setting = settings.iter().find(|setting| setting.name == name);
        let mut next = || {
            words
                .next_if(|(_, word)| !word.starts_with("--"))
                .map(|(_, word)| word.clone())
        };
        let value = match setting {
            Some(setting) if setting.is_switch() => Some(inline.unwrap_or_else(|| "true".to_owned())),
            _ => inline.or_else(&mut next),
        };
        match (setting, value) {
            (None, value) if name == "config" => match value {
                Some(path) if config.is_none() => config = Some(path),
                Some(_) => errors.push(flag_error(name, "is given twice")),
                None => errors.push(flag_error(name, "needs a value: FILE")),
            },
            (None, _) => errors.push(flag_error(
                name,
                &format!("is no setting of {}{}", program.name, suggestion(settings, name)),
            )),
            (Some(setting), None) => {
                errors.push(flag_error(name, &format!("needs a value: {}", setting.value)));
            }
            (Some(setting), Some(value)) => add(&mut values, setting, value, errors),
        }
    }
    Line::Set {
        config,
        values,
        print,
    }
}

fn add(values: &mut Layer, setting: &Setting, value: String, errors: &mut Vec<SettingError>) {
    match values.get_mut(setting.name) {
        Some(before) if setting.is_list() => {
            before.push(',');
            before.push_str(&value);
        }
        Some(before) if *before != value => {
            errors.push(flag_error(setting.name, "is given twice, with different values"));
        }
        _ => {
            values.insert(setting.name, value);
        }
    }
}

/// An argument that belongs to no flag. It is not quoted: it may be the rest of a password with a space in it.
fn stray(args: &[String], index: usize) -> SettingError {
    let behind = args[..index]
        .iter()
        .rfind(|word| word.starts_with("--"))
        .map(|word| word.split('=').next().unwrap_or(word))
        .map_or(String::new(), |flag| format!(", behind {flag}"));
    SettingError {
        source: Source::Flag,
        key: format!("argument {}{behind}", index + 1),
        value: None,
        problem: "is no flag and no flag's value (flags are --name VALUE, switches --name or --name=false)"
            .to_owned(),
    }
}

fn flag_error(name: &str, problem: &str) -> SettingError {
    SettingError {
        source: Source::Flag,
        key: format!("--{name}"),
        value: None,
        problem: problem.to_owned(),
    }
}

/// What an unknown name was perhaps meant to be.
pub(crate) fn suggestion(settings: &[Setting], unknown: &str) -> String {
    /// More edits than this make it another word.
    const NEAR: usize = 2;
    settings
        .iter()
        .map(|setting| (distance(setting.name, unknown), setting.name))
        .min()
        .filter(|(distance, _)| *distance <= NEAR)
        .map_or(String::new(), |(_, name)| format!("; perhaps {name}?"))
}

/// Letters to put in, take out or change to get from one word to the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.bytes().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}
