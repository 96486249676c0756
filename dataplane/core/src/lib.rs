//! The forwarding core: everything that happens to a packet between two system calls.
//!
//! [`Worker`] owns the sessions, tracks and routes of one core. It knows no clock, no socket and no thread: callers hand
//! it datagrams, commands and the time, and take away what it wants sent, told and handed to its siblings. The same
//! worker therefore runs on io_uring, on plain system calls and in a simulated network.
//!
//! The contract, in the order of a loop turn:
//!
//! 1. [`Worker::handle_datagram`], [`Worker::handle_command`], [`Worker::handle_handover`], any number, in any order;
//! 2. [`Worker::handle_timeout`] when [`Worker::poll_timeout`] has come;
//! 3. [`Worker::flush`], which sends the bursts that have gathered;
//! 4. [`Worker::poll_event`] and [`Worker::poll_handover`] until both are empty;
//! 5. [`Worker::end_turn`], once the sends are with the kernel: from the time that turns take follows how long packets
//!    wait for others, and whom there is still room for.
//!
//! What is to be sent leaves through the caller's [`Egress`] during any of the first three.

#![forbid(unsafe_code)]

mod chat;
mod crypto;
mod delay;
mod demux;
mod drops;
mod egress;
mod feedback;
mod forward;
mod handover;
mod ice;
mod load;
mod packet;
#[doc(hidden)]
pub mod probe;
mod receive;
pub mod relay;
mod session;
mod srtp;
mod tap;
mod timer;
mod track;
mod transport;
pub mod wire;
mod worker;

pub use crypto::{Identity, IdentityError};
pub use drops::DropReason;
pub use egress::{Egress, MAX_SEGMENTS, Path, SLOT};
pub use handover::Handover;
pub use srtp::{KeyingMaterial, Protect, SrtpError, SrtpProfile, UnprotectRtcp};
pub use timer::TimerWheel;
pub use worker::{Worker, WorkerConfig};
