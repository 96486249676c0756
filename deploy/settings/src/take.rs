//! Typed values out of the texts, with all errors gathered.

use std::{fmt::Display, str::FromStr};

use crate::{Resolved, SettingError, Source, Stop, print, resolve::Value};

/// Takes typed values and remembers what was wrong. After an error it hands out the default so that the rest is looked
/// at too; nothing taken may be used before [`Take::finish`] has said that all is well.
///
/// # Panics
/// Every method that takes a name: if no table has it, or if the default is needed and is none or a bad one. Both are
/// mistakes in the program's table, which a test that resolves nothing at all finds.
#[derive(Debug)]
#[must_use = "errors come out of finish"]
pub struct Take<'a> {
    resolved: &'a Resolved,
    errors: Vec<SettingError>,
}

impl<'a> Take<'a> {
    pub(crate) fn new(resolved: &'a Resolved) -> Self {
        Self {
            resolved,
            errors: resolved.errors.clone(),
        }
    }

    /// A setting with a default in its table.
    pub fn parse<T: FromStr<Err: Display>>(&mut self, name: &str) -> T {
        self.parse_with(name, str::parse)
    }

    /// As [`Take::parse`], by a function of the caller's whose error says what was expected.
    pub fn parse_with<T, R: Display>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, R>) -> T {
        if let Some(value) = self.optional_with(name, &parse) {
            return value;
        }
        self.value(name)
            .setting
            .default
            .and_then(|text| parse(text).ok())
            .unwrap_or_else(|| unreachable!("the table has no good default for {name}"))
    }

    /// A setting that may be left out; `None` too when it is wrong.
    pub fn optional<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        self.optional_with(name, str::parse)
    }

    /// As [`Take::optional`], by a function of the caller's whose error says what was expected.
    pub fn optional_with<T, R: Display>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, R>,
    ) -> Option<T> {
        let text = self.value(name).text.as_deref()?;
        match parse(text.trim()) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.reject(name, reason);
                None
            }
        }
    }

    /// A list with commas; empty too when an item is wrong. Empty items count for nothing.
    pub fn list<T: FromStr<Err: Display>>(&mut self, name: &str) -> Vec<T> {
        self.list_with(name, str::parse)
    }

    /// As [`Take::list`], by a function of the caller's for one item.
    pub fn list_with<T, R: Display>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, R>) -> Vec<T> {
        let parse_all = |text: &str| {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            items
                .map(|item| parse(item).map_err(|reason| format!("{item:?}: {reason}")))
                .collect::<Result<Vec<_>, _>>()
        };
        self.optional_with(name, parse_all).unwrap_or_default()
    }

    /// A switch: `true`, `false`, `1`, `0`, `yes`, `no`, `on`, `off`. Off if there is no default.
    pub fn switch(&mut self, name: &str) -> bool {
        let parse = |text: &str| match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err("it is neither"),
        };
        self.optional_with(name, parse).unwrap_or_default()
    }

    /// Whether any layer says something about it.
    pub fn given(&self, name: &str) -> bool {
        self.value(name).source != Source::Default
    }

    /// Says that a setting means nothing without another one.
    pub fn needs(&mut self, name: &str, other: &str) {
        if self.given(name) && !self.given(other) {
            self.errors
                .push(self.value(name).wrong(None, &format!("needs --{other} too")));
        }
    }

    /// Calls a value wrong, for rules that several settings make together. Of a secret only its form is told.
    pub fn reject(&mut self, name: &str, reason: impl Display) {
        let value = self.value(name);
        let Value {
            setting,
            source,
            text,
            ..
        } = value;
        let expected = if setting.is_switch() {
            "true or false"
        } else {
            setting.value
        };
        let problem = match setting.secret {
            true => format!("expected {expected}"),
            false => format!("expected {expected}: {reason}"),
        };
        let error = SettingError {
            source: source.clone(),
            key: value.key(),
            value: text.clone().filter(|text| !setting.secret && !has_password(text)),
            problem,
        };
        self.errors.push(error);
    }

    /// Ends the taking.
    ///
    /// # Errors
    /// All that was wrong, in the layers and in the values; and what is in force, if `--print-config` asked for that.
    pub fn finish(self) -> Result<(), Stop> {
        let mut errors: Vec<SettingError> = Vec::with_capacity(self.errors.len());
        for error in self.errors {
            // Two parts of a program may take the same setting.
            if !errors.contains(&error) {
                errors.push(error);
            }
        }
        match errors.is_empty() {
            true if self.resolved.print => Err(Stop::Config(print::in_force(self.resolved))),
            true => Ok(()),
            false => Err(Stop::Errors(errors)),
        }
    }

    fn value(&self, name: &str) -> &'a Value {
        let value = self
            .resolved
            .values
            .iter()
            .find(|value| value.setting.name == name);
        value.unwrap_or_else(|| unreachable!("no table has {name}"))
    }
}

/// Whether it is a URL that somebody's password may stand in (RFC 3986 §3.2.1).
fn has_password(text: &str) -> bool {
    let authority = text
        .split_once("://")
        .map_or("", |(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or(rest));
    authority.contains('@')
}
