//! The TOML file: flat keys named like the flags, with `-` or `_`.

use std::path::Path;

use toml::{Table, Value};

use crate::{MAX_FILE, Setting, SettingError, Source, flags::suggestion, resolve::Layer};

pub(crate) fn read(settings: &[Setting], path: &Path, text: &str, errors: &mut Vec<SettingError>) -> Layer {
    let mut error = |key: &str, problem: String| {
        errors.push(SettingError {
            source: Source::File(path.to_owned()),
            key: key.to_owned(),
            value: None,
            problem,
        });
    };
    if text.len() > MAX_FILE {
        error("the file", format!("is longer than {MAX_FILE} bytes"));
        return Layer::new();
    }
    let table = match text.parse::<Table>() {
        Ok(table) => table,
        Err(bad) => {
            // The error's own text would quote the line, which may hold a secret.
            let line = bad
                .span()
                .map_or(0, |span| text[..span.start].matches('\n').count())
                + 1;
            error(&format!("line {line}"), format!("is not TOML: {}", bad.message()));
            return Layer::new();
        }
    };
    let mut values = Layer::new();
    for (key, value) in table {
        let name = key.replace('_', "-");
        let Some(setting) = settings.iter().find(|setting| setting.name == name) else {
            error(&key, format!("is no setting{}", suggestion(settings, &name)));
            continue;
        };
        match plain(&value, setting.is_list()) {
            Some(_) if values.contains_key(setting.name) => {
                error(&key, "is given twice, once with - and once with _".to_owned());
            }
            Some(text) => {
                values.insert(setting.name, text);
            }
            None => error(&key, format!("expected {}", expected(setting))),
        }
    }
    values
}

fn expected(setting: &Setting) -> String {
    match setting {
        setting if setting.is_switch() => "true or false".to_owned(),
        setting if setting.is_list() => format!("{} as a string or an array", setting.value),
        setting => format!("{} as a string or a number", setting.value),
    }
}

/// The value as a flag would have it; `None` if a flag can't.
fn plain(value: &Value, list: bool) -> Option<String> {
    match value {
        // No environment variable could hold it.
        Value::String(text) if text.contains('\0') => None,
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(switch) => Some(switch.to_string()),
        Value::Array(items) if list => {
            let items: Option<Vec<_>> = items.iter().map(|item| plain(item, false)).collect();
            Some(items?.join(","))
        }
        Value::Array(_) | Value::Table(_) | Value::Datetime(_) => None,
    }
}
