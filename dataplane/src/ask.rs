//! How a data plane is asked to end.

use std::io;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

/// What a data plane may be asked for from outside of its control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Take nobody new, and end with the last session, or when the drain timeout is over.
    Drain,
    /// Close every session, and end.
    End,
}

/// The first SIGTERM drains; a second one, or SIGINT, ends. Must be called within an executor.
pub(crate) fn by_signals() -> io::Result<mpsc::Receiver<Ask>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    // After the second nobody listens any more.
    let (asks, asked) = mpsc::channel(2);
    tokio::spawn(async move {
        let first = tokio::select! {
            _ = terminate.recv() => {
                tracing::info!("SIGTERM: draining; a second one ends at once");
                Ask::Drain
            }
            _ = interrupt.recv() => {
                tracing::info!("SIGINT");
                Ask::End
            }
        };
        if asks.send(first).await.is_err() || first == Ask::End {
            return;
        }
        tokio::select! {
            _ = terminate.recv() => tracing::info!("a second SIGTERM"),
            _ = interrupt.recv() => tracing::info!("SIGINT"),
        }
        // The end may have come before.
        let _ = asks.send(Ask::End).await;
    });
    Ok(asked)
}
