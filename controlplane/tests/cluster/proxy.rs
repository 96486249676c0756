//! A way to Redis that can be blocked, or slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Open,
    /// Bytes arrive so much later.
    Slow(Duration),
    /// Nothing arrives, and no connection is closed: as behind a wire that is cut.
    Cut,
}

pub struct Proxy {
    pub port: u16,
    way: watch::Sender<Way>,
    /// Bytes that were held up.
    pub held_up: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (way, held_up) = (watch::Sender::new(Way::Open), Arc::new(AtomicU64::new(0)));
        let mut tasks = JoinSet::new();
        let (receiver, counted) = (way.subscribe(), held_up.clone());
        tasks.spawn(async move {
            let mut pairs = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (way, counted) = (receiver.clone(), counted.clone());
                pairs.spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
                        return;
                    };
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::select! {
                        () = pass(from_client, to_server, way.clone(), counted.clone()) => {}
                        () = pass(from_server, to_client, way, counted) => {}
                    }
                });
            }
        });
        Self {
            port: own,
            way,
            held_up,
            _tasks: tasks,
        }
    }

    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut way: watch::Receiver<Way>,
    held_up: Arc<AtomicU64>,
) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let now = *way.borrow();
        if now != Way::Open {
            held_up.fetch_add(length as u64, Ordering::Relaxed);
        }
        if let Way::Slow(by) = now {
            tokio::time::sleep(by).await;
        }
        if way.wait_for(|way| *way != Way::Cut).await.is_err()
            || to.write_all(&buffer[..length]).await.is_err()
        {
            return;
        }
    }
}
