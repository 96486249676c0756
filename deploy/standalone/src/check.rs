//! `weever check`: asks a running Weever of this machine how it is, where no HTTP client is at hand, as in a small image.

use std::{
    io::{Read, Write, stdout},
    net::{SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use weever_settings::Program;

use crate::settings::local;

/// For each step of the question and its answer.
const ANSWER: Duration = Duration::from_secs(2);
/// Nobody answers a probe with more.
const ANSWER_BYTES: u64 = 4096;

/// It reads the control plane's settings, so that it finds the private port that the environment or a file tells Weever.
pub(crate) const PROGRAM: Program<'_> = Program {
    name: "weever check",
    version: env!("CARGO_PKG_VERSION"),
    about: "Asks the Weever of this machine whether it is ready for newcomers (weever check, weever check readiness), or only \
            whether it lives (weever check liveness). Says what it answered; exit code 0 for OK, 1 for anything else. Settings \
            are Weever's own: of them only --private-host and --private-port matter.",
    examples: &[
        (
            "weever check",
            "Exit code 0 when newcomers are served, 1 in a drain.",
        ),
        ("weever check liveness --private-port 9444", "Of another port."),
    ],
    ..crate::settings::PROGRAM
};

pub(crate) fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    let (probe, args) = match args.split_first() {
        Some((word, rest)) if !word.starts_with('-') => (word.as_str(), rest),
        _ => ("readiness", args),
    };
    if !matches!(probe, "readiness" | "liveness") {
        bail!("{probe:?} is no probe: readiness or liveness");
    }
    let resolved = PROGRAM.from_process(args)?;
    let mut take = resolved.take();
    let private = local(SocketAddr::new(
        take.parse("private-host"),
        take.parse("private-port"),
    ));
    take.finish()?;
    let (is_ok, text) = ask(private, probe).with_context(|| format!("no answer at {private}"))?;
    writeln!(stdout(), "{text}")?;
    Ok(if is_ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Whether it answered 200, and its words.
fn ask(private: SocketAddr, probe: &str) -> anyhow::Result<(bool, String)> {
    let mut stream = TcpStream::connect_timeout(&private, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    write!(
        stream,
        "GET /{probe} HTTP/1.1\r\nHost: {private}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("that was no HTTP")?;
    Ok((head.starts_with("HTTP/1.1 200 "), body.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    /// What is said of a server that answers this.
    fn asked(answer: &'static str) -> anyhow::Result<(bool, String)> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let private = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let length = stream.read(&mut request).unwrap();
            assert!(request[..length].starts_with(b"GET /liveness HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let said = ask(private, "liveness");
        server.join().unwrap();
        said
    }

    #[test]
    fn only_200_is_well() {
        let ok = asked("HTTP/1.1 200 OK\r\n\r\nOK").unwrap();
        assert_eq!(ok, (true, "OK".to_owned()));
        let busy = asked("HTTP/1.1 503 Service Unavailable\r\n\r\nBUSY\n").unwrap();
        assert_eq!(busy, (false, "BUSY".to_owned()));
        assert!(asked("SSH-2.0\r\n").is_err());
    }

    #[test]
    fn what_is_no_probe_is_refused() {
        let error = run(&["metrics".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("readiness or liveness"), "{error}");
    }
}
