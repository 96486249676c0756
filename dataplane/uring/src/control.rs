//! The two control messages of UDP offload (udp(7)): `UDP_SEGMENT` on the way out, `UDP_GRO` on the way in.
//!
//! A control message is a `cmsghdr` (length, level, type) followed by its data, padded to 8 bytes (cmsg(3)).

/// `struct cmsghdr` on 64-bit Linux: a `usize` and two `int`s.
const HEADER_LEN: usize = size_of::<usize>() + 8;
/// What a receive needs for one `UDP_GRO` message: its data is an `int`.
pub(crate) const GRO_SPACE: usize = HEADER_LEN + 8;

/// A `UDP_SEGMENT` control message: the kernel cuts the payload into datagrams of `size` bytes.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy)]
pub(crate) struct SegmentControl {
    len: usize,
    level: i32,
    kind: i32,
    size: u16,
    padding: [u8; 6],
}

impl SegmentControl {
    pub(crate) const fn new(size: u16) -> Self {
        Self {
            len: HEADER_LEN + 2,
            level: libc::SOL_UDP,
            kind: libc::UDP_SEGMENT,
            size,
            padding: [0; 6],
        }
    }
}

/// Segment size of a coalesced train, from the control messages of a receive. `None`: a single datagram.
pub(crate) fn gro_segment(mut control: &[u8]) -> Option<usize> {
    loop {
        let len = usize::from_ne_bytes(*control.first_chunk()?);
        let level = i32::from_ne_bytes(*control.get(size_of::<usize>()..)?.first_chunk()?);
        let kind = i32::from_ne_bytes(*control.get(size_of::<usize>() + 4..)?.first_chunk()?);
        if level == libc::SOL_UDP && kind == libc::UDP_GRO {
            let size = i32::from_ne_bytes(*control.get(HEADER_LEN..len)?.first_chunk()?);
            return usize::try_from(size).ok().filter(|size| *size > 0);
        }
        control = control.get(len.max(HEADER_LEN).checked_next_multiple_of(8)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let mut bytes = (HEADER_LEN + data.len()).to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    #[test]
    fn segment_control_has_the_kernels_layout() {
        assert_eq!(size_of::<SegmentControl>(), 24);
        assert_eq!(SegmentControl::new(1200).len, 18);
    }

    #[test]
    fn gro_is_found_alone_and_behind_others() {
        let gro = message(libc::SOL_UDP, libc::UDP_GRO, &1200i32.to_ne_bytes());
        assert_eq!(gro.len(), GRO_SPACE);
        assert_eq!(gro_segment(&gro), Some(1200));
        let mut both = message(libc::SOL_SOCKET, 40, &[1, 2, 3, 4, 5]);
        both.extend(&gro);
        assert_eq!(gro_segment(&both), Some(1200));
    }

    #[test]
    fn nothing_cut_or_nonsense_is_none() {
        let gro = message(libc::SOL_UDP, libc::UDP_GRO, &1200i32.to_ne_bytes());
        for cut in 0..HEADER_LEN + 4 {
            assert_eq!(gro_segment(&gro[..cut]), None);
        }
        assert_eq!(
            gro_segment(&message(libc::SOL_UDP, libc::UDP_GRO, &0i32.to_ne_bytes())),
            None
        );
        assert_eq!(gro_segment(&[0; 64]), None);
        assert_eq!(gro_segment(&[0xff; 64]), None);
    }
}
