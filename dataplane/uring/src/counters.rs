//! What went through, and what was dropped and why.

use std::io;

/// Counters of one media socket or of one half of it, absolute since it was opened.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams handed to the caller.
    pub datagrams_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Datagrams that the kernel took.
    pub datagrams_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Send operations that the kernel took; a burst of many datagrams is one.
    pub sends: u64,
    /// Bursts that the kernel would not cut (segments above the path's MTU, no offload) and that went out one by one.
    pub segmentation_fallbacks: u64,
    /// Times that all receive buffers were in use. Nothing is lost by it: datagrams wait in the socket.
    pub buffers_exhausted: u64,
    /// Errors reported by receive operations, ICMP ones for instance.
    pub receive_errors: u64,
    /// Received datagrams that the kernel dropped because the socket's buffer was full.
    pub dropped_receive_queue: u64,
    /// Received datagrams that were dropped because they did not fit a buffer.
    pub dropped_truncated: u64,
    /// Datagrams dropped because the socket's send buffer was full.
    pub dropped_send_buffer: u64,
    /// Datagrams dropped because they were too large.
    pub dropped_too_big: u64,
    /// Datagrams dropped because there was no way to their destination.
    pub dropped_unreachable: u64,
    /// Datagrams dropped because the kernel refused them for another reason.
    pub dropped_refused: u64,
    /// Times that a sender found no free slot.
    pub dropped_no_slot: u64,
    /// Submissions that the kernel did not take at once; they are tried again.
    pub submit_errors: u64,
}

impl Counters {
    /// The sums of two halves.
    pub fn merged(&self, other: &Self) -> Self {
        Self {
            datagrams_in: self.datagrams_in + other.datagrams_in,
            bytes_in: self.bytes_in + other.bytes_in,
            datagrams_out: self.datagrams_out + other.datagrams_out,
            bytes_out: self.bytes_out + other.bytes_out,
            sends: self.sends + other.sends,
            segmentation_fallbacks: self.segmentation_fallbacks + other.segmentation_fallbacks,
            buffers_exhausted: self.buffers_exhausted + other.buffers_exhausted,
            receive_errors: self.receive_errors + other.receive_errors,
            dropped_receive_queue: self.dropped_receive_queue + other.dropped_receive_queue,
            dropped_truncated: self.dropped_truncated + other.dropped_truncated,
            dropped_send_buffer: self.dropped_send_buffer + other.dropped_send_buffer,
            dropped_too_big: self.dropped_too_big + other.dropped_too_big,
            dropped_unreachable: self.dropped_unreachable + other.dropped_unreachable,
            dropped_refused: self.dropped_refused + other.dropped_refused,
            dropped_no_slot: self.dropped_no_slot + other.dropped_no_slot,
            submit_errors: self.submit_errors + other.submit_errors,
        }
    }

    /// Drops by reason, the reasons as they are called in statistics. Those at zero are there too.
    pub fn drops(&self) -> [(&'static str, u64); 7] {
        [
            ("socket-receive-queue-full", self.dropped_receive_queue),
            ("socket-truncated", self.dropped_truncated),
            ("socket-send-buffer-full", self.dropped_send_buffer),
            ("socket-too-big", self.dropped_too_big),
            ("socket-unreachable", self.dropped_unreachable),
            ("socket-refused", self.dropped_refused),
            ("socket-no-slot", self.dropped_no_slot),
        ]
    }

    pub(crate) fn count_sent(&mut self, len: usize, segment: usize) {
        self.sends += 1;
        self.datagrams_out += datagrams(len, segment);
        self.bytes_out += len as u64;
    }

    pub(crate) fn count_send_error(&mut self, error: &io::Error, datagrams: u64) {
        let counter = match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => &mut self.dropped_send_buffer,
            Some(libc::EMSGSIZE) => &mut self.dropped_too_big,
            Some(
                libc::ENETUNREACH
                | libc::EHOSTUNREACH
                | libc::ECONNREFUSED
                | libc::ENETDOWN
                | libc::EHOSTDOWN
                | libc::EADDRNOTAVAIL
                | libc::EAFNOSUPPORT,
            ) => &mut self.dropped_unreachable,
            _ => &mut self.dropped_refused,
        };
        *counter += datagrams;
    }
}

/// Datagrams that `len` bytes make when cut every `segment` bytes.
pub(crate) fn datagrams(len: usize, segment: usize) -> u64 {
    len.div_ceil(segment.max(1)).max(1) as u64
}
