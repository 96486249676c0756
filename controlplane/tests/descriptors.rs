//! A flood at the public port and a small limit of open files: probes are answered all the same.
#![allow(clippy::unwrap_used, clippy::panic)] // all of this is test code

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// For anything that a busy machine may take its time for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Soft and hard.
const LIMIT: usize = 128;

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !look() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        sleep(Duration::from_millis(20));
    }
}

fn is_alive(private: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", private))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /liveness HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

#[test]
fn a_flood_leaves_descriptors_for_probes_and_data_planes() {
    let (port, private) = (free_port(), free_port());
    let socket = std::env::temp_dir().join(format!("weever-descriptors-{}.sock", std::process::id()));
    let process = Command::new("sh")
        .args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &LIMIT.to_string()])
        .arg(env!("CARGO_BIN_EXE_weever-controlplane"))
        .args(["--host=127.0.0.1", "--log=off"])
        .arg(format!("--port={port}"))
        .arg(format!("--private-port={private}"))
        .arg(format!("--control-socket={}", socket.display()))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let process = Process(process);
    eventually("the start", || is_alive(private));

    let descriptors = || {
        fs::read_dir(format!("/proc/{}/fd", process.0.id()))
            .unwrap()
            .count()
    };
    // More than all of its descriptors; the kernel holds those that the process does not take.
    let flood: Vec<TcpStream> = (0..LIMIT)
        .map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap())
        .collect();
    eventually("the flood", || descriptors() >= LIMIT / 2);
    assert!(is_alive(private));
    // And more silent data planes than that: they are refused one after the other, and probes go on.
    let silent: Vec<UnixStream> = (0..LIMIT)
        .map(|_| UnixStream::connect(&socket).unwrap())
        .collect();
    for _ in 0..20 {
        assert!(is_alive(private));
    }
    let mut mute = &silent[0];
    mute.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(
        mute.read(&mut [0]).unwrap(),
        0,
        "it was waited for, and then refused"
    );
    assert!(descriptors() < LIMIT, "there are descriptors left");
    drop((flood, silent));
    let _ = fs::remove_file(&socket);
}
