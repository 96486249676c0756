//! The control plane's end of the socket, in the test's hands.

use std::path::PathBuf;

use futures::{SinkExt, StreamExt};
use tokio::{
    io::AsyncWriteExt,
    net::{UnixListener, UnixStream},
    time::timeout,
};
use tokio_util::codec::Framed;
use weever_proto::{
    Command, ControlCodec, DtlsRole, Event, Fingerprint, FromShard, Hello, IceCredentials, Role, SessionId,
    SessionSnapshot, SessionSpec, ToShard, VERSION, WorkerId,
};

use crate::PATIENCE;

pub(crate) struct ControlPlane {
    directory: PathBuf,
    listener: Option<UnixListener>,
}

impl ControlPlane {
    /// A place for the socket, which is not there yet.
    pub(crate) fn absent(test: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("weever-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Self {
            directory,
            listener: None,
        }
    }

    pub(crate) fn listening(test: &str) -> Self {
        let mut control = Self::absent(test);
        control.listen();
        control
    }

    pub(crate) fn listen(&mut self) {
        self.listener = Some(UnixListener::bind(self.socket()).unwrap());
    }

    /// As if killed.
    pub(crate) fn hang_up(&mut self) {
        self.listener = None;
        std::fs::remove_file(self.socket()).unwrap();
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("control.sock")
    }

    pub(crate) async fn accept(&self) -> Talk {
        let accepted = timeout(PATIENCE, self.listener.as_ref().unwrap().accept()).await;
        let (stream, _) = accepted.expect("the data plane dials").unwrap();
        Talk {
            framed: Framed::new(stream, ControlCodec),
        }
    }

    /// Accepts the data plane, takes its snapshot, and is ready for commands.
    pub(crate) async fn meet(&self) -> (Talk, Hello, Vec<SessionSnapshot>) {
        let mut talk = self.accept().await;
        let hello = talk.hello().await;
        talk.say(ToShard::Welcome(VERSION)).await;
        let snapshot = talk.snapshot().await;
        (talk, hello, snapshot)
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

pub(crate) struct Talk {
    framed: Framed<UnixStream, ControlCodec>,
}

impl Talk {
    pub(crate) async fn say(&mut self, frame: ToShard) {
        self.framed.send(frame).await.unwrap();
    }

    pub(crate) async fn command(&mut self, command: Command) {
        self.say(ToShard::Command(command)).await;
    }

    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        self.framed.get_mut().write_all(bytes).await.unwrap();
    }

    /// `None` when the data plane has closed the connection.
    pub(crate) async fn next(&mut self) -> Option<FromShard> {
        let frame = timeout(PATIENCE, self.framed.next()).await.expect("a frame");
        // A connection that is reset is as closed as any.
        frame?.ok()
    }

    pub(crate) async fn hello(&mut self) -> Hello {
        match self.next().await {
            Some(FromShard::Hello(hello)) => hello,
            other => panic!("no hello but {other:?}"),
        }
    }

    pub(crate) async fn snapshot(&mut self) -> Vec<SessionSnapshot> {
        let mut sessions = Vec::new();
        loop {
            match self.next().await {
                Some(FromShard::Session(session)) => sessions.push(*session),
                Some(FromShard::SnapshotEnd(count)) => {
                    assert_eq!(count as usize, sessions.len());
                    return sessions;
                }
                other => panic!("{other:?} within a snapshot"),
            }
        }
    }

    /// The next event; statistics are skipped, and how joins get on.
    pub(crate) async fn event(&mut self) -> Event {
        loop {
            match self.next().await {
                Some(FromShard::Stats { .. } | FromShard::Event(Event::JoinProgress { .. })) => {}
                Some(FromShard::Event(event)) => return event,
                other => panic!("no event but {other:?}"),
            }
        }
    }

    pub(crate) async fn hang_up(&mut self) {
        // The data plane may have been first.
        let _ = self.framed.get_mut().shutdown().await;
    }

    pub(crate) async fn is_closed(&mut self) {
        while self.next().await.is_some() {}
    }

    /// Makes a session and waits until it is ready.
    pub(crate) async fn create(&mut self, spec: &SessionSpec) {
        self.command(Command::CreateSession(Box::new(spec.clone()))).await;
        assert_eq!(
            self.event().await,
            Event::SessionReady {
                session: spec.session
            }
        );
    }
}

/// A subscriber that may connect or not.
pub(crate) fn spec(session: u64, worker: u16) -> SessionSpec {
    SessionSpec {
        session: SessionId(session),
        worker: WorkerId(worker),
        role: Role::Subscriber,
        local: IceCredentials {
            ufrag: format!("srv{session}"),
            password: format!("{session:0>24}"),
        },
        remote: IceCredentials {
            ufrag: "client".into(),
            password: "c".repeat(24),
        },
        fingerprint: Fingerprint {
            hash: "sha-256".into(),
            value: vec![7; 32],
        },
        dtls_role: DtlsRole::Server,
        data_channel: true,
        receive: Vec::new(),
        extensions: Vec::new(),
        state: session.to_be_bytes().to_vec(),
    }
}
