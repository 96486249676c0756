//! `weever` as an operator meets it: a real executable with both planes, on loopback.
#![allow(clippy::unwrap_used, clippy::panic)] // all of this is test code

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// For anything that a busy machine may take its time for.
const PATIENCE: Duration = Duration::from_secs(30);

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

/// The parent of a process that there is, not counting one that only waits to be reaped.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    (state != "Z" && state != "X")
        .then(|| fields.next()?.parse().ok())
        .flatten()
}

fn signal(name: &str, pid: u32) {
    let status = Command::new("kill")
        .args([name, &pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

struct Weever {
    process: Child,
    port: u16,
    private: u16,
    home: std::path::PathBuf,
}

impl Weever {
    fn start(name: &str) -> Self {
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&home).unwrap();
        let (port, private) = (free_port(), free_port());
        let mut process = Command::new(env!("CARGO_BIN_EXE_weever"))
            .env_clear()
            .env("TMPDIR", &home)
            .env("PORT", port.to_string())
            .args([
                "--host=127.0.0.1",
                "--udp-host=127.0.0.1",
                "--udp-port=0",
                "--workers=1",
            ])
            .arg(format!("--private-port={private}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let weever = Self {
            process,
            port,
            private,
            home,
        };
        // Bounded: it ends, and with it this pipe, if it can't start.
        assert!(
            lines
                .by_ref()
                .map_while(Result::ok)
                .any(|line| line.contains("Weever is up"))
        );
        let open = lines
            .by_ref()
            .map_while(Result::ok)
            .find(|line| line.contains("Open "));
        assert!(open.unwrap().contains(&format!("http://localhost:{port}/")));
        weever
    }

    fn plane(&self, subcommand: &str) -> Option<u32> {
        fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|pid| parent_of(*pid) == Some(self.process.id()))
            .find(|pid| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                line.split(|byte| *byte == 0)
                    .any(|word| word == subcommand.as_bytes())
            })
    }

    fn both(&self) -> [u32; 2] {
        ["controlplane", "dataplane"].map(|name| eventually(name, || self.plane(name)))
    }

    fn ready(&self) {
        eventually("readiness", || {
            get(self.private, "/readiness").filter(|(status, _)| *status == 200)
        });
    }

    fn ended(&mut self) -> ExitStatus {
        eventually("the end", || self.process.try_wait().unwrap())
    }

    fn socket_dirs(&self) -> usize {
        fs::read_dir(&self.home).unwrap().count()
    }
}

impl Drop for Weever {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        // These follow their parent; one that does not has been reported by its test.
        let _ = fs::remove_dir_all(&self.home);
    }
}

#[test]
fn serves_and_ends_on_sigterm_with_all_children() {
    let mut weever = Weever::start("ends");
    assert_eq!(get(weever.private, "/liveness"), Some((200, "OK".to_owned())));
    assert_eq!(get(weever.port, "/").unwrap().0, 200);
    assert_eq!(weever.socket_dirs(), 1);
    let children = weever.both();
    signal("-TERM", weever.process.id());
    assert_eq!(weever.ended().code(), Some(0));
    assert_eq!(children.map(parent_of), [None, None]);
    assert_eq!(weever.socket_dirs(), 0);
}

#[test]
fn a_killed_plane_is_started_again() {
    let weever = Weever::start("restarts");
    for plane in ["dataplane", "controlplane", "dataplane"] {
        let before = weever.both();
        let victim = before[usize::from(plane == "dataplane")];
        signal("-KILL", victim);
        let next = eventually("the restart", || weever.plane(plane).filter(|pid| *pid != victim));
        assert!(weever.both().contains(&next));
        weever.ready();
        let survivor = before[usize::from(plane != "dataplane")];
        assert!(parent_of(survivor).is_some(), "the other plane did not live on");
    }
}

#[test]
fn a_control_plane_that_ends_well_ends_everything_well() {
    let mut weever = Weever::start("drained");
    let [control, data] = weever.both();
    signal("-TERM", control);
    assert_eq!(weever.ended().code(), Some(0));
    assert_eq!(parent_of(data), None);
}

#[test]
fn children_end_when_their_parent_is_killed() {
    let mut weever = Weever::start("orphans");
    let children = weever.both();
    signal("-KILL", weever.process.id());
    weever.ended();
    for child in children {
        eventually("the end of an orphan", || {
            parent_of(child).is_none().then_some(())
        });
    }
}

fn fails(args: &[&str], code: i32) -> String {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let output = Command::new(env!("CARGO_BIN_EXE_weever"))
        .env_clear()
        .env("TMPDIR", home)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn mistakes_are_named_and_nothing_is_started() {
    let message = fails(&["--prot=1", "--workers=many", "--port=none"], 2);
    for key in ["--prot", "--workers \"many\"", "--port \"none\""] {
        assert!(message.contains(key), "{key}: {message}");
    }
    assert!(fails(&["dataplain"], 1).contains("dataplain"));
    assert!(fails(&["dataplane", "--port=1"], 2).contains("weever dataplane: --port"));
    assert!(fails(&["controlplane", "--udp-port=1"], 2).contains("weever controlplane: --udp-port"));
}

#[test]
fn a_taken_port_or_a_plane_that_cannot_start_ends_it_with_the_reason() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (free, private) = (
        format!("--port={}", free_port()),
        format!("--private-port={}", free_port()),
    );
    let message = fails(&["--host=127.0.0.1", &format!("--port={port}"), &private], 1);
    assert!(message.contains(&format!("127.0.0.1:{port}")), "{message}");
    // No address of this machine (RFC 5737).
    let message = fails(&["--host=127.0.0.1", &free, &private, "--udp-host=192.0.2.1"], 1);
    assert!(
        message.contains("192.0.2.1") && message.contains("data plane can't start"),
        "{message}"
    );
}
