//! The one thing that we want to know of a `ClientHello` before the DTLS library sees it (RFC 6347 §4.2, RFC 5246 §7.4.1).

use super::cursor::Reader;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// Version, epoch, sequence number and length of a record.
const RECORD_HEADER_REST: usize = 12;
/// Length and number of the message.
const MESSAGE: usize = 5;
/// Of the `ClientHello`: version and random.
const FIXED: usize = 34;
/// `TLS_DHE_RSA_WITH_AES_256_GCM_SHA384` (RFC 5288 §3).
const DHE_RSA: [u8; 2] = [0x00, 0x9f];

/// Whether a datagram begins with a `ClientHello` that offers the key exchange of another age of RSA. WebRTC's own libraries
/// and browsers don't; who uses a general one with its defaults does, GStreamer with OpenSSL above all. Such a client's
/// certificate may be RSA.
///
/// The first fragment of a `ClientHello` is enough: the suites stand at its beginning.
pub fn is_of_general_library(datagram: &[u8]) -> bool {
    cipher_suites(datagram).is_some_and(|suites| suites.chunks_exact(2).any(|suite| suite == DHE_RSA))
}

/// Those that the datagram holds.
fn cipher_suites(datagram: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader(datagram);
    if reader.u8()? != HANDSHAKE {
        return None;
    }
    reader.take(RECORD_HEADER_REST)?;
    if reader.u8()? != CLIENT_HELLO {
        return None;
    }
    reader.take(MESSAGE)?;
    // A later fragment begins anywhere.
    if reader.array()? != [0; 3] {
        return None;
    }
    let [a, b, c] = reader.array()?;
    let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()?;
    let mut hello = Reader(reader.take(length)?);
    hello.take(FIXED)?;
    for _ in ["session", "cookie"] {
        let length = usize::from(hello.u8()?);
        hello.take(length)?;
    }
    let length = usize::from(hello.u16()?);
    Some(hello.0.get(..length).unwrap_or(hello.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GSTREAMER: [u16; 5] = [0xc02c, 0xc030, 0x00a3, 0x009f, 0xccaa];
    const CHROMIUM: [u16; 6] = [0xc02b, 0xc02f, 0xcca9, 0xcca8, 0xc009, 0xc013];

    /// With these suites, cut to so many bytes of the message, as a fragment is.
    fn hello(suites: &[u16], fragment: usize) -> Vec<u8> {
        let mut body = vec![0xfe, 0xfd];
        body.extend([7; 32]);
        body.extend([0, 0]);
        let list: Vec<u8> = suites.iter().flat_map(|suite| suite.to_be_bytes()).collect();
        let sized = |length: usize| u16::try_from(length).unwrap().to_be_bytes();
        body.extend(sized(list.len()));
        body.extend(&list);
        body.extend([1, 0, 0, 4, 0, 23, 0, 0]);
        let whole = sized(body.len());
        body.truncate(fragment);
        let mut datagram = vec![22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
        datagram.extend(sized(12 + body.len()));
        datagram.extend([1, 0, whole[0], whole[1], 0, 0, 0, 0, 0, 0]);
        datagram.extend(sized(body.len()));
        datagram.extend(body);
        datagram
    }

    #[test]
    fn a_general_library_is_known_by_what_it_offers() {
        assert!(is_of_general_library(&hello(&GSTREAMER, 1000)));
        assert!(!is_of_general_library(&hello(&CHROMIUM, 1000)));
        assert!(!is_of_general_library(&hello(&[], 1000)));
    }

    #[test]
    fn its_first_fragment_is_enough_and_a_later_one_says_nothing() {
        let first = hello(&GSTREAMER, 38 + 8);
        assert!(is_of_general_library(&first));
        assert!(!is_of_general_library(&hello(&GSTREAMER, 38 + 6)), "not that far");
        let mut later = first;
        later[21] = 1;
        assert!(!is_of_general_library(&later));
    }

    #[test]
    fn what_is_cut_is_of_nobody() {
        let whole = hello(&GSTREAMER, 1000);
        for length in 0..whole.len() {
            assert!(!is_of_general_library(&whole[..length]), "{length}");
        }
        let mut other = whole;
        other[13] = 2;
        assert!(!is_of_general_library(&other));
    }
}
