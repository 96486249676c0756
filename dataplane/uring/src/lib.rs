//! The kernel's side of the data plane: UDP sockets that carry media, through io_uring or plain system calls.
//!
//! [`bind()`] makes the sockets (any thread), [`open`] puts one of two backends on them (the thread that will use it).
//! Both backends hand datagrams to a callback, coalesced receive trains (`UDP_GRO`) already split, and send a slot of
//! up to 64 KiB as one operation that the kernel cuts into datagrams (`UDP_SEGMENT`). Nothing blocks: what the kernel
//! won't take is dropped and counted.
//!
//! This is the only crate of the workspace with `unsafe` code; each file that has any says so at its top.

mod address;
mod bind;
mod buffer_ring;
mod control;
mod counters;
mod envelope;
mod media;
mod region;
mod ring_inbound;
mod ring_outbound;
mod syscall_inbound;
mod syscall_outbound;
mod thread;
mod watch;

pub use bind::{BindError, BoundSockets, bind};
pub use counters::Counters;
pub use media::{
    AnyInbound, AnyOutbound, Inbound, Io, IoChoice, MAX_SEGMENTS, MediaSocket, OpenError, Outbound, Received,
    SLOT_LEN, SocketIndex, open,
};
pub use thread::{available_cpus, pin_to_cpu, thread_cpu_ns};
pub use watch::watch;
