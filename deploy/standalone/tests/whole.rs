//! `weever` as an operator meets it: a real executable with both planes, on loopback.
#![allow(clippy::unwrap_used, clippy::panic)] // all of this is test code

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::MetadataExt,
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

/// Status, headers, body.
fn request(port: u16, method: &str, path: &str, body: &str) -> Option<(u16, String, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/sdp\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let (headers, body) = answer.split_once("\r\n\r\n")?;
    Some((status, headers.to_ascii_lowercase(), body.to_owned()))
}

fn get(port: u16, path: &str) -> Option<(u16, String)> {
    request(port, "GET", path, "").map(|(status, _, body)| (status, body))
}

/// With the line ends that SDP has.
fn wire(sdp: &str) -> String {
    sdp.lines().map(|line| format!("{line}\r\n")).collect()
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

/// A publisher who never connects: for half a minute it is a session like any other.
const OFFER: &str = include_str!("../../../controlplane/tests/sdp/clients/simple-whip-client.sdp");

impl Weever {
    fn start(name: &str) -> Self {
        Self::start_with(name, &[])
    }

    fn start_with(name: &str, flags: &[&str]) -> Self {
        Self::start_program(Path::new(env!("CARGO_BIN_EXE_weever")), name, flags)
    }

    fn start_program(program: &Path, name: &str, flags: &[&str]) -> Self {
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&home).unwrap();
        let (port, private) = (free_port(), free_port());
        let mut process = Command::new(program)
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
            .args(flags)
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

    /// Publishes; the session's path.
    fn publish(&self, id: &str) -> String {
        let (status, headers, body) =
            request(self.port, "POST", &format!("/pub/room/{id}"), &wire(OFFER)).unwrap();
        assert_eq!(status, 201, "{body}");
        let location = headers.lines().find_map(|line| line.strip_prefix("location: "));
        location.unwrap().to_owned()
    }

    fn list(&self) -> Option<String> {
        let (_, list) = get(self.private, "/list/pub/room").filter(|(status, _)| *status == 200)?;
        Some(list)
    }

    fn is_busy(&self) {
        eventually("BUSY", || {
            get(self.private, "/readiness").filter(|answer| *answer == (503, "BUSY".to_owned()))
        });
    }

    /// The next process of a plane whose last one is known.
    fn next(&self, subcommand: &str, last: u32) -> u32 {
        eventually("the next process", || {
            self.plane(subcommand).filter(|pid| *pid != last)
        })
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
fn sigterm_drains() {
    let mut weever = Weever::start("drains");
    let children = weever.both();
    let session = weever.publish("alice");
    signal("-TERM", weever.process.id());
    weever.is_busy();
    let (status, headers, body) = request(weever.port, "POST", "/pub/room/bob", &wire(OFFER)).unwrap();
    assert_eq!(status, 503, "{body}");
    assert!(
        headers.contains("\nretry-after: ") && body.contains("drained"),
        "{headers} {body}"
    );
    assert_eq!(weever.list().unwrap(), "alice", "who is there stays");
    assert_eq!(weever.both(), children);
    assert_eq!(request(weever.port, "DELETE", &session, "").unwrap().0, 200);
    assert_eq!(weever.ended().code(), Some(0));
    assert_eq!(children.map(parent_of), [None, None]);
}

#[test]
fn a_second_sigterm_or_sigint_ends_it_with_sessions_left() {
    for second in ["-TERM", "-INT"] {
        let mut weever = Weever::start_with("impatient", &["--drain-timeout=600"]);
        let children = weever.both();
        weever.publish("alice");
        signal("-TERM", weever.process.id());
        weever.is_busy();
        signal(second, weever.process.id());
        assert_eq!(weever.ended().code(), Some(0));
        assert_eq!(children.map(parent_of), [None, None]);
    }
}

#[test]
fn a_drain_ends_with_its_timeout() {
    let mut weever = Weever::start_with("overdue", &["--drain-timeout=1"]);
    weever.publish("alice");
    signal("-TERM", weever.process.id());
    assert_eq!(weever.ended().code(), Some(0));
}

#[test]
fn a_drained_control_plane_ends_everything_well() {
    let mut weever = Weever::start("drained");
    let [_, data] = weever.both();
    assert_eq!(get(weever.private, "/preStop"), Some((200, "OK".to_owned())));
    assert_eq!(weever.ended().code(), Some(0));
    assert_eq!(parent_of(data), None);
}

#[test]
fn a_drain_survives_the_death_of_the_control_plane() {
    let mut weever = Weever::start_with("drains-on", &["--drain-timeout=600"]);
    let [control, data] = weever.both();
    let session = weever.publish("alice");
    signal("-TERM", weever.process.id());
    weever.is_busy();
    signal("-KILL", control);
    weever.next("controlplane", control);
    eventually("the session", || weever.list().filter(|list| list == "alice"));
    weever.is_busy();
    assert_eq!(weever.plane("dataplane"), Some(data));
    let refused = request(weever.port, "POST", "/pub/room/bob", &wire(OFFER)).unwrap();
    assert_eq!(refused.0, 503, "{refused:?}");
    assert_eq!(request(weever.port, "DELETE", &session, "").unwrap().0, 200);
    assert_eq!(weever.ended().code(), Some(0));
}

/// As an operator upgrades: another file in the program's place, and SIGTERM for the control plane.
#[test]
fn a_control_plane_that_was_told_to_end_is_followed_by_one_of_the_new_version() {
    let here = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let [program, update] =
        ["installed", "update"].map(|name| here.join(format!("weever-{name}-{}", std::process::id())));
    // Not written to, so that it can be run at once whatever else this process starts meanwhile.
    fs::hard_link(env!("CARGO_BIN_EXE_weever"), &program).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_weever"), &update).unwrap();
    let weever = Weever::start_program(&program, "upgrades", &[]);
    let [control, data] = weever.both();
    let session = weever.publish("alice");
    let new = fs::metadata(&update).unwrap().ino();
    fs::rename(&update, &program).unwrap();
    signal("-TERM", control);
    let next = weever.next("controlplane", control);
    // Between fork and exec it is still the old one.
    eventually("the new program", || {
        (fs::metadata(format!("/proc/{next}/exe")).ok()?.ino() == new).then_some(())
    });
    eventually("the session", || weever.list().filter(|list| list == "alice"));
    assert_eq!(weever.plane("dataplane"), Some(data));
    weever.ready();
    assert_eq!(request(weever.port, "DELETE", &session, "").unwrap().0, 200);
    weever.publish("alice");
    drop(weever);
    fs::remove_file(program).unwrap();
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
