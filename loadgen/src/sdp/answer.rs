//! How a viewer answers a server's offer: it takes everything, as offered (RFC 9429 §5.3).

use std::fmt::Write;

use sdp_types::Media;

use super::description::{SdpError, parse};
use super::offer::{Local, head, push_transport};

/// Attributes that an answer repeats.
const REPEATED: [&str; 6] = ["mid", "rtpmap", "fmtp", "rtcp-fb", "extmap", "sctp-port"];

/// The answer to `offer`, as DTLS client or server.
pub(crate) fn answer(offer: &str, local: &Local<'_>, client: bool) -> Result<String, SdpError> {
    let session = parse(offer)?;
    let setup = if client { "active" } else { "passive" };
    let mid = |media: &Media| -> Option<String> {
        media
            .get_first_attribute_value("mid")
            .flatten()
            .map(str::to_owned)
    };
    let live: Vec<String> = session
        .medias
        .iter()
        .filter(|media| media.port != 0 || is_bundle_only(media))
        .filter_map(mid)
        .collect();
    let live: Vec<&str> = live.iter().map(String::as_str).collect();
    let mut sdp = head(&live, session.origin.sess_version);
    for media in &session.medias {
        let taken = media.port != 0 || is_bundle_only(media);
        let port = if taken { 9 } else { 0 };
        let _ = write!(sdp, "m={} {port} {} {}\r\n", media.media, media.proto, media.fmt);
        push_transport(&mut sdp, local, setup);
        for attribute in &media.attributes {
            if REPEATED.contains(&attribute.attribute.as_str()) {
                let value = attribute.value.as_deref().unwrap_or_default();
                let _ = write!(sdp, "a={}:{value}\r\n", attribute.attribute);
            }
        }
        if media.media != "application" {
            let sends = ["sendonly", "sendrecv"]
                .iter()
                .any(|name| media.has_attribute(name))
                || !["recvonly", "inactive"]
                    .iter()
                    .any(|name| media.has_attribute(name));
            let direction = if sends && taken { "recvonly" } else { "inactive" };
            let _ = write!(sdp, "a={direction}\r\na=rtcp-mux\r\na=rtcp-rsize\r\n");
        }
    }
    Ok(sdp)
}

/// RFC 9143 §6: port 0 without being rejected.
fn is_bundle_only(media: &Media) -> bool {
    media.has_attribute("bundle-only")
}
