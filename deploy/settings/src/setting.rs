//! What a program says about its settings.

use std::{io, path::Path};

use crate::{MAX_FILE, Resolved, Stop, help, print, resolve};

/// One setting: a flag, an environment variable and a key of the file at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The flag without its dashes: `public-ip` is `--public-ip`, `PUBLIC_IP` and `public-ip = …` or `public_ip = …`.
    pub name: &'static str,
    /// What stands for the value in the help: `PORT`; `ADDR[,ADDR…]` (with an ellipsis) for a list; empty for a switch.
    pub value: &'static str,
    /// What it is when no layer says anything; must be a value that the program accepts.
    pub default: Option<&'static str>,
    /// One or two sentences.
    pub help: &'static str,
    /// Heading of the help that it stands under.
    pub group: &'static str,
    /// Whether its value must never be shown: not in errors, not by `Debug`.
    pub secret: bool,
}

impl Setting {
    /// The environment variable: the name in upper snake case, save that `log` is `RUST_LOG` as in any Rust program.
    pub fn env_name(&self) -> String {
        match self.name {
            "log" => "RUST_LOG".to_owned(),
            name => name.replace('-', "_").to_uppercase(),
        }
    }

    /// Whether the flag stands alone: `--auth`, or `--auth=false`.
    pub fn is_switch(&self) -> bool {
        self.value.is_empty()
    }

    /// Whether the flag may be repeated, and its value has items between commas.
    pub fn is_list(&self) -> bool {
        self.value.contains('…') || self.value.contains("...")
    }
}

/// A program, as its `--help` shows it.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    /// As typed, with a subcommand if there is one.
    pub name: &'a str,
    /// What `--version` shows behind the name.
    pub version: &'a str,
    /// One or two sentences.
    pub about: &'a str,
    /// Command lines to copy, and what each does.
    pub examples: &'a [(&'a str, &'a str)],
    /// All settings. Of several with one name the first counts.
    pub tables: &'a [&'a [Setting]],
}

impl Program<'_> {
    /// The settings, each once, in the order of the tables.
    pub fn settings(&self) -> Vec<Setting> {
        let mut unique: Vec<Setting> = Vec::new();
        for setting in self.tables.iter().copied().flatten() {
            if unique.iter().all(|known| known.name != setting.name) {
                unique.push(*setting);
            }
        }
        unique
    }

    /// Reads all layers. `args` are without the program's name (and without a subcommand); `read_file` is asked for the
    /// file that `--config` or `CONFIG` names, and for those of secrets.
    ///
    /// What is wrong in the layers themselves (unknown flags, unknown keys, no such file) waits in the result and comes
    /// out of [`Take::finish`](crate::Take::finish) together with the bad values.
    ///
    /// # Errors
    /// `--help` and `--version`.
    pub fn resolve(
        &self,
        args: &[String],
        env: impl Fn(&str) -> Option<String>,
        read_file: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<Resolved, Stop> {
        resolve::resolve(self, args, &env, &read_file)
    }

    /// As [`Program::resolve`], with this process's environment and files.
    ///
    /// # Errors
    /// `--help` and `--version`.
    pub fn from_process(&self, args: &[String]) -> Result<Resolved, Stop> {
        self.resolve(args, |name| std::env::var(name).ok(), read_file)
    }

    /// All settings as a commented file, with their defaults.
    pub fn sample(&self) -> String {
        print::sample(self)
    }

    /// The text of `--help`.
    pub fn help(&self) -> String {
        help::text(self)
    }
}

fn read_file(path: &Path) -> io::Result<String> {
    let length = std::fs::metadata(path)?.len();
    if length > MAX_FILE as u64 {
        return Err(io::Error::other(format!("{length} bytes, at most {MAX_FILE}")));
    }
    std::fs::read_to_string(path)
}
