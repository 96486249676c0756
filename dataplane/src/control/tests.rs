use futures::{SinkExt, StreamExt};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::codec::Framed;
use weever_proto::{
    ControlCodec, DtlsRole, Fingerprint, IceCredentials, Role, SessionSnapshot, SessionSpec, TrackId,
    VERSION, Version, WorkerHello,
};

use super::*;

fn text(session: u64, text: &str) -> Event {
    said(session, ChannelLabel::Control, text)
}

fn said(session: u64, channel: ChannelLabel, text: &str) -> Event {
    Event::Text {
        session: SessionId(session),
        channel,
        text: text.to_owned(),
    }
}

#[test]
fn texts_wait_in_order_for_sessions_that_still_are() {
    let mut texts = Texts::default();
    texts.keep(text(1, "a"));
    texts.keep(text(2, "b"));
    texts.keep(Event::ChannelOpen {
        session: SessionId(1),
        channel: ChannelLabel::Control,
    });
    texts.keep(text(1, "c"));
    assert_eq!(
        texts.take(|session| session == SessionId(1)),
        [text(1, "a"), text(1, "c")]
    );
    assert_eq!(texts.take(|_| true), []);
}

#[test]
fn the_oldest_texts_go_when_there_are_too_many_or_they_are_too_long() {
    let mut texts = Texts::default();
    for number in 0..TEXTS + 3 {
        texts.keep(text(1, &number.to_string()));
    }
    assert_eq!(texts.dropped, 3);
    let kept = texts.take(|_| true);
    assert_eq!((kept.len(), &kept[0]), (TEXTS, &text(1, "3")));
    let large = "x".repeat(TEXT_BYTES / 2);
    for _ in 0..3 {
        texts.keep(text(1, &large));
    }
    assert_eq!(
        (texts.waiting.len(), texts.bytes, texts.dropped),
        (2, TEXT_BYTES, 1)
    );
}

#[test]
fn chat_waits_too_but_pushes_nothing_out() {
    let mut texts = Texts::default();
    texts.keep(text(1, "SDP_ANSWER"));
    for number in 0..TEXTS {
        texts.keep(said(1, ChannelLabel::Chat, &number.to_string()));
    }
    texts.keep(text(1, "STOP"));
    assert_eq!(texts.dropped, u64::try_from(TEXTS - CHATS).unwrap());
    let kept = texts.take(|_| true);
    assert_eq!(kept.len(), CHATS + 2);
    assert_eq!(kept[0], text(1, "SDP_ANSWER"));
    assert_eq!(kept[1], said(1, ChannelLabel::Chat, "0"));
    assert_eq!(kept[CHATS + 1], text(1, "STOP"));
    texts.keep(said(1, ChannelLabel::Chat, "again"));
    assert_eq!(texts.take(|_| true).len(), 1, "there is room again");
}

#[test]
fn statistics_are_complete_or_not_sent() {
    let of = |worker| WorkerStats {
        worker: WorkerId(worker),
        sessions: 0,
        tracks: 0,
        routes: 0,
        packets_in: 0,
        bytes_in: 0,
        packets_out: 0,
        bytes_out: 0,
        sends: 0,
        rtx_packets: 0,
        nacked_packets: 0,
        keyframe_requests: 0,
        refused: 3,
        load_permille: 620,
        egress_window_us: 2750,
        delays: vec![9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 1],
        delay_sum_us: 1_230_000,
        cpu_ns: 0,
        drops: Vec::new(),
        io: "uring".into(),
    };
    let mut stats = Stats::default();
    stats.expect([WorkerId(0), WorkerId(1)].into_iter());
    assert_eq!(stats.take(of(1), Vec::new(), None), None);
    let Some(FromShard::Stats {
        workers,
        tracks,
        resident_memory,
        relay: None,
    }) = stats.take(of(0), Vec::new(), None)
    else {
        panic!("both have reported");
    };
    assert_eq!((workers, tracks), (vec![of(0), of(1)], Vec::new()));
    assert!(resident_memory > 1 << 20, "{resident_memory} bytes");
    assert_eq!(stats.take(of(0), Vec::new(), None), None, "nobody asked");
}

/// A control thread whose workers are the test.
struct Stage {
    directory: std::path::PathBuf,
    listener: UnixListener,
    mailboxes: Arc<[Mailbox]>,
    reports: Arc<Reports>,
    lives: mpsc::UnboundedSender<(WorkerId, Result<Option<Io>, WorkerError>)>,
    ended: JoinHandle<Result<(), RunError>>,
    _asks: mpsc::Sender<Ask>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.ended.abort();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

const WORKERS: [WorkerId; 2] = [WorkerId(0), WorkerId(1)];
const PATIENCE_OF_TESTS: Duration = Duration::from_secs(30);

impl Stage {
    fn set(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("weever-stage-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let socket = directory.join("control.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let mailboxes: Arc<[Mailbox]> = WORKERS.iter().map(|_| Mailbox::new()).collect();
        let reports = Arc::new(Reports::new());
        let (lives, ends) = mpsc::unbounded_channel();
        let (asks, asked) = mpsc::channel(1);
        let control = Control {
            hello: hello(),
            socket,
            mailboxes: Arc::clone(&mailboxes),
            relay: None,
            reports: Arc::clone(&reports),
            lives: ends,
            running: WORKERS.len(),
            sessions: Sessions::new(WORKERS.len(), 100),
            texts: Texts::default(),
            stats: Stats::default(),
            drain_timeout: Duration::from_secs(60),
            drained_by: None,
            redial: crate::link::Redial::default(),
            accepted: Instant::now(),
        };
        let ended = tokio::spawn(control.run(asked));
        Self {
            directory,
            listener,
            mailboxes,
            reports,
            lives,
            ended,
            _asks: asks,
        }
    }

    /// Takes the connection up to the point where the workers have been asked for their sessions.
    async fn welcome(&self) -> Framed<UnixStream, ControlCodec> {
        self.welcome_as(VERSION).await
    }

    async fn welcome_as(&self, version: Version) -> Framed<UnixStream, ControlCodec> {
        let (stream, _) = timeout(PATIENCE_OF_TESTS, self.listener.accept())
            .await
            .unwrap()
            .unwrap();
        let mut talk = Framed::new(stream, ControlCodec);
        assert!(matches!(talk.next().await, Some(Ok(FromShard::Hello(_)))));
        talk.send(ToShard::Welcome(version)).await.unwrap();
        for mailbox in self.mailboxes.iter() {
            // Statistics may have been asked for before, and be all that is there yet.
            loop {
                match mailbox.next_order() {
                    Some(Order::Snapshot) => break,
                    Some(_) => {}
                    None => timeout(PATIENCE_OF_TESTS, mailbox.filled()).await.unwrap(),
                }
            }
        }
        talk
    }
}

fn hello() -> Hello {
    Hello {
        version: VERSION,
        name: "stage".into(),
        incarnation: 1,
        software: "0".into(),
        fingerprint: Fingerprint {
            hash: "sha-256".into(),
            value: vec![0; 32],
        },
        workers: WORKERS
            .map(|id| WorkerHello {
                id,
                candidates: vec!["127.0.0.1:9".parse().unwrap()],
            })
            .into(),
        max_sessions: 100,
        draining: false,
        relay: false,
    }
}

fn snapshot(session: u64) -> SessionSnapshot {
    let ice = IceCredentials {
        ufrag: "ufrag".into(),
        password: "p".repeat(24),
    };
    SessionSnapshot {
        spec: SessionSpec {
            session: SessionId(session),
            worker: WorkerId(0),
            role: Role::Publisher,
            local: ice.clone(),
            remote: ice,
            fingerprint: Fingerprint {
                hash: "sha-256".into(),
                value: vec![0; 32],
            },
            dtls_role: DtlsRole::Server,
            data_channel: true,
            receive: Vec::new(),
            extensions: Vec::new(),
            state: Vec::new(),
        },
        routes: Vec::new(),
        connected: true,
        silent: false,
        channel_open: true,
        chat_open: false,
        live_tracks: Vec::new(),
        age_ms: 5,
    }
}

async fn next(talk: &mut Framed<UnixStream, ControlCodec>) -> FromShard {
    timeout(PATIENCE_OF_TESTS, talk.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap()
}

/// The order is: sessions, the end of the snapshot, what peers had said before, then the news since; and nothing twice.
#[tokio::test]
async fn news_come_after_the_snapshot_and_old_news_do_not() {
    let stage = Stage::set("news");
    let live = |track| Event::TrackLive {
        session: SessionId(1),
        track: TrackId(track),
    };
    stage
        .reports
        .report(WorkerId(0), Report::Event(text(1, "said before the connection")));
    let mut talk = stage.welcome().await;
    stage.reports.report(WorkerId(0), Report::Event(live(1)));
    stage
        .reports
        .report(WorkerId(0), Report::Event(text(1, "said before the snapshot")));
    stage
        .reports
        .report(WorkerId(0), Report::Event(text(2, "said by one that has gone")));
    stage
        .reports
        .report(WorkerId(0), Report::Snapshot(vec![snapshot(1)]));
    stage.reports.report(WorkerId(0), Report::Event(live(2)));
    assert_eq!(next(&mut talk).await, FromShard::Session(Box::new(snapshot(1))));
    stage.reports.report(WorkerId(1), Report::Event(live(3)));
    stage.reports.report(WorkerId(1), Report::Snapshot(Vec::new()));
    stage.reports.report(WorkerId(1), Report::Event(live(4)));
    assert_eq!(next(&mut talk).await, FromShard::SnapshotEnd(1));
    let news = [
        text(1, "said before the connection"),
        text(1, "said before the snapshot"),
        live(2),
        live(4),
    ];
    for event in news {
        assert_eq!(next(&mut talk).await, FromShard::Event(event));
    }
}

#[tokio::test]
async fn an_older_control_plane_is_not_told_what_it_cannot_know() {
    let stage = Stage::set("older");
    let chat = said(1, ChannelLabel::Chat, "good evening");
    let closed = Event::ChannelClosed {
        session: SessionId(1),
        channel: ChannelLabel::Control,
    };
    for minor in [1, VERSION.minor, VERSION.minor + 1] {
        let mut talk = stage.welcome_as(Version { minor, ..VERSION }).await;
        stage
            .reports
            .report(WorkerId(0), Report::Snapshot(vec![snapshot(1)]));
        stage.reports.report(WorkerId(1), Report::Snapshot(Vec::new()));
        for event in [chat.clone(), closed.clone(), text(1, "STOP")] {
            stage.reports.report(WorkerId(0), Report::Event(event));
        }
        let mut told = Vec::new();
        while told.last() != Some(&text(1, "STOP")) {
            if let FromShard::Event(event) = next(&mut talk).await {
                told.push(event);
            }
        }
        let new = if minor >= 2 { 2 } else { 0 };
        assert_eq!(told[..new], [chat.clone(), closed.clone()][..new]);
        assert_eq!(told.len(), new + 1, "to minor version {minor}");
    }
}

#[tokio::test]
async fn a_lost_report_starts_over_with_a_snapshot() {
    let stage = Stage::set("lost");
    let mut talk = stage.welcome().await;
    for worker in WORKERS {
        stage.reports.report(worker, Report::Snapshot(Vec::new()));
    }
    assert_eq!(next(&mut talk).await, FromShard::SnapshotEnd(0));
    // No await in here: the control thread can't keep up.
    for session in 0..20_000 {
        stage.reports.report(
            WorkerId(0),
            Report::Event(Event::ChannelOpen {
                session: SessionId(session),
                channel: ChannelLabel::Control,
            }),
        );
    }
    let mut events = 0;
    while let Some(Ok(frame)) = timeout(PATIENCE_OF_TESTS, talk.next()).await.unwrap() {
        assert!(matches!(frame, FromShard::Event(_)));
        events += 1;
    }
    assert!(events < 20_000);
    stage.welcome().await;
}

#[tokio::test]
async fn a_dead_worker_ends_the_process() {
    let mut stage = Stage::set("dead");
    stage
        .lives
        .send((WorkerId(1), Err(WorkerError::Panicked)))
        .unwrap();
    let ended = timeout(PATIENCE_OF_TESTS, &mut stage.ended)
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(
        ended,
        Err(RunError::Worker {
            worker: WorkerId(1),
            source: WorkerError::Panicked
        })
    ));
    // The others were told to stop.
    assert!(matches!(stage.mailboxes[0].next_order(), Some(Order::Stop)));
}

#[tokio::test]
async fn a_worker_that_takes_no_orders_ends_the_process() {
    let mut stage = Stage::set("stuck");
    while stage.mailboxes[1].order(Order::Stats).is_ok() {}
    let (stream, _) = stage.listener.accept().await.unwrap();
    let mut talk = Framed::new(stream, ControlCodec);
    assert!(matches!(next(&mut talk).await, FromShard::Hello(_)));
    talk.send(ToShard::Welcome(VERSION)).await.unwrap();
    let ended = timeout(PATIENCE_OF_TESTS, &mut stage.ended)
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(ended, Err(RunError::Stuck { worker: WorkerId(1) })));
}
