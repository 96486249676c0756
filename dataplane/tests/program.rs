//! The program as an operator meets it: signals, exit codes, messages.
#![allow(clippy::unwrap_used, clippy::panic)] // all of this is test code

use std::{
    io::{BufRead, BufReader},
    net::UdpSocket,
    process::{Child, Command, Output, Stdio},
};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weever-dataplane"));
    command.env_clear().args([
        "--control-socket=/nonexistent/control.sock",
        "--udp-host=127.0.0.1",
    ]);
    command.stderr(Stdio::piped());
    command
}

/// Ends the program even if the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ends_on(signal: &str) {
    let mut running = Running(program().args(["--udp-port=0", "--workers=2"]).spawn().unwrap());
    let mut log = BufReader::new(running.0.stderr.take().unwrap()).lines();
    let serving = log
        .by_ref()
        .map(Result::unwrap)
        .filter(|line| line.contains("worker serves"))
        .take(2);
    assert_eq!(serving.count(), 2);
    let killed = Command::new("kill")
        .args([signal, &running.0.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
}

#[test]
fn sigterm_ends_it_well() {
    ends_on("-TERM");
}

#[test]
fn sigint_ends_it_well() {
    ends_on("-INT");
}

fn fails(command: &mut Command, code: i32) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    assert_eq!(status.code(), Some(code));
    String::from_utf8(stderr).unwrap()
}

#[test]
fn bad_settings_are_named_all_at_once() {
    let message = fails(program().arg("--workers=many").env("IO", "dpdk"), 2);
    assert!(
        message.contains("--workers \"many\"") && message.contains("IO \"dpdk\""),
        "{message}"
    );
}

#[test]
fn a_bad_log_filter_is_a_bad_setting() {
    let message = fails(program().env("RUST_LOG", "weever=loud"), 2);
    assert!(message.contains("RUST_LOG \"weever=loud\""), "{message}");
}

#[test]
fn help_goes_to_standard_output() {
    let Output {
        status,
        stdout,
        stderr,
    } = program().arg("--help").output().unwrap();
    let help = String::from_utf8(stdout).unwrap();
    assert_eq!((status.code(), stderr.len()), (Some(0), 0));
    assert!(
        help.contains("--udp-port PORT") && help.contains("Examples"),
        "{help}"
    );
}

#[test]
fn a_taken_port_is_named() {
    let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let message = fails(
        program().args(["--workers=1", &format!("--udp-port={}", taken.port())]),
        1,
    );
    assert!(
        message.contains(&taken.to_string()) && message.contains("--udp-port"),
        "{message}"
    );
    drop(holder);
}
