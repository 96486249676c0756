//! The data plane under test.

use std::{path::Path, thread::JoinHandle, time::Duration};

use tokio::sync::mpsc;
use weever_dataplane::{Ask, RunError, Settings, serve};
use weever_uring::IoChoice;

pub(crate) struct DataPlane {
    asks: Option<mpsc::Sender<Ask>>,
    thread: Option<JoinHandle<Result<(), RunError>>>,
}

pub(crate) fn settings(control_socket: &Path) -> Settings {
    Settings {
        control_socket: control_socket.to_owned(),
        name: "under-test".to_owned(),
        workers: 2.try_into().ok(),
        udp_port: 0,
        udp_host: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
        public_ip: Vec::new(),
        io: IoChoice::Auto,
        max_sessions: 1000,
        egress_window_max: Duration::from_millis(5),
        drain_timeout: Duration::from_secs(600),
        relay: None,
    }
}

pub(crate) fn with_io(settings: Settings, io: IoChoice) -> Settings {
    Settings { io, ..settings }
}

impl DataPlane {
    pub(crate) fn start(settings: Settings) -> Self {
        let (asks, asked) = mpsc::channel(2);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(serve(&settings, asked))
        });
        Self {
            asks: Some(asks),
            thread: Some(thread),
        }
    }

    pub(crate) fn ask(&self, ask: Ask) {
        self.asks.as_ref().unwrap().try_send(ask).unwrap();
    }

    /// How it ended. Blocks until it has.
    pub(crate) fn end(mut self) -> Result<(), RunError> {
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        drop(self.asks.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
