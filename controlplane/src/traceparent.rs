//! Where a request belongs in its client's trace: W3C Trace Context.

/// A `traceparent` header (<https://www.w3.org/TR/trace-context/#traceparent-header>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// Not zero.
    pub trace: [u8; 16],
    /// The span that asks. Not zero.
    pub span: [u8; 8],
    /// Whether the caller records the trace. What it doesn't record, nobody behind it records either.
    pub sampled: bool,
}

impl TraceParent {
    /// Of a later version the part is read that all versions share. Whatever is malformed is as good as absent.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let [version] = bytes::<1>(parts.next()?)?;
        let trace = bytes::<16>(parts.next()?)?;
        let span = bytes::<8>(parts.next()?)?;
        let [flags] = bytes::<1>(parts.next()?)?;
        let ends = version != 0 || parts.next().is_none();
        let ok = version != 0xff && ends && trace != [0; 16] && span != [0; 8];
        ok.then_some(Self {
            trace,
            span,
            sampled: flags & 1 == 1,
        })
    }
}

/// Exactly `N` bytes, in lower-case hexadecimal.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let lower = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    if text.len() != 2 * N || !text.bytes().all(lower) {
        return None;
    }
    let mut all = [0; N];
    for (byte, digits) in all.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn a_parent_is_read() {
        let parent = TraceParent::parse(&format!("00-{TRACE}-b7ad6b7169203331-01")).unwrap();
        assert_eq!(parent.trace[..2], [0x0a, 0xf7]);
        assert_eq!(parent.span, [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]);
        assert!(parent.sampled);
        let parent = TraceParent::parse(&format!("01-{TRACE}-b7ad6b7169203331-02-more")).unwrap();
        assert!(!parent.sampled, "of a later version");
    }

    #[test]
    fn what_is_malformed_is_no_parent() {
        let zeros = "0".repeat(32);
        for bad in [
            "",
            "00",
            "00-0af7-b7ad6b7169203331-01",
            &format!("ff-{TRACE}-b7ad6b7169203331-01"),
            &format!("00-{TRACE}-b7ad6b7169203331-01-more"),
            &format!("00-{zeros}-b7ad6b7169203331-01"),
            &format!("00-{TRACE}-0000000000000000-01"),
            &format!("00-{}-b7ad6b7169203331-01", TRACE.to_uppercase()),
            &format!("00-{TRACE}-b7ad6b716920333é-01"),
            &format!("00-{TRACE}-+7ad6b7169203331-01"),
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
    }
}
