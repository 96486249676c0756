//! A media socket's readiness in a tokio executor.
#![allow(unsafe_code)]

use std::{io, os::fd::OwnedFd};

use tokio::io::{Interest, unix::AsyncFd};

use crate::Inbound;

/// Registers the readiness of a receiving half with the executor of the calling thread. Clear it
/// (`AsyncFdReadyGuard::clear_ready`) before the [`Inbound::receive`] that it leads to.
///
/// # Errors
/// There are no descriptors left.
///
/// # Panics
/// Outside of an executor with I/O.
pub fn watch(inbound: &impl Inbound) -> io::Result<AsyncFd<OwnedFd>> {
    let readiness = inbound.readiness().try_clone_to_owned()?;
    // SAFETY: an `OwnedFd` is open for as long as it lives and always answers the same descriptor; `AsyncFd` owns it,
    // and only deregisters it before it drops it.
    Ok(unsafe { AsyncFd::register_with_interest(readiness, Interest::READABLE) }?)
}
