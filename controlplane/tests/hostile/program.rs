//! The control plane as a process of its own, where its memory, its descriptors and its log are to be looked at.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use tokio::net::UnixStream;
use tokio_util::codec::Framed;
use weever_proto::{FromShard, ShardCodec, ToShard};

use crate::house::{Frames, hello, oblige, request};

/// For anything that a busy machine may take its time for.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Program {
    child: Child,
    dir: PathBuf,
    log: Arc<Mutex<String>>,
    pub public: SocketAddr,
    pub private: SocketAddr,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Program {
    /// Without a data plane. `name` is the test's.
    pub async fn start(name: &str, log: &str, flags: &[&str]) -> Self {
        let dir = std::env::temp_dir().join(format!("weever-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let mut child = Command::new(env!("CARGO_BIN_EXE_weever-controlplane"))
            .args(["--host=127.0.0.1", "--port=0", "--private-port=0"])
            .arg(format!("--control-socket={}", dir.join("control.sock").display()))
            // Where it listens is told in any case.
            .arg(format!("--log={log},weever_controlplane::start=info"))
            .args(flags)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        let said = Arc::new(Mutex::new(String::new()));
        let hear = said.clone();
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let mut said = hear.lock().unwrap();
                said.push_str(&line);
                said.push('\n');
            }
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut program = Self {
            child,
            dir,
            log: said,
            public: nowhere,
            private: nowhere,
        };
        program.public = program.told("public=").await;
        program.private = program.told("private=").await;
        program
    }

    /// With a data plane that does as it is told.
    pub async fn with_data_plane(name: &str, log: &str, flags: &[&str]) -> Self {
        let program = Self::start(name, log, flags).await;
        let mut frames = program.dial().await;
        let mut hello = hello("played");
        hello.max_sessions = 100_000;
        frames.send(FromShard::Hello(hello)).await.unwrap();
        assert!(matches!(frames.next().await, Some(Ok(ToShard::Welcome(_)))));
        frames.send(FromShard::SnapshotEnd(0)).await.unwrap();
        tokio::spawn(oblige(frames));
        let ready = async || {
            request(program.private, "GET", "/readiness", &[], "")
                .await
                .status
                == 200
        };
        let deadline = Instant::now() + PATIENCE;
        while !ready().await {
            assert!(Instant::now() < deadline, "it is not ready");
        }
        program
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("control.sock")
    }

    pub async fn dial(&self) -> Frames {
        Framed::new(UnixStream::connect(self.socket()).await.unwrap(), ShardCodec)
    }

    async fn told(&self, what: &str) -> SocketAddr {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            let address = log
                .split(what)
                .nth(1)
                .and_then(|rest| rest.split_whitespace().next());
            if let Some(address) = address {
                return address.parse().unwrap();
            }
            assert!(Instant::now() < deadline, "it did not start: {log}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// `VmRSS` of proc(5), bytes.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Open files and sockets.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .unwrap()
            .count()
    }

    /// CPU time so far: a busy machine is not its fault.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // proc_pid_stat(5): fields 14 and 15, in hundredths of a second; the name in field 2 may have spaces.
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .unwrap()
            .1
            .split_ascii_whitespace()
            .collect();
        let ticks: u64 = fields[11..13]
            .iter()
            .map(|field| field.parse::<u64>().unwrap())
            .sum();
        Duration::from_millis(ticks * 10)
    }
}
