//! Trickle ICE and ICE restarts: `application/trickle-ice-sdpfrag` (RFC 8840 §9).

use std::net::SocketAddr;

use weever_proto::IceCredentials;

use super::description::credentials;
use super::emit::candidate_lines;
use super::{MAX_SDP, SdpError};

/// What a fragment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// Its credentials, where it has any.
    pub ice: Option<IceCredentials>,
    /// How many candidates it brings. A lite agent needs none of them.
    pub candidates: usize,
}

impl Fragment {
    /// Reads a PATCH body.
    ///
    /// # Errors
    /// [`SdpError::Malformed`] for anything that is not made of SDP lines, [`SdpError::Unservable`] for credentials
    /// that break RFC 8839 §5.4.
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        if text.len() > MAX_SDP {
            return Err(SdpError::malformed(format!(
                "{} bytes, at most {MAX_SDP} are read",
                text.len()
            )));
        }
        let (mut ufrag, mut password, mut candidates, mut lines) = (None, None, 0, 0);
        for (n, line) in text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
        {
            lines += 1;
            let Some(attribute) = line.strip_prefix("a=") else {
                if line.starts_with("m=") || line.starts_with("c=") {
                    continue;
                }
                return Err(SdpError::malformed(format!(
                    "line {} is neither a= nor m=",
                    n + 1
                )));
            };
            let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
            match name.trim() {
                "ice-ufrag" => keep("ice-ufrag", &mut ufrag, value.trim())?,
                "ice-pwd" => keep("ice-pwd", &mut password, value.trim())?,
                "candidate" => candidates += 1,
                _ => {}
            }
        }
        if lines == 0 {
            return Err(SdpError::malformed("it is empty"));
        }
        let ice = match (ufrag, password) {
            (Some(ufrag), Some(password)) => Some(credentials(ufrag, password)?),
            (None, None) => None,
            _ => return Err(SdpError::malformed("a=ice-ufrag and a=ice-pwd come together")),
        };
        Ok(Self { ice, candidates })
    }

    /// What answers a restart: our new credentials, and all candidates (RFC 9725 §4.3.3).
    pub fn restarted(ice: &IceCredentials, candidates: &[SocketAddr], media: &str, mid: &str) -> String {
        let mut text = format!(
            "a=ice-lite\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n",
            ice.ufrag, ice.password
        );
        text.push_str(media);
        text.push_str("\r\n");
        if !mid.is_empty() {
            text.push_str(&format!("a=mid:{mid}\r\n"));
        }
        for line in candidate_lines(candidates) {
            text.push_str(&format!("a={line}\r\n"));
        }
        text.push_str("a=end-of-candidates\r\n");
        text
    }
}

/// Each m-line may repeat it, and none may say something else: there is one ICE session (RFC 8843 §10).
fn keep<'a>(name: &str, kept: &mut Option<&'a str>, value: &'a str) -> Result<(), SdpError> {
    match *kept {
        Some(before) if before != value => Err(SdpError::malformed(format!("it has two different a={name}"))),
        _ => {
            *kept = Some(value);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_send() {
        let text = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n\
                    a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0\r\n\
                    a=end-of-candidates\r\n";
        let fragment = Fragment::parse(text).unwrap();
        assert_eq!(fragment.candidates, 1);
        assert_eq!(fragment.ice.unwrap().ufrag, "EsAw");
        assert_eq!(
            Fragment::parse("a=candidate:1 1 udp 1 192.0.2.1 9 typ host")
                .unwrap()
                .ice,
            None
        );
    }

    #[test]
    fn what_they_should_not() {
        let two = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\na=ice-ufrag:EsAx\r\n";
        for text in ["", "\r\n", "hello", "a=ice-ufrag:EsAw", "v=0\r\n", two] {
            assert!(
                matches!(Fragment::parse(text), Err(SdpError::Malformed(_))),
                "{text:?}"
            );
        }
        let short = "a=ice-ufrag:x\r\na=ice-pwd:y\r\n";
        assert!(matches!(Fragment::parse(short), Err(SdpError::Unservable(_))));
    }

    #[test]
    fn what_a_restart_is_answered_with_can_be_read() {
        let ice = IceCredentials {
            ufrag: "abcd".into(),
            password: "0123456789012345678901".into(),
        };
        let at = [
            "192.0.2.1:8443".parse().unwrap(),
            "[2001:db8::1]:8443".parse().unwrap(),
        ];
        let text = Fragment::restarted(&ice, &at, "m=audio 9 UDP/TLS/RTP/SAVPF 111", "0");
        assert_eq!(
            Fragment::parse(&text).unwrap(),
            Fragment {
                ice: Some(ice),
                candidates: 2
            }
        );
    }
}
