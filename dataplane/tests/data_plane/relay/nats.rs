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

/// A client by the protocol's letter (docs.nats.io, "Client Protocol").
pub(crate) struct Client(TcpStream);

impl Client {
    pub(crate) fn of(nats: &Nats) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", nats.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Self(stream);
        client.0.write_all(b"CONNECT {\"verbose\":false}\r\n").unwrap();
        client
    }

    pub(crate) fn publish(&mut self, subject: &str, bytes: &[u8]) {
        write!(self.0, "PUB {subject} {}\r\n", bytes.len()).unwrap();
        self.0.write_all(bytes).unwrap();
        self.0.write_all(b"\r\n").unwrap();
    }

    pub(crate) fn subscribe(&mut self, subject: &str) {
        write!(self.0, "SUB {subject} {}\r\n", subject.len()).unwrap();
    }

    /// Until the server has taken everything. What it says meanwhile is lost.
    pub(crate) fn flush(&mut self) {
        self.until_pong();
    }

    fn until_pong(&mut self) -> Vec<u8> {
        self.0.write_all(b"PING\r\n").unwrap();
        let (mut all, mut buffer) = (Vec::new(), [0; 65_536]);
        while !all.ends_with(b"PONG\r\n") {
            let len = self.0.read(&mut buffer).unwrap();
            assert!(len > 0, "NATS hung up: {}", String::from_utf8_lossy(&all));
            all.extend_from_slice(&buffer[..len]);
        }
        all
    }

    /// Subject and payload of all that came.
    pub(crate) fn heard(&mut self) -> Vec<(String, Vec<u8>)> {
        let all = self.until_pong();
        let (mut rest, mut heard) = (all.as_slice(), Vec::new());
        while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
            let line = String::from_utf8_lossy(&rest[..end]).into_owned();
            rest = &rest[end + 2..];
            if let Some(line) = line.strip_prefix("MSG ") {
                let words: Vec<&str> = line.split(' ').collect();
                let len: usize = words.last().unwrap().parse().unwrap();
                heard.push((words[0].to_owned(), rest[..len].to_vec()));
                rest = &rest[len + 2..];
            }
        }
        heard
    }
}
