//! A Redis of a test's own: on a free port, in a directory of its own, ended with it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;

pub struct RedisServer {
    pub port: u16,
    child: Option<Child>,
    dir: PathBuf,
    args: Vec<String>,
    /// A sentinel has one.
    config: Option<PathBuf>,
}

pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl RedisServer {
    pub async fn start(args: &[&str]) -> Self {
        let save = ["--save", ""];
        let mut server = Self::prepare(&[&save, args].concat());
        server.go().await;
        server
    }

    /// A sentinel that watches it.
    pub async fn watched_by_sentinel(&self, name: &str) -> Self {
        let mut sentinel = Self::prepare(&[]);
        let config = sentinel.dir.join("sentinel.conf");
        std::fs::write(
            &config,
            format!("sentinel monitor {name} 127.0.0.1 {} 1\n", self.port),
        )
        .unwrap();
        sentinel.config = Some(config);
        sentinel.go().await;
        sentinel
    }

    fn prepare(args: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("weever-redis-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self {
            port: free_port(),
            child: None,
            dir,
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            config: None,
        }
    }

    /// Starts it, again too, with what it has on disk.
    pub async fn go(&mut self) {
        let mut command = Command::new("redis-server");
        if let Some(config) = &self.config {
            command.arg(config).arg("--sentinel");
        }
        let child = command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--dir", self.dir.to_str().unwrap()])
            .args(&self.args)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        self.child = Some(child);
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Runs a command in it.
    pub async fn run(&self, words: &[&str]) -> String {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let value: redis::Value = command.query_async(&mut connection).await.unwrap();
        format!("{value:?}")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
