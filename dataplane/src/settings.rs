//! What a data plane is told at its start.

use std::{net::IpAddr, num::NonZeroUsize, path::PathBuf};

use weever_uring::IoChoice;

/// All settings of a data plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The control plane's Unix socket.
    pub control_socket: PathBuf,
    /// Unique among the data planes of one control plane; 1 to 128 bytes.
    pub name: String,
    /// Worker threads; `None`: one for each core that the process may use.
    pub workers: Option<NonZeroUsize>,
    /// UDP port of worker 0; the others count up from it. 0: any free ones.
    pub udp_port: u16,
    /// Addresses to listen on; empty: found by the machine's routes.
    pub udp_host: Vec<IpAddr>,
    /// Addresses that clients reach through a NAT, offered first.
    pub public_ip: Vec<IpAddr>,
    /// The I/O backend.
    pub io: IoChoice,
    /// Sessions in all; more are refused.
    pub max_sessions: u32,
}
