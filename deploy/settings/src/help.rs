//! The text of `--help`.

use std::fmt::Write;

use crate::{Program, Setting};

/// Columns of the text.
const WIDTH: usize = 96;
const INDENT: &str = "      ";

pub(crate) fn text(program: &Program<'_>) -> String {
    let settings = program.settings();
    let mut text = format!(
        "{} {}\n{}\n\nUsage: {} [--NAME VALUE | --NAME=VALUE | --SWITCH | --SWITCH=false]...\n",
        program.name,
        program.version,
        wrap(program.about, ""),
        program.name
    );
    let mut groups: Vec<&str> = Vec::new();
    for setting in &settings {
        if !groups.contains(&setting.group) {
            groups.push(setting.group);
        }
    }
    for group in groups {
        // Writing to a String can't fail; so everywhere below.
        let _ = write!(text, "\n{group}\n");
        for setting in settings.iter().filter(|setting| setting.group == group) {
            text.push_str(&entry(setting));
        }
    }
    text.push_str("\nSettings\n  --config FILE\n");
    let config = "TOML file of settings, named as here with - or _. A flag beats the environment beats the file; an empty \
                  value is the default. [env: CONFIG]";
    let _ = writeln!(text, "{}", wrap(config, INDENT));
    text.push_str("  --print-config\n");
    let print = "Say what is in force and where it came from, as a file for --config, and end. Secrets are not shown.";
    let _ = writeln!(text, "{}", wrap(print, INDENT));
    text.push_str("  --help, -h\n      This text.\n  --version, -V\n      The version.\n");
    if !program.examples.is_empty() {
        text.push_str("\nExamples\n");
    }
    for (command, does) in program.examples {
        let _ = writeln!(text, "  {command}\n{}", wrap(does, INDENT));
    }
    text
}

fn entry(setting: &Setting) -> String {
    let list = if setting.is_list() {
        " May be repeated."
    } else {
        ""
    };
    let default = match setting.default {
        Some(default) => format!(" [default: {default}]"),
        None => String::new(),
    };
    let about = format!("{}{list} [env: {}]{default}", setting.help, setting.env_name());
    let value = if setting.is_switch() { "" } else { " " };
    format!(
        "  --{}{value}{}\n{}\n",
        setting.name,
        setting.value,
        wrap(&about, INDENT)
    )
}

pub(crate) fn wrap(text: &str, indent: &str) -> String {
    let mut lines = vec![indent.to_owned()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().map_or(0, |line| line.chars().count());
        if line + 1 + word.chars().count() > WIDTH && line > indent.len() {
            lines.push(indent.to_owned());
        }
        if let Some(line) = lines.last_mut() {
            if line.len() > indent.len() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n")
}
