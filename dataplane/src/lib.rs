//! The data plane: worker threads that forward media, and a control thread that keeps them in touch with the control
//! plane.
//!
//! [`main()`] is the whole program, [`run`] the same with settings and a log that there are already, [`serve`] inside of an
//! executor that there is, too.

mod addresses;
mod control;
mod link;
mod mailbox;
mod program;
mod sessions;
mod settings;
mod start;
mod worker;

use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};

pub use program::{check, main};
pub use settings::{Invocation, PROGRAM, SETTINGS, Settings};
pub use start::{RunError, serve};
pub use worker::WorkerError;

/// Serves until SIGTERM or SIGINT, or until drained.
///
/// # Errors
/// It could not start, or a worker died: the process should end, and be started again.
pub fn run(settings: &Settings) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    runtime.block_on(async {
        let stop = asked_to_stop().map_err(RunError::Runtime)?;
        serve(settings, stop).await
    })
}

fn asked_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM"),
            _ = interrupt.recv() => tracing::info!("SIGINT"),
        }
    })
}
