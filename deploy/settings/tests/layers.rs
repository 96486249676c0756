//! The layers as a program meets them, without a process.
#![allow(clippy::unwrap_used, clippy::panic)] // all of this is test code

use std::{io, net::IpAddr, path::PathBuf};

use weever_settings::{Program, Resolved, Setting, Stop};

const fn setting(name: &'static str, value: &'static str, default: Option<&'static str>) -> Setting {
    Setting {
        name,
        value,
        default,
        help: "What it is for.",
        group: "Group",
        secret: false,
    }
}

const SETTINGS: &[Setting] = &[
    setting("port", "PORT", Some("8443")),
    setting("stun", "URL[,URL…]", None),
    setting("public-ip", "ADDR[,ADDR…]", None),
    setting("auth", "", None),
    setting("cert-file", "FILE", None),
    Setting {
        secret: true,
        group: "TURN",
        ..setting("turn-password", "PASSWORD", None)
    },
    setting("turn-password-file", "FILE", None),
    setting("log", "FILTER", Some("info")),
];

const PROGRAM: Program<'_> = Program {
    name: "weever-test",
    version: "1.2.3",
    about: "Shows what settings do.",
    examples: &[("weever-test --port 80", "Listens on port 80.")],
    tables: &[SETTINGS, &[setting("port", "PORT", Some("1"))]],
};

fn resolve(args: &[&str], env: &[(&str, &str)], file: &str) -> Result<Resolved, Stop> {
    let args: Vec<String> = args.iter().map(|word| (*word).to_owned()).collect();
    let env = |name: &str| {
        let found = env.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    PROGRAM.resolve(&args, env, |path| match path.to_str() {
        Some("weever.toml") => Ok(file.to_owned()),
        Some("secret") => Ok("correct \"horse\r\n".to_owned()),
        Some("empty") => Ok("\n".to_owned()),
        Some("lines") => Ok("correct horse\nbattery\n".to_owned()),
        _ => Err(io::ErrorKind::NotFound.into()),
    })
}

#[derive(Debug, PartialEq, Eq)]
struct Taken {
    port: u16,
    stun: Vec<String>,
    public_ip: Vec<IpAddr>,
    auth: bool,
    cert_file: Option<PathBuf>,
    turn_password: Option<String>,
    log: String,
}

fn take(resolved: &Resolved) -> Result<Taken, Stop> {
    let mut take = resolved.take();
    let taken = Taken {
        port: take.parse("port"),
        stun: take.list("stun"),
        public_ip: take.list("public-ip"),
        auth: take.switch("auth"),
        cert_file: take.optional("cert-file"),
        turn_password: take.optional_with("turn-password", |text| match text.len() {
            8.. => Ok(text.to_owned()),
            _ => Err(format!("{text} is too short")),
        }),
        log: take.parse("log"),
    };
    take.finish()?;
    Ok(taken)
}

fn taken(args: &[&str], env: &[(&str, &str)], file: &str) -> Taken {
    take(&resolve(args, env, file).unwrap()).unwrap()
}

fn errors(args: &[&str], env: &[(&str, &str)], file: &str) -> Vec<String> {
    match take(&resolve(args, env, file).unwrap()).unwrap_err() {
        Stop::Errors(errors) => errors.iter().map(ToString::to_string).collect(),
        stop => panic!("{stop:?}"),
    }
}

#[test]
fn nothing_said_is_the_default() {
    let nothing = taken(&[], &[], "");
    assert_eq!(
        (nothing.port, nothing.auth, nothing.log.as_str()),
        (8443, false, "info")
    );
    assert!(nothing.stun.is_empty() && nothing.cert_file.is_none());
    assert!(resolve(&[], &[], "").unwrap().to_env().is_empty());
}

#[test]
fn a_flag_beats_the_environment_beats_the_file() {
    let file = "port = 1\nauth = true\ncert_file = 'a.pem'\npublic-ip = ['192.0.2.1', '::1']\nlog = 'warn'";
    let env = [
        ("PORT", "2"),
        ("CERT_FILE", "b.pem"),
        ("CONFIG", "weever.toml"),
        ("RUST_LOG", "debug"),
    ];
    let all = taken(&["--port", "3"], &env, file);
    assert_eq!((all.port, all.auth, all.log.as_str()), (3, true, "debug"));
    assert_eq!(all.cert_file, Some("b.pem".into()));
    assert_eq!(
        all.public_ip,
        ["192.0.2.1", "::1"].map(|text| text.parse::<IpAddr>().unwrap())
    );
    let without_flag = taken(&["--config=weever.toml"], &env, file);
    assert_eq!(without_flag.port, 2);
    let file_only = taken(&["--config", "weever.toml"], &[("CONFIG", "elsewhere")], file);
    assert_eq!((file_only.port, file_only.log.as_str()), (1, "warn"));
}

#[test]
fn empty_environment_variables_are_unset_and_empty_flags_are_the_default() {
    let env = [("PORT", ""), ("CONFIG", ""), ("CERT_FILE", "env.pem")];
    let some = taken(&["--cert-file="], &env, "");
    assert_eq!((some.port, some.cert_file), (8443, None));
}

#[test]
fn all_forms_of_flags() {
    let all = taken(
        &[
            "--stun",
            "stun:a",
            "--auth",
            "--stun=stun:b,stun:c",
            "--port=5",
            "--cert-file",
            "-x",
        ],
        &[("AUTH", "no")],
        "",
    );
    assert_eq!(all.stun, ["stun:a", "stun:b", "stun:c"]);
    assert_eq!((all.auth, all.port, all.cert_file), (true, 5, Some("-x".into())));
    assert!(!taken(&["--auth=false"], &[("AUTH", "1")], "").auth);
    assert!(taken(&[], &[("AUTH", "Yes")], "").auth);
}

#[test]
fn everything_wrong_is_named_at_once() {
    let file = "prot = 7\npublic_ip = 'here'\nauth = { on = true }";
    let errors = errors(
        &[
            "--ports=6",
            "--port=70000",
            "--config",
            "weever.toml",
            "--cert-file",
        ],
        &[("STUN", "a"), ("TURN_PASSWORD", "hunter2"), ("AUTH", "maybe")],
        file,
    );
    let expected = [
        "--ports: is no setting of weever-test; perhaps port?",
        "--cert-file: needs a value: FILE",
        "weever.toml: auth: expected true or false",
        "weever.toml: prot: is no setting; perhaps port?",
        "--port \"70000\": expected PORT: number too large to fit in target type",
        "weever.toml: public-ip \"here\": expected ADDR[,ADDR…]: \"here\": invalid IP address syntax",
        "environment variable AUTH \"maybe\": expected true or false: it is neither",
        "environment variable TURN_PASSWORD: expected PASSWORD",
    ];
    assert_eq!(errors, expected);
}

#[test]
fn secrets_are_never_shown() {
    let shown = |args: &[&str], env: &[(&str, &str)], file: &str| {
        let resolved = resolve(args, env, file).unwrap();
        format!("{resolved:?} {:?} {:?}", resolved.take(), take(&resolved))
    };
    for output in [
        shown(&["--turn-pasword", "hunter2"], &[], ""),
        shown(&["--turn-pasword=hunter2"], &[], ""),
        shown(&["--turn-password", "a", "hunter2"], &[], ""),
        shown(&["--turn-password=hunter2"], &[], ""),
        shown(&[], &[("TURN_PASSWORD", "hunter2")], ""),
        shown(&["--config=weever.toml"], &[], "turn-password = 'hunter2'"),
        shown(&["--config=weever.toml"], &[], "turn-password = 'hunter2"),
        shown(&["--config=weever.toml"], &[], "turn-password = hunter2"),
    ] {
        assert!(!output.contains("hunter2"), "{output}");
        assert!(output.contains("Errors"), "{output}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    assert_eq!(
        errors(&["--config", "gone.toml"], &[], ""),
        ["--config \"gone.toml\": can't read the file: entity not found"]
    );
    let bad = errors(&["--config", "weever.toml"], &[], "port = 1\nauth = perhaps");
    assert!(
        bad.len() == 1 && bad[0].starts_with("weever.toml: line 2: is not TOML"),
        "{bad:?}"
    );
    let twice = errors(
        &["--config", "weever.toml"],
        &[],
        "public-ip = '::1'\npublic_ip = '::1'",
    );
    assert!(twice[0].contains("given twice"), "{twice:?}");
    assert!(errors(&["--port=1", "--port=2"], &[], "")[0].contains("given twice"));
}

#[test]
fn a_child_sees_the_same_through_its_environment() {
    let file = "turn-password = 'long enough'";
    let args = [
        "--stun",
        "stun:a",
        "--stun",
        "stun:b",
        "--auth",
        "--config=weever.toml",
    ];
    let resolved = resolve(&args, &[("PORT", "77"), ("LOG", "no")], file).unwrap();
    let env = resolved.to_env();
    assert!(
        env.contains(&("STUN".to_owned(), "stun:a,stun:b".to_owned())),
        "{env:?}"
    );
    let borrowed: Vec<(&str, &str)> = env
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        take(&resolve(&[], &borrowed, "").unwrap()).unwrap(),
        take(&resolved).unwrap()
    );
    assert!(resolved.env_names().any(|name| name == "RUST_LOG"));
}

#[test]
fn help_and_version_stop_the_start() {
    let Err(Stop::Help(help)) = resolve(&["--port=bad", "-h"], &[], "") else {
        panic!("no help");
    };
    for part in [
        "--port PORT",
        "[env: CERT_FILE]",
        "[default: 8443]",
        "\nTURN\n",
        "weever-test --port 80",
        "[env: RUST_LOG]",
    ] {
        assert!(help.contains(part), "{part} is missing in:\n{help}");
    }
    assert_eq!(help.matches("--port PORT").count(), 1);
    assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    assert_eq!(
        resolve(&["--version"], &[], "").unwrap_err(),
        Stop::Version("weever-test 1.2.3".to_owned())
    );
    assert_eq!(Stop::Errors(Vec::new()).exit_code(), 2);
}

fn printed(args: &[&str], env: &[(&str, &str)], file: &str) -> String {
    let args = [args, &["--print-config"]].concat();
    match take(&resolve(&args, env, file).unwrap()).unwrap_err() {
        Stop::Config(text) => text,
        stop => panic!("{stop:?}"),
    }
}

#[test]
fn a_secret_may_stand_in_a_file() {
    let secret = Some("correct \"horse".to_owned());
    assert_eq!(
        taken(&["--turn-password-file=secret"], &[], "").turn_password,
        secret
    );
    assert_eq!(
        taken(&[], &[("TURN_PASSWORD_FILE", "secret")], "").turn_password,
        secret
    );
    assert_eq!(
        taken(&["--config=weever.toml"], &[], "turn_password_file = 'secret'").turn_password,
        secret
    );
    let resolved = resolve(&["--turn-password-file=secret"], &[], "").unwrap();
    assert_eq!(
        resolved.to_env(),
        [("TURN_PASSWORD_FILE".to_owned(), "secret".to_owned())]
    );
    assert!(!format!("{resolved:?}").contains("horse"));
}

#[test]
fn a_secrets_file_that_is_no_good_is_named() {
    for (args, says) in [
        (
            &["--turn-password-file=nowhere"][..],
            "--turn-password-file \"nowhere\": can't read the file",
        ),
        (&["--turn-password-file=empty"], "the file is empty"),
        (&["--turn-password-file=lines"], "more than one line"),
        (
            &["--turn-password-file=secret", "--turn-password=battery staple"],
            "--turn-password is given too: one of them",
        ),
    ] {
        let errors = errors(args, &[], "");
        assert!(errors.len() == 1 && errors[0].contains(says), "{errors:?}");
        assert!(
            !errors[0].contains("horse") && !errors[0].contains("battery"),
            "{errors:?}"
        );
    }
}

#[test]
fn a_url_with_a_password_is_not_quoted() {
    let mut shown = Vec::new();
    for url in ["http://me:hunter2@example.org/", "http://example.org/me@home"] {
        let resolved = resolve(&["--cert-file", url], &[], "").unwrap();
        let mut take = resolved.take();
        take.reject("cert-file", "it is a URL");
        let Err(Stop::Errors(errors)) = take.finish() else {
            panic!()
        };
        shown.push(errors[0].value.clone());
    }
    assert_eq!(shown, [None, Some("http://example.org/me@home".to_owned())]);
}

#[test]
fn what_is_in_force_is_printed_with_its_origin_and_read_again() {
    let file = "stun = ['a:1', 'b:2']\ncert_file = 'we\\ird \"x\".pem'\n";
    let (args, env) = (
        ["--port=007", "--config=weever.toml"],
        [("AUTH", "yes"), ("RUST_LOG", "warn")],
    );
    let text = printed(&args, &env, file);
    for line in [
        "port = \"007\" # flag --port",
        "stun = [\"a:1\", \"b:2\"] # file weever.toml",
        "auth = \"yes\" # environment variable AUTH",
        "log = \"warn\" # environment variable RUST_LOG",
        "# turn-password is not set",
    ] {
        assert!(text.lines().any(|other| other == line), "{line:?} in {text}");
    }
    assert!(printed(&[], &[], "").contains("\nport = 8443 # default\n"));
    assert_eq!(
        taken(&["--config=weever.toml"], &[], &text),
        taken(&args, &env, file)
    );
    assert_eq!(
        taken(&["--config=weever.toml"], &[], &printed(&[], &[], "")),
        taken(&[], &[], "")
    );
}

#[test]
fn no_secret_is_printed_and_its_stand_in_is_no_secret() {
    let text = printed(&["--turn-password=correct horse"], &[], "");
    assert!(
        text.contains("turn-password = \"<redacted>\" # flag --turn-password") && !text.contains("horse"),
        "{text}"
    );
    let refused = errors(&["--config=weever.toml"], &[], &text);
    assert!(
        refused.len() == 1 && refused[0].contains("turn-password: stands for a secret"),
        "{refused:?}"
    );
    // From a file it can be read again, and is.
    let text = printed(&["--turn-password-file=secret"], &[], "");
    assert!(
        text.contains("turn-password-file = \"secret\" # flag") && !text.contains("horse"),
        "{text}"
    );
    let again = taken(&["--config=weever.toml"], &[], &text);
    assert_eq!(again.turn_password.as_deref(), Some("correct \"horse"));
}

#[test]
fn mistakes_come_before_the_printing() {
    let all = errors(&["--print-config", "--port=none", "--colour=red"], &[], "");
    assert_eq!(all.len(), 2, "{all:?}");
}

#[test]
fn a_sample_has_every_setting_and_its_defaults_are_read_as_such() {
    let sample = PROGRAM.sample();
    assert_eq!(
        taken(&["--config=weever.toml"], &[], &sample),
        taken(&[], &[], "")
    );
    // With the # taken away wherever there is a default.
    let uncommented: String = sample
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting)
                if setting.starts_with(|c: char| c.is_ascii_lowercase())
                    && !setting.contains(['[', 'F', 'P']) =>
            {
                setting
            }
            _ => line,
        })
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(
        taken(&["--config=weever.toml"], &[], &uncommented),
        taken(&[], &[], "")
    );
    for setting in PROGRAM.settings() {
        let line = format!("\n#{} = ", setting.name);
        assert_eq!(sample.matches(&line).count(), 1, "{line:?}");
    }
}
