//! Writing STUN messages, each with MESSAGE-INTEGRITY and FINGERPRINT. `hmac` is HMAC-SHA1 of the concatenated parts
//! under a key.

use std::net::{IpAddr, SocketAddr};

use super::super::WireError;
use super::super::cursor::Writer;
use super::{
    FINGERPRINT_ATTRIBUTE, FINGERPRINT_XOR, HEADER, INTEGRITY_ATTRIBUTE, MAGIC_COOKIE, MAX_USERNAME,
    TransactionId, attribute, crc, message_type, xor_mask,
};

type Result<T> = std::result::Result<T, WireError>;

/// Header with the length still 0.
fn begin<'a>(out: &'a mut [u8], message_type: u16, transaction: &TransactionId) -> Result<Writer<'a>> {
    let mut writer = Writer::new(out);
    writer.u16(message_type)?;
    writer.u16(0)?;
    writer.u32(MAGIC_COOKIE)?;
    writer.put(transaction)?;
    Ok(writer)
}

fn put_attribute(writer: &mut Writer<'_>, kind: u16, value: &[u8]) -> Result<()> {
    writer.u16(kind)?;
    writer.u16(u16::try_from(value.len()).map_err(|_| WireError::BadElement)?)?;
    writer.put(value)?;
    writer.pad()
}

/// Sets the length as if `more` bytes followed (RFC 8489 §14.5, §14.7: both attributes count themselves).
fn set_length(writer: &mut Writer<'_>, more: usize) -> Result<()> {
    let len = u16::try_from(writer.len() + more - HEADER).map_err(|_| WireError::BadLength)?;
    writer.patch_u16(2, len)
}

fn end(mut writer: Writer<'_>, password: &str, hmac: impl Fn(&[u8], &[&[u8]]) -> [u8; 20]) -> Result<usize> {
    set_length(&mut writer, INTEGRITY_ATTRIBUTE)?;
    let integrity = hmac(password.as_bytes(), &[writer.written()]);
    put_attribute(&mut writer, attribute::MESSAGE_INTEGRITY, &integrity)?;
    set_length(&mut writer, FINGERPRINT_ATTRIBUTE)?;
    let fingerprint = crc::crc32(writer.written()) ^ FINGERPRINT_XOR;
    put_attribute(&mut writer, attribute::FINGERPRINT, &fingerprint.to_be_bytes())?;
    Ok(writer.len())
}

/// The answer to a valid check: where it came from (RFC 8445 §7.3.1.2). 64 bytes for IPv4, 76 for IPv6; a request that
/// carries USERNAME, MESSAGE-INTEGRITY and FINGERPRINT is never much shorter.
///
/// # Errors
/// [`WireError::NoSpace`]
pub fn emit_binding_success(
    out: &mut [u8],
    transaction: &TransactionId,
    mapped: SocketAddr,
    password: &str,
    hmac: impl Fn(&[u8], &[&[u8]]) -> [u8; 20],
) -> Result<usize> {
    let mut writer = begin(out, message_type::BINDING_SUCCESS, transaction)?;
    let [cookie_high, cookie_low, ..] = MAGIC_COOKIE.to_be_bytes();
    let port = (mapped.port() ^ u16::from_be_bytes([cookie_high, cookie_low])).to_be_bytes();
    writer.u16(attribute::XOR_MAPPED_ADDRESS)?;
    match mapped.ip() {
        IpAddr::V4(ip) => {
            writer.put(&[0, 8, 0, 1])?;
            writer.put(&port)?;
            writer.u32(ip.to_bits() ^ MAGIC_COOKIE)?;
        }
        IpAddr::V6(ip) => {
            writer.put(&[0, 20, 0, 2])?;
            writer.put(&port)?;
            writer.put(&(ip.to_bits() ^ xor_mask(transaction)).to_be_bytes())?;
        }
    }
    end(writer, password, hmac)
}

/// An error response with a code from 300 to 699 (RFC 8489 §14.8).
///
/// # Errors
/// [`WireError::NoSpace`]; [`WireError::BadElement`] for another code.
pub fn emit_error(
    out: &mut [u8],
    transaction: &TransactionId,
    code: u16,
    reason: &str,
    password: &str,
    hmac: impl Fn(&[u8], &[&[u8]]) -> [u8; 20],
) -> Result<usize> {
    if !matches!(code, 300..=699) {
        return Err(WireError::BadElement);
    }
    let class = u8::try_from(code / 100).map_err(|_| WireError::BadElement)?;
    let number = u8::try_from(code % 100).map_err(|_| WireError::BadElement)?;
    let mut writer = begin(out, message_type::BINDING_ERROR, transaction)?;
    writer.u16(attribute::ERROR_CODE)?;
    writer.u16(u16::try_from(4 + reason.len()).map_err(|_| WireError::BadElement)?)?;
    writer.put(&[0, 0, class, number])?;
    writer.put(reason.as_bytes())?;
    writer.pad()?;
    end(writer, password, hmac)
}

/// 487 (RFC 8445 §7.3.1.1): both sides claim the same role.
///
/// # Errors
/// [`WireError::NoSpace`]
pub fn emit_role_conflict(
    out: &mut [u8],
    transaction: &TransactionId,
    password: &str,
    hmac: impl Fn(&[u8], &[&[u8]]) -> [u8; 20],
) -> Result<usize> {
    emit_error(out, transaction, 487, "Role Conflict", password, hmac)
}

/// The sender's role and tie-breaker (RFC 8445 §7.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IceRole {
    /// It nominates.
    Controlling(u64),
    /// It doesn't.
    Controlled(u64),
}

/// What a connectivity check says (RFC 8445 §7.2.2).
#[derive(Debug, Clone, Copy)]
pub struct BindingRequest<'a> {
    /// Pairs the response.
    pub transaction: TransactionId,
    /// `<receiver's ufrag>:<sender's ufrag>`, at most 508 bytes.
    pub username: &'a str,
    /// The receiver's.
    pub password: &'a str,
    /// Of a peer-reflexive candidate learnt from this check; some encoders send none.
    pub priority: Option<u32>,
    /// The sender's role; some encoders send none.
    pub role: Option<IceRole>,
    /// Nominates the pair.
    pub use_candidate: bool,
}

/// A connectivity or consent check.
///
/// # Errors
/// [`WireError::NoSpace`]; [`WireError::BadElement`] for a USERNAME that is too long.
pub fn emit_binding_request(
    out: &mut [u8],
    request: &BindingRequest<'_>,
    hmac: impl Fn(&[u8], &[&[u8]]) -> [u8; 20],
) -> Result<usize> {
    if request.username.len() > MAX_USERNAME {
        return Err(WireError::BadElement);
    }
    let mut writer = begin(out, message_type::BINDING_REQUEST, &request.transaction)?;
    put_attribute(&mut writer, attribute::USERNAME, request.username.as_bytes())?;
    if let Some(priority) = request.priority {
        put_attribute(&mut writer, attribute::PRIORITY, &priority.to_be_bytes())?;
    }
    match request.role {
        Some(IceRole::Controlling(tie_breaker)) => {
            put_attribute(
                &mut writer,
                attribute::ICE_CONTROLLING,
                &tie_breaker.to_be_bytes(),
            )?;
        }
        Some(IceRole::Controlled(tie_breaker)) => {
            put_attribute(&mut writer, attribute::ICE_CONTROLLED, &tie_breaker.to_be_bytes())?;
        }
        None => {}
    }
    if request.use_candidate {
        put_attribute(&mut writer, attribute::USE_CANDIDATE, &[])?;
    }
    end(writer, request.password, hmac)
}
