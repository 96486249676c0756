//! The data plane under test.

use std::{path::Path, thread::JoinHandle, time::Duration};

use tokio::sync::oneshot;
use weever_dataplane::{RunError, Settings, serve};
use weever_uring::IoChoice;

pub(crate) struct DataPlane {
    stop: Option<oneshot::Sender<()>>,
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
    }
}

pub(crate) fn with_io(settings: Settings, io: IoChoice) -> Settings {
    Settings { io, ..settings }
}

impl DataPlane {
    pub(crate) fn start(settings: Settings) -> Self {
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(serve(&settings, async { _ = stopped.await }))
        });
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(crate) fn ask_to_stop(&mut self) {
        _ = self.stop.take().unwrap().send(());
    }

    /// How it ended. Blocks until it has.
    pub(crate) fn end(mut self) -> Result<(), RunError> {
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
