//! STUN binding messages as ICE uses them (RFC 8489, RFC 8445 §7).

mod crc;
mod emit;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub use emit::{
    BindingRequest, IceRole, emit_binding_request, emit_binding_success, emit_error, emit_role_conflict,
};

use super::WireError;
use super::cursor::Reader;

/// Message header, bytes (RFC 8489 §5).
pub const HEADER: usize = 20;
/// RFC 8489 §5.
const MAGIC_COOKIE: u32 = 0x2112_A442;
/// RFC 8489 §14.7: what the CRC-32 is XORed with.
const FINGERPRINT_XOR: u32 = 0x5354_554E;
/// MESSAGE-INTEGRITY and FINGERPRINT with their attribute headers.
const INTEGRITY_ATTRIBUTE: usize = 4 + 20;
const FINGERPRINT_ATTRIBUTE: usize = 4 + 4;
/// RFC 8489 §14.3: fewer than 509 bytes.
const MAX_USERNAME: usize = 508;

/// Binding method and class (RFC 8489 §5).
mod message_type {
    pub(super) const BINDING_REQUEST: u16 = 0x0001;
    pub(super) const BINDING_SUCCESS: u16 = 0x0101;
    pub(super) const BINDING_ERROR: u16 = 0x0111;
}

/// Attribute types (RFC 8489 §18.3, RFC 8445 §16.1).
mod attribute {
    pub(super) const USERNAME: u16 = 0x0006;
    pub(super) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(super) const ERROR_CODE: u16 = 0x0009;
    pub(super) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub(super) const PRIORITY: u16 = 0x0024;
    pub(super) const USE_CANDIDATE: u16 = 0x0025;
    pub(super) const FINGERPRINT: u16 = 0x8028;
    pub(super) const ICE_CONTROLLED: u16 = 0x8029;
    pub(super) const ICE_CONTROLLING: u16 = 0x802A;
}

/// 96 bits that pair a response with its request.
pub type TransactionId = [u8; 12];

/// A message whose framing was checked. Nothing of it is to be believed before [`StunView::verify_integrity`].
#[derive(Debug, Clone, Copy)]
pub struct StunView<'a> {
    message: &'a [u8],
    message_type: u16,
    transaction: TransactionId,
    username: Option<&'a str>,
    priority: Option<u32>,
    use_candidate: bool,
    controlling: Option<u64>,
    controlled: Option<u64>,
    mapped: Option<SocketAddr>,
    error: Option<u16>,
    /// Where MESSAGE-INTEGRITY starts, and its value.
    integrity: Option<(usize, [u8; 20])>,
    /// The same of FINGERPRINT.
    fingerprint: Option<(usize, u32)>,
}

impl<'a> StunView<'a> {
    /// Checks header and attributes (RFC 8489 §5, §14). Of an attribute that stands twice the first counts; behind
    /// MESSAGE-INTEGRITY only FINGERPRINT does (§14.5), and behind that nothing may follow (§14.7).
    ///
    /// # Errors
    /// [`WireError::Truncated`], [`WireError::NotStun`], [`WireError::BadLength`] when a length disagrees with the
    /// datagram's, [`WireError::BadElement`] for an attribute that we read and that is malformed.
    pub fn parse(message: &'a [u8]) -> Result<Self, WireError> {
        let mut rest = Reader(message);
        let header: [u8; HEADER] = rest.array().ok_or(WireError::Truncated)?;
        let mut header = Reader(&header);
        let message_type = header.u16().ok_or(WireError::Truncated)?;
        let len = header.u16().ok_or(WireError::Truncated)?;
        let cookie = header.u32().ok_or(WireError::Truncated)?;
        let transaction: TransactionId = header.array().ok_or(WireError::Truncated)?;
        if message_type & 0xC000 != 0 || cookie != MAGIC_COOKIE {
            return Err(WireError::NotStun);
        }
        if usize::from(len) != rest.0.len() || len % 4 != 0 {
            return Err(WireError::BadLength);
        }
        let mut view = Self {
            message,
            message_type,
            transaction,
            username: None,
            priority: None,
            use_candidate: false,
            controlling: None,
            controlled: None,
            mapped: None,
            error: None,
            integrity: None,
            fingerprint: None,
        };
        view.read_attributes(rest)?;
        Ok(view)
    }

    fn read_attributes(&mut self, mut rest: Reader<'a>) -> Result<(), WireError> {
        while !rest.is_empty() {
            if self.fingerprint.is_some() {
                return Err(WireError::BadElement);
            }
            let at = self.message.len() - rest.0.len();
            let kind = rest.u16().ok_or(WireError::BadLength)?;
            let len = usize::from(rest.u16().ok_or(WireError::BadLength)?);
            let value = rest.take(len).ok_or(WireError::BadLength)?;
            rest.take(len.next_multiple_of(4) - len)
                .ok_or(WireError::BadLength)?;
            self.read_attribute(at, kind, value)
                .ok_or(WireError::BadElement)?;
        }
        Ok(())
    }

    fn read_attribute(&mut self, at: usize, kind: u16, value: &'a [u8]) -> Option<()> {
        if kind == attribute::FINGERPRINT {
            self.fingerprint = Some((at, u32::from_be_bytes(value.try_into().ok()?)));
            return Some(());
        }
        if self.integrity.is_some() {
            return Some(());
        }
        match kind {
            attribute::MESSAGE_INTEGRITY => self.integrity = Some((at, value.try_into().ok()?)),
            attribute::USERNAME if self.username.is_none() => {
                let text = std::str::from_utf8(value)
                    .ok()
                    .filter(|text| text.len() <= MAX_USERNAME)?;
                self.username = Some(text);
            }
            attribute::PRIORITY if self.priority.is_none() => {
                self.priority = Some(u32::from_be_bytes(value.try_into().ok()?));
            }
            attribute::USE_CANDIDATE => self.use_candidate = true,
            attribute::ICE_CONTROLLING if self.controlling.is_none() => {
                self.controlling = Some(u64::from_be_bytes(value.try_into().ok()?));
            }
            attribute::ICE_CONTROLLED if self.controlled.is_none() => {
                self.controlled = Some(u64::from_be_bytes(value.try_into().ok()?));
            }
            attribute::XOR_MAPPED_ADDRESS if self.mapped.is_none() => {
                self.mapped = Some(xor_address(value, &self.transaction)?);
            }
            attribute::ERROR_CODE if self.error.is_none() => self.error = Some(error_code(value)?),
            _ => {}
        }
        Some(())
    }

    /// Whether it is a connectivity or consent check, not an answer to one.
    #[must_use]
    pub fn is_binding_request(&self) -> bool {
        self.message_type == message_type::BINDING_REQUEST
    }

    /// Whether it is a success response to a binding request.
    #[must_use]
    pub fn is_binding_success(&self) -> bool {
        self.message_type == message_type::BINDING_SUCCESS
    }

    /// Whether it is an error response to a binding request.
    #[must_use]
    pub fn is_binding_error(&self) -> bool {
        self.message_type == message_type::BINDING_ERROR
    }

    /// The transaction.
    #[must_use]
    pub fn transaction_id(&self) -> TransactionId {
        self.transaction
    }

    /// USERNAME, at most 508 bytes.
    #[must_use]
    pub fn username(&self) -> Option<&'a str> {
        self.username
    }

    /// The two fragments of USERNAME (RFC 8445 §7.2.2): the receiver's own, then the sender's.
    #[must_use]
    pub fn ufrags(&self) -> Option<(&'a str, &'a str)> {
        self.username?.split_once(':')
    }

    /// PRIORITY (RFC 8445 §7.1.1). Some encoders leave it out.
    #[must_use]
    pub fn priority(&self) -> Option<u32> {
        self.priority
    }

    /// USE-CANDIDATE (RFC 8445 §7.1.2): the client nominates this pair.
    #[must_use]
    pub fn use_candidate(&self) -> bool {
        self.use_candidate
    }

    /// Tie-breaker of ICE-CONTROLLED (RFC 8445 §7.1.3).
    #[must_use]
    pub fn ice_controlled(&self) -> Option<u64> {
        self.controlled
    }

    /// Tie-breaker of ICE-CONTROLLING.
    #[must_use]
    pub fn ice_controlling(&self) -> Option<u64> {
        self.controlling
    }

    /// XOR-MAPPED-ADDRESS of a response (RFC 8489 §14.2).
    #[must_use]
    pub fn mapped_address(&self) -> Option<SocketAddr> {
        self.mapped
    }

    /// Code of an error response (RFC 8489 §14.8), 300 to 699.
    #[must_use]
    pub fn error_code(&self) -> Option<u16> {
        self.error
    }

    /// Whether MESSAGE-INTEGRITY is there at all.
    #[must_use]
    pub fn has_integrity(&self) -> bool {
        self.integrity.is_some()
    }

    /// Whether MESSAGE-INTEGRITY (RFC 8489 §14.5) is there and was made with this short-term password. `hmac` is
    /// HMAC-SHA1 of the concatenated parts under a key. Compared in constant time.
    #[must_use]
    pub fn verify_integrity(&self, password: &str, hmac: impl Fn(&[u8], &[&[u8]]) -> [u8; 20]) -> bool {
        let Some((at, claimed)) = self.integrity else {
            return false;
        };
        // The length counts up to the end of MESSAGE-INTEGRITY, whatever follows.
        let Ok(len) = u16::try_from(at + INTEGRITY_ATTRIBUTE - HEADER) else {
            return false;
        };
        let (Some(kind), Some(covered)) = (self.message.get(..2), self.message.get(4..at)) else {
            return false;
        };
        let actual = hmac(password.as_bytes(), &[kind, &len.to_be_bytes(), covered]);
        let difference = claimed.iter().zip(actual).fold(0u8, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(difference) == 0
    }

    /// Whether FINGERPRINT (RFC 8489 §14.7) is right; `None` when it isn't there.
    #[must_use]
    pub fn fingerprint_ok(&self) -> Option<bool> {
        let (at, claimed) = self.fingerprint?;
        Some(crc::crc32(self.message.get(..at)?) ^ FINGERPRINT_XOR == claimed)
    }
}

/// RFC 8489 §14.2.
fn xor_address(value: &[u8], transaction: &TransactionId) -> Option<SocketAddr> {
    let mut value = Reader(value);
    let [_, family] = value.array()?;
    let [cookie_high, cookie_low, ..] = MAGIC_COOKIE.to_be_bytes();
    let port = value.u16()? ^ u16::from_be_bytes([cookie_high, cookie_low]);
    let ip = match family {
        1 => IpAddr::V4(Ipv4Addr::from_bits(value.u32()? ^ MAGIC_COOKIE)),
        2 => IpAddr::V6(Ipv6Addr::from_bits(
            u128::from_be_bytes(value.array()?) ^ xor_mask(transaction),
        )),
        _ => return None,
    };
    value.is_empty().then(|| SocketAddr::new(ip, port))
}

/// Cookie and transaction side by side.
fn xor_mask(transaction: &TransactionId) -> u128 {
    let id = transaction
        .iter()
        .fold(0u128, |all, byte| all << 8 | u128::from(*byte));
    u128::from(MAGIC_COOKIE) << 96 | id
}

/// RFC 8489 §14.8: 21 bits reserved, class 3 to 6, number 0 to 99.
fn error_code(value: &[u8]) -> Option<u16> {
    let [_, _, class, number] = Reader(value).array()?;
    let class = class & 0x07;
    (matches!(class, 3..=6) && number < 100).then(|| u16::from(class) * 100 + u16::from(number))
}

#[cfg(test)]
mod tests;
