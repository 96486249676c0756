use weever_settings::Stop;

use super::*;

fn read(args: &[&str]) -> Result<Config, Stop> {
    let args: Vec<String> = args.iter().map(|word| (*word).to_owned()).collect();
    let resolved = PROGRAM.resolve(&args, |_| None, |_| Err(std::io::Error::other("no file")))?;
    let mut take = resolved.take();
    let config = Config::from(&mut take);
    take.finish().map(|()| config)
}

#[test]
fn defaults_are_good() {
    let config = read(&[]).unwrap();
    assert_eq!((config.port, config.private_port), (8443, 9443));
    assert!(config.host.is_unspecified() && config.private_host.is_loopback());
    assert!(
        matches!(config.admission, Admission::Open)
            && !config.debug
            && !config.strict_rooms
            && config.tls.is_none()
    );
    assert_eq!(config.drain_timeout, Duration::from_secs(60));
}

#[test]
fn all_that_is_wrong_is_named_at_once() {
    let bad = [
        "--port=99999",
        "--cert-file=a.pem",
        "--redis=http://:hunter2@localhost",
        "--redis-prefix={a}",
        "--advertise-url=https://other.example/?a",
        "--max-connections=0",
        "--drain-timeout=99999999999999999",
        "--log=weever=loud",
        "--log-format=xml",
        "--otlp-endpoint=localhost:4318",
        "--cors-domain=a/b",
        "--stun=a b",
        "--overflow-url=https://user:pass@other.example",
    ];
    let Err(Stop::Errors(errors)) = read(&bad) else {
        panic!("accepted");
    };
    let text = Stop::Errors(errors.clone()).to_string();
    assert_eq!(errors.len(), bad.len(), "{text}");
    assert!(text.contains("redis://[user:password@]host:port"), "{text}");
    assert!(text.contains("needs --key-file"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn every_secret_may_stand_in_a_file() {
    let names: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
    for secret in SETTINGS.iter().filter(|setting| setting.secret) {
        assert!(
            names.contains(&format!("{}-file", secret.name).as_str()),
            "{}",
            secret.name
        );
    }
}

#[test]
fn a_node_of_a_cluster_is_told_where_and_what_it_is() {
    let config = read(&[
        "--redis=redis://:hunter2@localhost",
        "--pod-name=node-1.example",
        "--advertise-url=https://one.example:8443/",
    ])
    .unwrap();
    assert_eq!(config.redis.unwrap().prefix, "weever");
    assert_eq!(config.advertise_url.as_deref(), Some("https://one.example:8443"));
    assert!(read(&[]).unwrap().redis.is_none());
    for (wrong, says) in [
        (&["--redis=redis://a", "--pod-name=a b"][..], "without space"),
        (&["--redis-ca-file=/dev/null"], "needs --redis too"),
        (
            &["--redis=redis://a", "--redis-ca-file=/dev/null"],
            "only for rediss://",
        ),
        (
            &["--redis=rediss://a", "--redis-ca-file=/nowhere"],
            "No such file",
        ),
    ] {
        let Err(Stop::Errors(errors)) = read(wrong) else {
            panic!("{wrong:?} accepted");
        };
        let text = Stop::Errors(errors).to_string();
        assert!(text.contains(says), "{text}");
    }
    assert!(read(&["--pod-name=a b"]).is_ok(), "alone it is a label");
}

#[test]
fn one_decides_who_may_join() {
    let keys = std::env::temp_dir().join(format!("weever-keys-{}.json", std::process::id()));
    std::fs::write(
        &keys,
        format!(r#"{{"keys":[{{"kty":"oct","k":"{}"}}]}}"#, "A".repeat(43)),
    )
    .unwrap();
    let file = format!("--jwks-file={}", keys.display());
    let jwks = [file.as_str(), "--jwt-audience=a"];
    assert!(
        matches!(read(&jwks).unwrap().admission, Admission::Signed(jwt) if jwt.audience.as_deref() == Some("a"))
    );
    let webhook = [
        "--auth-webhook=https://example.org/a?b",
        "--auth-webhook-timeout=5",
    ];
    let Admission::Webhook(settings) = read(&webhook).unwrap().admission else {
        panic!("another");
    };
    assert_eq!(
        (settings.url.as_str(), settings.timeout.as_secs()),
        ("https://example.org/a?b", 5)
    );
    std::fs::remove_file(keys).unwrap();
    for (wrong, says) in [
        (&["--auth", "--auth-webhook=http://h/"][..], "one decides"),
        (&["--auth", "--jwks-file=k"], "one decides"),
        (&["--auth-webhook=http://h/", "--jwks-file=k"], "one decides"),
        (&["--jwt-issuer=me"], "needs --jwks-file"),
        (&["--auth-webhook-secret=hunter2"], "needs --auth-webhook too"),
        (&["--auth-webhook=ftp://h/"], "http:// or https://"),
        (&["--auth-webhook=http://u:hunter2@h/"], "no user or password"),
        (
            &["--auth-webhook=http://h/", "--auth-webhook-timeout=0"],
            "from 1 to 20",
        ),
    ] {
        let Err(Stop::Errors(errors)) = read(wrong) else {
            panic!("{wrong:?} accepted");
        };
        let text = Stop::Errors(errors.clone()).to_string();
        assert!(
            errors.len() == 1 && text.contains(says) && !text.contains("hunter2"),
            "{text}"
        );
    }
}

#[test]
fn files_that_cannot_be_used_are_named_with_the_rest() {
    let bad = [
        "--cert-file=/nowhere/cert.pem",
        "--key-file=/dev/null",
        "--jwks-file=/nowhere/keys.json",
        "--port=none",
    ];
    let Err(Stop::Errors(errors)) = read(&bad) else {
        panic!("accepted");
    };
    let text = Stop::Errors(errors.clone()).to_string();
    assert_eq!(errors.len(), bad.len(), "{text}");
    for flag in bad {
        let (flag, file) = flag.split_once('=').unwrap();
        assert!(text.contains(flag) && text.contains(file), "{text}");
    }
}

#[test]
fn a_domain_however_it_is_written() {
    for text in [
        "example.org",
        "https://Example.org/",
        "*.example.org",
        ".example.org",
    ] {
        assert_eq!(
            read(&["--cors-domain", text]).unwrap().cors_domain.as_deref(),
            Some("example.org")
        );
    }
}

#[test]
fn secrets_are_not_shown() {
    let config = read(&["--turn=t:1", "--turn-username=u", "--turn-password=hunter2"]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}
