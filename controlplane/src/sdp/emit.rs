//! Writing descriptions: the parts that answers and offers share.

use std::fmt::Write;
use std::net::SocketAddr;

use weever_proto::{Fingerprint, IceCredentials};

use super::codecs::Format;

/// The server's side of the transport, as an SDP tells it.
#[derive(Debug, Clone)]
pub struct LocalTransport {
    /// Made for this session.
    pub ice: IceCredentials,
    /// The data plane's certificate.
    pub fingerprint: Fingerprint,
    /// Where the worker is reached, best first; never empty.
    pub candidates: Vec<SocketAddr>,
}

/// A description in the making. Lines end in CRLF (RFC 8866 §5).
#[derive(Debug)]
pub struct Lines(String);

impl Lines {
    /// The session part: origin, BUNDLE group, what holds for all m-lines.
    pub fn session(id: u64, version: u64, bundle: &[&str]) -> Self {
        // RFC 8829 §5.2.1 wants the id below 2^63.
        let id = id >> 1;
        let mut lines = Self(String::with_capacity(4096));
        lines.push("v=0");
        lines.line(format_args!("o=weever {id} {version} IN IP4 127.0.0.1"));
        lines.push("s=-");
        lines.push("t=0 0");
        if !bundle.is_empty() {
            lines.line(format_args!("a=group:BUNDLE {}", bundle.join(" ")));
        }
        lines.push("a=ice-lite");
        lines.push("a=extmap-allow-mixed");
        lines.push("a=msid-semantic: WMS *");
        lines
    }

    /// One line.
    pub fn push(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push_str("\r\n");
    }

    /// One line, formatted.
    pub fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String can't fail.
        let _ = self.0.write_fmt(line);
        self.0.push_str("\r\n");
    }

    /// The m-line of a section in use, with the address that old clients read.
    pub fn media(&mut self, media: &str, proto: &str, fmt: &str, transport: &LocalTransport) {
        let unspecified = SocketAddr::from(([0, 0, 0, 0], 9));
        let at = transport.candidates.first().copied().unwrap_or(unspecified);
        let family = if at.is_ipv4() { "IP4" } else { "IP6" };
        self.line(format_args!("m={media} {} {proto} {fmt}", at.port()));
        self.line(format_args!("c=IN {family} {}", at.ip()));
    }

    /// The most that the peer may send in a section, bits per second: exactly (RFC 3890), and in kbit/s for clients that know
    /// only that (RFC 8866 §5.8). To be said behind [`Lines::media`].
    pub fn bandwidth(&mut self, bits_per_second: u64) {
        self.line(format_args!("b=AS:{}", bits_per_second.div_ceil(1000)));
        self.line(format_args!("b=TIAS:{bits_per_second}"));
    }

    /// A section that is not served (RFC 3264 §6), or was and is no more.
    pub fn rejected(&mut self, media: &str, proto: &str, fmt: &str, mid: &str) {
        let fmt = if fmt.trim().is_empty() { "0" } else { fmt };
        self.line(format_args!("m={media} 0 {proto} {fmt}"));
        self.push("c=IN IP4 0.0.0.0");
        if !mid.is_empty() {
            self.line(format_args!("a=mid:{mid}"));
        }
        self.push("a=inactive");
    }

    /// What a section in use says of the transport. `candidates`: with all of them, for the first section.
    pub fn transport(&mut self, mid: &str, setup: &str, transport: &LocalTransport, candidates: bool) {
        if !mid.is_empty() {
            self.line(format_args!("a=mid:{mid}"));
        }
        self.line(format_args!("a=ice-ufrag:{}", transport.ice.ufrag));
        self.line(format_args!("a=ice-pwd:{}", transport.ice.password));
        self.line(format_args!(
            "a=fingerprint:{}",
            fingerprint(&transport.fingerprint)
        ));
        self.line(format_args!("a=setup:{setup}"));
        if candidates {
            for line in candidate_lines(&transport.candidates) {
                self.line(format_args!("a={line}"));
            }
            self.push("a=end-of-candidates");
        }
    }

    /// One payload type.
    pub fn format(&mut self, format: &Format) {
        let Format {
            pt,
            name,
            clock_rate,
            channels,
            fmtp,
            feedback,
        } = format;
        match channels {
            Some(channels) => self.line(format_args!("a=rtpmap:{pt} {name}/{clock_rate}/{channels}")),
            None => self.line(format_args!("a=rtpmap:{pt} {name}/{clock_rate}")),
        }
        if let Some(fmtp) = fmtp {
            self.line(format_args!("a=fmtp:{pt} {fmtp}"));
        }
        for value in feedback {
            self.line(format_args!("a=rtcp-fb:{pt} {value}"));
        }
    }

    /// A stream that we send (RFC 5576): its SSRC, that of its retransmissions, and the name of their source.
    pub fn stream(&mut self, ssrc: u32, rtx_ssrc: Option<u32>, cname: &str) {
        if let Some(rtx) = rtx_ssrc {
            self.line(format_args!("a=ssrc-group:FID {ssrc} {rtx}"));
        }
        self.line(format_args!("a=ssrc:{ssrc} cname:{cname}"));
        if let Some(rtx) = rtx_ssrc {
            self.line(format_args!("a=ssrc:{rtx} cname:{cname}"));
        }
    }

    /// A data channel's section, without its m-line (RFC 8841 §9).
    pub fn channel(&mut self) {
        self.push("a=sctp-port:5000");
        self.line(format_args!(
            "a=max-message-size:{}",
            weever_proto::limits::MAX_TEXT
        ));
    }

    /// The text.
    pub fn finish(self) -> String {
        self.0
    }
}

/// `sha-256 AB:CD:...`
fn fingerprint(fingerprint: &Fingerprint) -> String {
    let digest: Vec<String> = fingerprint
        .value
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    format!("{} {}", fingerprint.hash, digest.join(":"))
}

/// `candidate:...` of host candidates in falling priority (RFC 8445 §5.1.2, RFC 8839 §5.1).
pub fn candidate_lines(candidates: &[SocketAddr]) -> Vec<String> {
    let line = |(n, at): (usize, &SocketAddr)| {
        // Type preference 126 for host, local preference by order, component 1.
        let local = 65_535u32.saturating_sub(u32::try_from(n).unwrap_or(u32::MAX));
        let priority = (126 << 24) | (local << 8) | 255;
        format!(
            "candidate:{} 1 udp {priority} {} {} typ host",
            n + 1,
            at.ip(),
            at.port()
        )
    };
    candidates.iter().enumerate().map(line).collect()
}
