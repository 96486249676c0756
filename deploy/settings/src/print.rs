//! Settings written as a file that can be read again: those in force, and a sample of all.

use std::fmt::Write;

use crate::{Program, Resolved, Setting, Source, help::wrap, secrets::REDACTED};

/// What is in force, each value with where it came from.
pub(crate) fn in_force(resolved: &Resolved) -> String {
    let Resolved { program, values, .. } = resolved;
    let mut text =
        format!("# Settings of {program}, as they are in force. {program} --config FILE reads them again.\n");
    let mut group = "";
    for value in values {
        heading(&mut text, &mut group, value.setting.group);
        let origin = match &value.source {
            Source::Default => "default".to_owned(),
            Source::Flag => format!("flag --{}", value.setting.name),
            Source::Environment => format!("environment variable {}", value.setting.env_name()),
            Source::File(path) => format!("file {}", path.display()).replace(char::is_control, " "),
        };
        let name = value.setting.name;
        // Writing to a String can't fail; so everywhere below.
        let _ = match &value.text {
            Some(_) if value.from_file => writeln!(text, "# {name}: from the file below"),
            Some(_) if value.setting.secret => writeln!(
                text,
                "{name} = \"{REDACTED}\" # {origin}; not shown, and to be put in"
            ),
            Some(shown) => writeln!(text, "{name} = {} # {origin}", toml_value(&value.setting, shown)),
            None if value.setting.is_switch() => writeln!(text, "{name} = false # {origin}"),
            None => writeln!(text, "# {name} is not set"),
        };
    }
    text
}

/// All settings of a program, each as a comment with what it does, and with its default.
pub(crate) fn sample(program: &Program<'_>) -> String {
    let about = wrap(program.about, "# ");
    let layers = wrap(
        "A flag beats the environment beats this file; whatever is wrong in any of them is named at the start, all at once. A line \
         with a value is the default: take the # away and change it. One without has none.",
        "# ",
    );
    let mut text = format!("{about}\n#\n#   {} --config FILE\n#\n{layers}\n", program.name);
    let mut group = "";
    for setting in program.settings() {
        heading(&mut text, &mut group, setting.group);
        let _ = writeln!(text, "\n{}", wrap(setting.help, "# "));
        let _ = match setting.default {
            Some(default) => writeln!(text, "#{} = {}", setting.name, toml_value(&setting, default)),
            None if setting.is_switch() => writeln!(text, "#{} = false", setting.name),
            None if setting.is_list() => writeln!(text, "#{} = [{}]", setting.name, setting.value),
            None => writeln!(text, "#{} = {}", setting.name, setting.value),
        };
    }
    text
}

fn heading(text: &mut String, last: &mut &'static str, group: &'static str) {
    if *last != group {
        *last = group;
        let _ = writeln!(text, "\n## {group}");
    }
}

/// As TOML has it.
fn toml_value(setting: &Setting, text: &str) -> String {
    let string = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let plain = text.trim();
    if setting.is_switch() && ["true", "false"].contains(&plain) {
        return plain.to_owned();
    }
    if setting.is_list() && plain.contains(',') {
        let items = plain.split(',').map(str::trim).filter(|item| !item.is_empty());
        return format!("[{}]", items.map(string).collect::<Vec<_>>().join(", "));
    }
    // Only what reads back as it was: not 007, nor +5.
    match plain.parse::<i64>() {
        Ok(number) if number.to_string() == text => plain.to_owned(),
        _ => string(text),
    }
}
