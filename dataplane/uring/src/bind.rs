//! UDP sockets with the options that media needs.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsRawFd, RawFd},
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Kernel buffer of each socket and direction, bytes. A burst of a few hundred viewers' packets waits here while the
/// worker is busy with another.
const SOCKET_BUFFER: usize = 8 * 1024 * 1024;
/// Addresses of one media socket: as many as a worker may offer candidates.
pub(crate) const MAX_SOCKETS: usize = 32;

/// Why sockets could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Nothing to listen on, or too much.
    #[error("{0} addresses to listen on, 1 to {MAX_SOCKETS} are possible")]
    Count(usize),
    /// The kernel would not make the socket.
    #[error("UDP socket for {address}: {source}")]
    Socket {
        /// The address that it was for.
        address: SocketAddr,
        /// The kernel's word.
        source: io::Error,
    },
    /// The address is taken or not ours.
    #[error("can't listen on UDP {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The kernel's word.
        source: io::Error,
    },
}

/// Sockets on which no backend works yet. May cross threads.
#[derive(Debug)]
pub struct BoundSockets {
    sockets: Vec<Socket>,
    addresses: Vec<SocketAddr>,
}

impl BoundSockets {
    /// The addresses, in the order given, with the ports that the kernel chose for 0.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub(crate) fn len(&self) -> usize {
        self.sockets.len()
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Socket> {
        self.sockets.get(index)
    }

    pub(crate) fn fds(&self) -> impl Iterator<Item = RawFd> {
        self.sockets.iter().map(AsRawFd::as_raw_fd)
    }
}

/// Binds one socket to each address. An address of IPv6 takes IPv6 only.
///
/// # Errors
/// The first address that can't be had, by name.
pub fn bind(addresses: &[SocketAddr]) -> Result<BoundSockets, BindError> {
    if addresses.is_empty() || addresses.len() > MAX_SOCKETS {
        return Err(BindError::Count(addresses.len()));
    }
    let mut bound = BoundSockets {
        sockets: Vec::new(),
        addresses: Vec::new(),
    };
    for &address in addresses {
        let socket = configure(address).map_err(|source| BindError::Socket { address, source })?;
        socket
            .bind(&SockAddr::from(address))
            .map_err(|source| BindError::Bind { address, source })?;
        let actual = socket
            .local_addr()
            .map_err(|source| BindError::Socket { address, source })?;
        bound.addresses.push(actual.as_socket().unwrap_or(address));
        bound.sockets.push(socket);
    }
    Ok(bound)
}

fn configure(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    sockopt::enlarge_buffers(&socket, SOCKET_BUFFER)?;
    sockopt::receive_trains(&socket)?;
    Ok(socket)
}

/// Socket options that the `socket2` crate doesn't know.
pub(crate) mod sockopt {
    #![allow(unsafe_code)]

    use std::{
        io,
        os::fd::{AsRawFd, BorrowedFd},
    };

    use socket2::Socket;

    fn set(socket: &Socket, level: i32, option: i32, value: i32) -> io::Result<()> {
        let len: libc::socklen_t = 4;
        // SAFETY: the option value is an `int` that lives across the call, and `len` is its size.
        let result =
            unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), len) };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Past the system's limit where the process may (CAP_NET_ADMIN), up to it elsewhere.
    pub(super) fn enlarge_buffers(socket: &Socket, bytes: usize) -> io::Result<()> {
        let value = i32::try_from(bytes).unwrap_or(i32::MAX);
        if set(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, value).is_err() {
            socket.set_recv_buffer_size(bytes)?;
        }
        if set(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, value).is_err() {
            socket.set_send_buffer_size(bytes)?;
        }
        Ok(())
    }

    /// `UDP_GRO` (Linux 5.0): datagrams of one flow and size arrive as one train.
    pub(super) fn receive_trains(socket: &Socket) -> io::Result<()> {
        set(socket, libc::SOL_UDP, libc::UDP_GRO, 1)
    }

    /// Datagrams that the kernel dropped because the receive buffer was full, modulo 2^32.
    pub(crate) fn receive_queue_drops(socket: BorrowedFd<'_>) -> u32 {
        const WORDS: usize = libc::SK_MEMINFO_DROPS as usize + 1;
        let mut info = [0u32; WORDS];
        let mut len: libc::socklen_t = 36;
        const _: () = assert!(size_of::<[u32; WORDS]>() == 36);
        // SAFETY: the kernel writes at most `len` bytes to `info`, which is that large and has no invalid values.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MEMINFO,
                info.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        if result == 0 { info[WORDS - 1] } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_the_address() {
        let first = bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let address = first.addresses()[0];
        let error = bind(&[address]).unwrap_err();
        assert!(matches!(error, BindError::Bind { address: named, .. } if named == address));
        assert!(error.to_string().contains(&address.to_string()));
    }

    #[test]
    fn v6_leaves_the_same_port_to_v4() {
        let six = bind(&["[::]:0".parse().unwrap()]).unwrap();
        let port = six.addresses()[0].port();
        assert!(bind(&[SocketAddr::from(([127, 0, 0, 1], port))]).is_ok());
    }

    #[test]
    fn no_and_too_many_addresses_are_refused() {
        assert!(matches!(bind(&[]), Err(BindError::Count(0))));
        assert!(matches!(
            bind(&["127.0.0.1:0".parse().unwrap(); 33]),
            Err(BindError::Count(33))
        ));
    }

    #[test]
    fn buffers_are_large() {
        let bound = bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        // The kernel doubles what it is given; without the privilege it stops at net.core.rmem_max (208 KiB).
        assert!(bound.get(0).unwrap().recv_buffer_size().unwrap() >= 2 * 208 * 1024);
    }
}
