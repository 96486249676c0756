//! Socket addresses as the kernel lays them out (`sockaddr_in`, `sockaddr_in6`), written and read byte by byte.
//!
//! IPv6 flow labels are left out, so that an address compares equal whatever label its packets carry.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Size of `sockaddr_in6`, the larger of the two.
pub(crate) const ADDRESS_LEN: usize = 28;
/// The same as the kernel counts it.
pub(crate) const ADDRESS_SOCKLEN: libc::socklen_t = 28;
/// Size of `sockaddr_in`.
const V4_SOCKLEN: libc::socklen_t = 16;

#[allow(clippy::cast_possible_truncation)] // AF_INET is 2, AF_INET6 is 10
const FAMILY_V4: u16 = libc::AF_INET as u16;
#[allow(clippy::cast_possible_truncation)]
const FAMILY_V6: u16 = libc::AF_INET6 as u16;

/// An address that the kernel can read in place.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawAddress {
    bytes: [u8; ADDRESS_LEN],
    len: u32,
}

impl RawAddress {
    pub(crate) const fn empty() -> Self {
        Self {
            bytes: [0; ADDRESS_LEN],
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn set(&mut self, address: SocketAddr) {
        let b = &mut self.bytes;
        b[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(v4) => {
                b[0..2].copy_from_slice(&FAMILY_V4.to_ne_bytes());
                b[4..8].copy_from_slice(&v4.ip().octets());
                b[8..16].fill(0);
                self.len = V4_SOCKLEN;
            }
            SocketAddr::V6(v6) => {
                b[0..2].copy_from_slice(&FAMILY_V6.to_ne_bytes());
                b[4..8].fill(0);
                b[8..24].copy_from_slice(&v6.ip().octets());
                b[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                self.len = ADDRESS_SOCKLEN;
            }
        }
    }
}

/// Reads what the kernel wrote; `None` when it is no internet address.
pub(crate) fn parse(name: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(*name.first_chunk()?);
    let port = u16::from_be_bytes(*name.get(2..)?.first_chunk()?);
    match family {
        FAMILY_V4 => {
            let ip: [u8; 4] = *name.get(4..)?.first_chunk()?;
            Some(SocketAddrV4::new(Ipv4Addr::from(ip), port).into())
        }
        FAMILY_V6 => {
            let ip: [u8; 16] = *name.get(8..)?.first_chunk()?;
            let scope = u32::from_ne_bytes(*name.get(24..)?.first_chunk()?);
            Some(SocketAddrV6::new(Ipv6Addr::from(ip), port, 0, scope).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_survive_a_round_trip() {
        for text in [
            "192.0.2.7:8443",
            "[2001:db8::7]:65535",
            "[fe80::1%3]:1",
            "0.0.0.0:0",
        ] {
            let address: SocketAddr = text.parse().unwrap();
            let mut raw = RawAddress::empty();
            raw.set("[ffff::ffff]:4242".parse().unwrap());
            raw.set(address);
            assert_eq!(parse(&raw.bytes[..raw.len as usize]), Some(address));
        }
    }

    #[test]
    fn short_and_foreign_names_are_none() {
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[2, 0, 1]), None);
        assert_eq!(parse(&[1; 28]), None);
        let mut raw = RawAddress::empty();
        raw.set("[::1]:5".parse().unwrap());
        assert_eq!(parse(&raw.bytes[..27]), None);
    }
}
