//! The data plane: worker threads that forward media, and a control thread that keeps them in touch with the control
//! plane.
//!
//! [`main()`] is the whole program, [`run`] the same with settings and a log that there are already, [`serve`] inside of an
//! executor that there is, too.

mod addresses;
mod ask;
mod control;
mod link;
mod mailbox;
mod program;
mod relay;
mod sessions;
mod settings;
mod start;
mod worker;

pub use ask::Ask;
pub use program::{check, main};
pub use relay::settings::{Login, RelaySettings};
pub use settings::{Invocation, PROGRAM, SETTINGS, Settings};
pub use start::{RunError, serve};
pub use worker::WorkerError;

/// Serves until SIGINT, or until drained: SIGTERM drains as the control plane's command does, but no longer than
/// `drain_timeout`; a second SIGTERM ends at once.
///
/// # Errors
/// It could not start, or a worker died: the process should end, and be started again.
pub fn run(settings: &Settings) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    runtime.block_on(async {
        let asked = ask::by_signals().map_err(RunError::Runtime)?;
        serve(settings, asked).await
    })
}
