//! A NATS server of the test's own, and a client that looks at what passes.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Instant,
};

use crate::PATIENCE;

pub(crate) struct Nats {
    directory: PathBuf,
    config: String,
    pub(crate) port: u16,
    monitor: u16,
    child: Option<Child>,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// By `PATH`, and where Debian puts it.
fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let program = places
        .map(|place| place.join("nats-server"))
        .find(|program| program.is_file());
    program.expect("nats-server is installed (deploy/test system)")
}

impl Nats {
    /// A place for a server, which doesn't run yet. `config` in NATS's own words.
    pub(crate) fn absent(test: &str, config: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("weever-nats-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Self {
            directory,
            config: config.to_owned(),
            port: free_port(),
            monitor: free_port(),
            child: None,
        }
    }

    pub(crate) fn running(test: &str, config: &str) -> Self {
        let mut nats = Self::absent(test, config);
        nats.start();
        nats
    }

    pub(crate) fn start(&mut self) {
        let file = self.directory.join("nats.conf");
        let Self {
            port,
            monitor,
            config,
            ..
        } = self;
        let text = format!("listen: \"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:{monitor}\"\n{config}\n");
        std::fs::write(&file, text).unwrap();
        let log = std::fs::File::create(self.directory.join("log")).unwrap();
        let mut command = Command::new(program());
        command.arg("--config").arg(&file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", *port)).is_err()
            || TcpStream::connect(("127.0.0.1", *monitor)).is_err()
        {
            assert!(
                Instant::now() < deadline,
                "NATS doesn't start: {}",
                std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
            );
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGSTOP and SIGCONT: it is there and does nothing.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        let done = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(done.success());
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// What its monitoring says.
    pub(crate) fn monitored(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.monitor)).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    /// A number out of `/varz`.
    pub(crate) fn figure(&self, name: &str) -> u64 {
        let text = self.monitored("/varz");
        let at = text
            .find(&format!("\"{name}\":"))
            .unwrap_or_else(|| panic!("no {name} in {text}"));
        let digits = text[at + name.len() + 3..].trim_start();
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap();
        digits[..end].parse().unwrap()
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
