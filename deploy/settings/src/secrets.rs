//! Secrets out of files: a setting `X-file` beside a secret `X` names the file that holds it.

use std::{io, path::Path};

use crate::{Setting, SettingError, resolve::Value};

/// What stands for a secret where it is not shown. As a value it is refused, so that nobody's password is this.
pub(crate) const REDACTED: &str = "<redacted>";
/// Longest secret, bytes.
const MAX_SECRET: usize = 64 * 1024;
const SUFFIX: &str = "-file";

/// The secret that a setting is the file of.
pub(crate) fn is_file_of(setting: &Setting, settings: &[Setting]) -> Option<&'static str> {
    let name = setting.name.strip_suffix(SUFFIX)?;
    let secret = settings.iter().find(|secret| secret.name == name);
    secret.filter(|secret| secret.secret).map(|secret| secret.name)
}

/// Fills in the secrets that files hold.
pub(crate) fn fill(
    values: &mut [Value],
    read_file: &impl Fn(&Path) -> io::Result<String>,
    errors: &mut Vec<SettingError>,
) {
    let settings: Vec<Setting> = values.iter().map(|value| value.setting).collect();
    for value in values.iter().filter(|value| value.setting.secret) {
        if value.text.as_deref().map(str::trim) == Some(REDACTED) {
            errors.push(value.wrong(
                None,
                "stands for a secret that was not shown: give the secret itself, or its file",
            ));
        }
    }
    for at in 0..values.len() {
        let file = &values[at];
        let (Some(name), Some(path)) = (is_file_of(&file.setting, &settings), file.text.clone()) else {
            continue;
        };
        let Some(secret) = values.iter().position(|value| value.setting.name == name) else {
            continue;
        };
        if values[secret].text.is_some() {
            let other = values[secret].key();
            errors.push(file.wrong(Some(path), &format!("{other} is given too: one of them")));
            continue;
        }
        match read_file(Path::new(path.trim()))
            .map_err(|error| format!("can't read the file: {error}"))
            .and_then(|text| whole(&text))
        {
            Ok(text) => {
                let source = file.source.clone();
                let value = &mut values[secret];
                (value.text, value.source, value.from_file) = (Some(text), source, true);
            }
            Err(problem) => errors.push(file.wrong(Some(path), &problem)),
        }
    }
}

/// Without the line's end that editors and `echo` put behind it.
fn whole(text: &str) -> Result<String, String> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    match text {
        "" => Err("the file is empty".to_owned()),
        text if text.len() > MAX_SECRET => Err(format!("the file is longer than {MAX_SECRET} bytes")),
        text if text.contains(['\n', '\0']) => {
            Err("the file has more than one line, or is not text".to_owned())
        }
        text => Ok(text.to_owned()),
    }
}
