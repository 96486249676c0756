//! SRTP on the way out, SRTCP both ways (RFC 3711, RFC 7714).
//!
//! A packet is sealed straight from the track's shared history into the send buffer: one pass over its bytes. Every
//! index is used once: callers pass the extended sequence number, which their route only ever counts up.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, AES_256, Algorithm, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use str0m::crypto::dtls::SrtpProfile as DtlsSrtpProfile;

/// RFC 7714 §13.2: the authentication tag of both AEAD profiles.
const GCM_TAG: usize = 16;
/// RFC 3711 §5.2: HMAC-SHA1 cut to 80 bits.
const HMAC_TAG: usize = 10;
/// RFC 3711 §3.4: E flag and SRTCP index.
const SRTCP_INDEX: usize = 4;
/// RFC 3711 §3.4: header and sender SSRC stay in clear.
const RTCP_CLEAR: usize = 8;
const E_FLAG: u32 = 0x8000_0000;

/// What an RTP packet grows by at most.
pub(crate) const MAX_RTP_TAG: usize = GCM_TAG;

/// The protection profiles that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SrtpProfile {
    /// `SRTP_AEAD_AES_128_GCM` (RFC 7714)
    AeadAes128Gcm,
    /// `SRTP_AEAD_AES_256_GCM` (RFC 7714)
    AeadAes256Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80` (RFC 5764 §4.1.2)
    Aes128CmSha1_80,
}

impl SrtpProfile {
    /// Master key and master salt, bytes.
    const fn lengths(self) -> (usize, usize) {
        match self {
            Self::AeadAes128Gcm => (16, 12),
            Self::AeadAes256Gcm => (32, 12),
            Self::Aes128CmSha1_80 => (16, 14),
        }
    }

    /// Bytes of keying material that a handshake has to export (RFC 5764 §4.2).
    pub const fn keying_material_len(self) -> usize {
        let (key, salt) = self.lengths();
        2 * (key + salt)
    }

    /// Bytes that an RTP packet grows by.
    pub(crate) const fn rtp_tag(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => GCM_TAG,
            Self::Aes128CmSha1_80 => HMAC_TAG,
        }
    }

    pub(crate) fn from_dtls(profile: DtlsSrtpProfile) -> Option<Self> {
        match profile {
            DtlsSrtpProfile::AEAD_AES_128_GCM => Some(Self::AeadAes128Gcm),
            DtlsSrtpProfile::AEAD_AES_256_GCM => Some(Self::AeadAes256Gcm),
            DtlsSrtpProfile::AES128_CM_SHA1_80 => Some(Self::Aes128CmSha1_80),
            _ => None,
        }
    }
}

/// What a DTLS handshake exported for SRTP (RFC 5764 §4.2): client key, server key, client salt, server salt.
pub struct KeyingMaterial {
    profile: SrtpProfile,
    client: bool,
    bytes: Vec<u8>,
}

impl KeyingMaterial {
    /// `client`: whether we were the DTLS client.
    pub fn new(profile: SrtpProfile, client: bool, bytes: Vec<u8>) -> Self {
        Self {
            profile,
            client,
            bytes,
        }
    }

    /// Which profile the handshake chose.
    pub fn profile(&self) -> SrtpProfile {
        self.profile
    }

    fn master(&self, ours: bool) -> Result<(&[u8], &[u8]), SrtpError> {
        let (key, salt) = self.profile.lengths();
        if self.bytes.len() < self.profile.keying_material_len() {
            return Err(SrtpError::KeyingMaterial);
        }
        let (keys, salts) = self.bytes.split_at(2 * key);
        let second = usize::from(ours != self.client);
        Ok((&keys[second * key..][..key], &salts[second * salt..][..salt]))
    }
}

impl std::fmt::Debug for KeyingMaterial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyingMaterial")
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

/// Why a packet or key was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    /// Fewer bytes than the profile needs.
    #[error("too little keying material")]
    KeyingMaterial,
    /// The library refused a key or an operation.
    #[error("the cipher failed")]
    Cipher,
    /// The output buffer is too small.
    #[error("no room for the protected packet")]
    NoRoom,
    /// Too short to be SRTCP, or not encrypted.
    #[error("malformed")]
    Malformed,
    /// The tag is wrong.
    #[error("not authentic")]
    NotAuthentic,
    /// The key has protected as many packets as it may.
    #[error("the key is used up")]
    Exhausted,
    /// Its index was seen before, or is older than the window.
    #[error("replayed")]
    Replayed,
}

/// Labels of RFC 3711 §4.3.2.
mod label {
    pub(super) const RTP_KEY: u8 = 0;
    pub(super) const RTP_AUTH: u8 = 1;
    pub(super) const RTP_SALT: u8 = 2;
    pub(super) const RTCP_KEY: u8 = 3;
    pub(super) const RTCP_AUTH: u8 = 4;
    pub(super) const RTCP_SALT: u8 = 5;
}

/// RFC 3711 §4.3.3, with a key derivation rate of 0; RFC 6188 §3 for the 256-bit key.
fn derive(master_key: &[u8], master_salt: &[u8], label: u8, out: &mut [u8]) -> Result<(), SrtpError> {
    let algorithm: &'static Algorithm = if master_key.len() == 32 {
        &AES_256
    } else {
        &AES_128
    };
    let mut iv = [0u8; 16];
    iv[..master_salt.len()].copy_from_slice(master_salt);
    iv[7] ^= label;
    out.fill(0);
    let key = UnboundCipherKey::new(algorithm, master_key).map_err(|_| SrtpError::Cipher)?;
    let key = EncryptingKey::ctr(key).map_err(|_| SrtpError::Cipher)?;
    key.less_safe_encrypt(out, EncryptionContext::Iv128(FixedLength::from(iv)))
        .map_err(|_| SrtpError::Cipher)?;
    Ok(())
}

/// One direction's cipher, for RTP or for RTCP.
enum Cipher {
    Gcm {
        key: LessSafeKey,
        salt: [u8; 12],
    },
    Cm {
        key: Box<EncryptingKey>,
        salt: [u8; 16],
        auth: Box<hmac::Key>,
    },
}

impl Cipher {
    fn new(material: &KeyingMaterial, ours: bool, rtcp: bool) -> Result<Self, SrtpError> {
        let (master_key, master_salt) = material.master(ours)?;
        let (key_label, auth_label, salt_label) = if rtcp {
            (label::RTCP_KEY, label::RTCP_AUTH, label::RTCP_SALT)
        } else {
            (label::RTP_KEY, label::RTP_AUTH, label::RTP_SALT)
        };
        let mut key = [0u8; 32];
        let key = &mut key[..master_key.len()];
        derive(master_key, master_salt, key_label, key)?;
        let mut salt = [0u8; 16];
        derive(
            master_key,
            master_salt,
            salt_label,
            &mut salt[..master_salt.len()],
        )?;
        match material.profile {
            SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => {
                let algorithm = if key.len() == 32 {
                    &AES_256_GCM
                } else {
                    &AES_128_GCM
                };
                let key = UnboundKey::new(algorithm, key).map_err(|_| SrtpError::Cipher)?;
                let mut short = [0u8; 12];
                short.copy_from_slice(&salt[..12]);
                Ok(Self::Gcm {
                    key: LessSafeKey::new(key),
                    salt: short,
                })
            }
            SrtpProfile::Aes128CmSha1_80 => {
                let mut auth = [0u8; 20];
                derive(master_key, master_salt, auth_label, &mut auth)?;
                let key = UnboundCipherKey::new(&AES_128, key).map_err(|_| SrtpError::Cipher)?;
                Ok(Self::Cm {
                    key: Box::new(EncryptingKey::ctr(key).map_err(|_| SrtpError::Cipher)?),
                    salt,
                    auth: Box::new(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &auth)),
                })
            }
        }
    }
}

/// RFC 7714 §8.1 (RTP: the 48-bit index) and §9.1 (RTCP: 16 zero bits and the 31-bit index).
fn gcm_nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> Nonce {
    let mut iv = [0u8; 12];
    iv[2..6].copy_from_slice(&ssrc.to_be_bytes());
    iv[6..12].copy_from_slice(&index.to_be_bytes()[2..8]);
    for (byte, salt) in iv.iter_mut().zip(salt) {
        *byte ^= salt;
    }
    Nonce::assume_unique_for_key(iv)
}

/// RFC 3711 §4.1.1: (salt << 16) XOR (SSRC << 64) XOR (index << 16).
fn cm_iv(salt: &[u8; 16], ssrc: u32, index: u64) -> EncryptionContext {
    let mut iv = *salt;
    for (byte, ssrc) in iv[4..8].iter_mut().zip(ssrc.to_be_bytes()) {
        *byte ^= ssrc;
    }
    for (byte, index) in iv[8..14].iter_mut().zip(&index.to_be_bytes()[2..8]) {
        *byte ^= index;
    }
    EncryptionContext::Iv128(FixedLength::from(iv))
}

fn hmac_tag(key: &hmac::Key, parts: &[&[u8]]) -> [u8; HMAC_TAG] {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part);
    }
    let mut tag = [0u8; HMAC_TAG];
    tag.copy_from_slice(&context.sign().as_ref()[..HMAC_TAG]);
    tag
}

/// Protects what we send to one peer: RTP and RTCP.
pub struct Protect {
    rtp: Cipher,
    rtcp: Cipher,
    /// RFC 3711 §3.4: 31 bits, counted up from the first packet on.
    rtcp_index: u32,
}

impl Protect {
    /// From a finished handshake.
    pub fn new(material: &KeyingMaterial) -> Result<Self, SrtpError> {
        Ok(Self {
            rtp: Cipher::new(material, true, false)?,
            rtcp: Cipher::new(material, true, true)?,
            rtcp_index: 0,
        })
    }

    /// Seals `payload` behind the `header` bytes that already stand at the start of `out`. `index` is the extended
    /// sequence number, roll-over counter included; the same (ssrc, index) must never be passed twice.
    /// Returns the length of the datagram.
    pub fn rtp(
        &self,
        out: &mut [u8],
        header: usize,
        ssrc: u32,
        index: u64,
        payload: &[u8],
    ) -> Result<usize, SrtpError> {
        let n = payload.len();
        match &self.rtp {
            Cipher::Gcm { key, salt } => {
                let end = header + n + GCM_TAG;
                let out = out.get_mut(..end).ok_or(SrtpError::NoRoom)?;
                let (header, body) = out.split_at_mut(header);
                let (text, tag) = body.split_at_mut(n);
                let nonce = gcm_nonce(salt, ssrc, index);
                key.seal_out_of_place_scatter(nonce, Aad::from(&*header), payload, text, &[], tag)
                    .map_err(|_| SrtpError::Cipher)?;
                Ok(end)
            }
            Cipher::Cm { key, salt, auth } => {
                let end = header + n + HMAC_TAG;
                let out = out.get_mut(..end).ok_or(SrtpError::NoRoom)?;
                let (packet, tag) = out.split_at_mut(header + n);
                packet[header..].copy_from_slice(payload);
                key.less_safe_encrypt(&mut packet[header..], cm_iv(salt, ssrc, index))
                    .map_err(|_| SrtpError::Cipher)?;
                let roc = &index.to_be_bytes()[2..6];
                tag.copy_from_slice(&hmac_tag(auth, &[packet, roc]));
                Ok(end)
            }
        }
    }

    /// Protects the compound RTCP packet in the first `len` bytes of `out`, in place. Returns the datagram's length.
    pub fn rtcp(&mut self, out: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        if len < RTCP_CLEAR {
            return Err(SrtpError::Malformed);
        }
        let end = len + self.rtcp_trailer();
        let out = out.get_mut(..end).ok_or(SrtpError::NoRoom)?;
        let ssrc = u32::from_be_bytes([out[4], out[5], out[6], out[7]]);
        let index = self.rtcp_index;
        if index & E_FLAG != 0 {
            // RFC 3711 §9.2: after 2^31 packets the key is used up.
            return Err(SrtpError::Exhausted);
        }
        self.rtcp_index = index + 1;
        let word = (index | E_FLAG).to_be_bytes();
        match &self.rtcp {
            Cipher::Gcm { key, salt } => {
                let mut aad = [0u8; RTCP_CLEAR + SRTCP_INDEX];
                aad[..RTCP_CLEAR].copy_from_slice(&out[..RTCP_CLEAR]);
                aad[RTCP_CLEAR..].copy_from_slice(&word);
                let nonce = gcm_nonce(salt, ssrc, u64::from(index));
                let tag = key
                    .seal_in_place_separate_tag(nonce, Aad::from(aad), &mut out[RTCP_CLEAR..len])
                    .map_err(|_| SrtpError::Cipher)?;
                out[len..len + GCM_TAG].copy_from_slice(tag.as_ref());
                out[len + GCM_TAG..].copy_from_slice(&word);
            }
            Cipher::Cm { key, salt, auth } => {
                key.less_safe_encrypt(&mut out[RTCP_CLEAR..len], cm_iv(salt, ssrc, u64::from(index)))
                    .map_err(|_| SrtpError::Cipher)?;
                out[len..len + SRTCP_INDEX].copy_from_slice(&word);
                let (packet, tag) = out.split_at_mut(len + SRTCP_INDEX);
                tag.copy_from_slice(&hmac_tag(auth, &[packet]));
            }
        }
        Ok(end)
    }

    fn rtcp_trailer(&self) -> usize {
        match self.rtcp {
            Cipher::Gcm { .. } => GCM_TAG + SRTCP_INDEX,
            Cipher::Cm { .. } => HMAC_TAG + SRTCP_INDEX,
        }
    }
}

/// Opens the SRTCP that one peer sends, and refuses replays.
pub struct UnprotectRtcp {
    cipher: Cipher,
    replay: ReplayWindows,
}

impl UnprotectRtcp {
    /// From a finished handshake.
    pub fn new(material: &KeyingMaterial) -> Result<Self, SrtpError> {
        Self::of(material, false)
    }

    /// Opens what we send ourselves.
    pub(crate) fn of_ours(material: &KeyingMaterial) -> Result<Self, SrtpError> {
        Self::of(material, true)
    }

    fn of(material: &KeyingMaterial, ours: bool) -> Result<Self, SrtpError> {
        Ok(Self {
            cipher: Cipher::new(material, ours, true)?,
            replay: ReplayWindows::default(),
        })
    }

    /// Opens `packet` into `out`. Returns the length of the plain compound packet.
    pub fn open(&mut self, packet: &[u8], out: &mut [u8]) -> Result<usize, SrtpError> {
        let trailer = match self.cipher {
            Cipher::Gcm { .. } => GCM_TAG + SRTCP_INDEX,
            Cipher::Cm { .. } => HMAC_TAG + SRTCP_INDEX,
        };
        if packet.len() < RTCP_CLEAR + trailer {
            return Err(SrtpError::Malformed);
        }
        let len = packet.len() - trailer;
        let out = out.get_mut(..len).ok_or(SrtpError::NoRoom)?;
        let ssrc = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
        let at = match self.cipher {
            Cipher::Gcm { .. } => packet.len() - SRTCP_INDEX,
            Cipher::Cm { .. } => len,
        };
        let word = [packet[at], packet[at + 1], packet[at + 2], packet[at + 3]];
        let index = u32::from_be_bytes(word);
        if index & E_FLAG == 0 {
            // Authenticated but unencrypted SRTCP is legal; nobody sends it in WebRTC (RFC 8827 §6.5).
            return Err(SrtpError::Malformed);
        }
        let index = index & !E_FLAG;
        if !self.replay.is_new(ssrc, index) {
            return Err(SrtpError::Replayed);
        }
        match &self.cipher {
            Cipher::Gcm { key, salt } => {
                let mut aad = [0u8; RTCP_CLEAR + SRTCP_INDEX];
                aad[..RTCP_CLEAR].copy_from_slice(&packet[..RTCP_CLEAR]);
                aad[RTCP_CLEAR..].copy_from_slice(&word);
                let nonce = gcm_nonce(salt, ssrc, u64::from(index));
                let (text, tag) = packet[RTCP_CLEAR..at].split_at(len - RTCP_CLEAR);
                key.open_separate_gather(nonce, Aad::from(aad), text, tag, &mut out[RTCP_CLEAR..])
                    .map_err(|_| SrtpError::NotAuthentic)?;
            }
            Cipher::Cm { key, salt, auth } => {
                let (covered, tag) = packet.split_at(len + SRTCP_INDEX);
                let expected = hmac_tag(auth, &[covered]);
                aws_lc_rs::constant_time::verify_slices_are_equal(&expected, tag)
                    .map_err(|_| SrtpError::NotAuthentic)?;
                out[RTCP_CLEAR..].copy_from_slice(&packet[RTCP_CLEAR..len]);
                key.less_safe_encrypt(&mut out[RTCP_CLEAR..], cm_iv(salt, ssrc, u64::from(index)))
                    .map_err(|_| SrtpError::Cipher)?;
            }
        }
        out[..RTCP_CLEAR].copy_from_slice(&packet[..RTCP_CLEAR]);
        self.replay.accept(ssrc, index);
        Ok(len)
    }
}

/// Senders whose indices are remembered, of one peer: of more, the one that came first is forgotten.
const MAX_SENDERS: usize = 64;

/// A window for each SSRC: each counts its SRTCP for itself (RFC 3711 §3.2.3), and a player has one for each m-line. Only
/// what was authentic gets a place.
#[derive(Debug, Default)]
struct ReplayWindows(Vec<(u32, ReplayWindow)>);

impl ReplayWindows {
    fn is_new(&self, ssrc: u32, index: u32) -> bool {
        let mut windows = self.0.iter().filter(|(of, _)| *of == ssrc);
        windows.all(|(_, window)| window.is_new(index))
    }

    fn accept(&mut self, ssrc: u32, index: u32) {
        if let Some((_, window)) = self.0.iter_mut().find(|(of, _)| *of == ssrc) {
            return window.accept(index);
        }
        if self.0.len() >= MAX_SENDERS {
            self.0.remove(0);
        }
        let mut window = ReplayWindow::default();
        window.accept(index);
        self.0.push((ssrc, window));
    }
}

/// RFC 3711 §3.3.2, over the SRTCP index: the last 64.
#[derive(Debug, Default)]
struct ReplayWindow {
    /// One more than the highest index seen; 0 before the first.
    next: u64,
    /// Bit n: `next - 1 - n` was seen.
    seen: u64,
}

impl ReplayWindow {
    fn is_new(&self, index: u32) -> bool {
        let index = u64::from(index);
        if index >= self.next {
            return true;
        }
        let age = self.next - 1 - index;
        age < 64 && self.seen >> age & 1 == 0
    }

    fn accept(&mut self, index: u32) {
        let index = u64::from(index);
        if index >= self.next {
            let ahead = index + 1 - self.next;
            self.seen = if ahead < 64 { self.seen << ahead | 1 } else { 1 };
            self.next = index + 1;
        } else {
            self.seen |= 1 << (self.next - 1 - index);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap())
            .collect()
    }

    /// RFC 3711 §B.3.
    #[test]
    fn keys_are_derived_as_in_the_rfc() {
        let key = hex("E1F97A0D3E018BE0D64FA32C06DE4139");
        let salt = hex("0EC675AD498AFEEBB6960B3AABE6");
        let mut out = [0u8; 16];
        derive(&key, &salt, label::RTP_KEY, &mut out).unwrap();
        assert_eq!(out.to_vec(), hex("C61E7A93744F39EE10734AFE3FF7A087"));
        let mut out = [0u8; 14];
        derive(&key, &salt, label::RTP_SALT, &mut out).unwrap();
        assert_eq!(out.to_vec(), hex("30CBBC08863D8C85D49DB34A9AE1"));
        let mut out = [0u8; 20];
        derive(&key, &salt, label::RTP_AUTH, &mut out).unwrap();
        assert_eq!(out.to_vec(), hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"));
    }

    /// RFC 7714 §16.1.1 and §17.1, which give session keys: the packet layer alone.
    #[test]
    fn gcm_seals_as_in_the_rfc() {
        let mut salt = [0u8; 12];
        salt.copy_from_slice(&hex("517569642070726f2071756f"));
        let key = UnboundKey::new(&AES_128_GCM, &hex("000102030405060708090a0b0c0d0e0f")).unwrap();
        let cipher = || {
            let key = UnboundKey::new(&AES_128_GCM, &hex("000102030405060708090a0b0c0d0e0f")).unwrap();
            Cipher::Gcm {
                key: LessSafeKey::new(key),
                salt,
            }
        };
        let mut protect = Protect {
            rtp: Cipher::Gcm {
                key: LessSafeKey::new(key),
                salt,
            },
            rtcp: cipher(),
            rtcp_index: 0x5d4,
        };
        let header = hex("8040f17b8041f8d35501a0b2");
        let payload = hex("47616c6c696120657374206f6d6e697320646976697361 20696e207061727465732074726573");
        let mut out = [0u8; 128];
        out[..12].copy_from_slice(&header);
        let len = protect.rtp(&mut out, 12, 0x5501_a0b2, 0xf17b, &payload).unwrap();
        let want = hex(
            "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a
             51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce",
        );
        assert_eq!(out[..len], want);

        let rtcp = hex(
            "81c8000d4d6172734e54503101 4e5450324f5450200000042a0000e930 4c756e61deadbeefdeadbeefdeadbeef deadbeefdeadbeefdeadbeef",
        );
        let mut out = [0u8; 128];
        let rtcp = &rtcp[..rtcp.len() / 4 * 4];
        out[..rtcp.len()].copy_from_slice(rtcp);
        let len = protect.rtcp(&mut out, rtcp.len()).unwrap();
        assert_eq!(
            out[len - 4..len],
            [0x80, 0, 5, 0xd4],
            "E flag and index close the packet"
        );
        let mut open = UnprotectRtcp {
            cipher: cipher(),
            replay: ReplayWindows::default(),
        };
        let mut plain = [0u8; 128];
        let opened = open.open(&out[..len], &mut plain).unwrap();
        assert_eq!(&plain[..opened], rtcp);
        assert_eq!(open.open(&out[..len], &mut plain), Err(SrtpError::Replayed));
    }

    const PROFILES: [SrtpProfile; 3] = [
        SrtpProfile::AeadAes128Gcm,
        SrtpProfile::AeadAes256Gcm,
        SrtpProfile::Aes128CmSha1_80,
    ];

    fn material(profile: SrtpProfile, client: bool) -> KeyingMaterial {
        let bytes = (0..profile.keying_material_len())
            .map(|n| u8::try_from(n * 7 % 251).unwrap())
            .collect();
        KeyingMaterial::new(profile, client, bytes)
    }

    #[test]
    fn too_little_material_is_refused() {
        for profile in PROFILES {
            let mut short = material(profile, true);
            short.bytes.pop();
            assert_eq!(Protect::new(&short).err(), Some(SrtpError::KeyingMaterial));
        }
    }

    #[test]
    fn each_end_opens_what_the_other_sealed_and_nothing_else() {
        for profile in PROFILES {
            let mut protect = Protect::new(&material(profile, true)).unwrap();
            let mut ours = UnprotectRtcp::new(&material(profile, true)).unwrap();
            let mut theirs = UnprotectRtcp::new(&material(profile, false)).unwrap();
            for n in 0..200u8 {
                let mut packet = [n; 256];
                packet[..8].copy_from_slice(&[0x80, 201, 0, 7, 1, 2, 3, 4]);
                let plain = packet;
                let len = protect.rtcp(&mut packet, 32).unwrap();
                assert_ne!(packet[8..32], plain[8..32]);
                let mut out = [0u8; 256];
                assert_eq!(
                    ours.open(&packet[..len], &mut out),
                    Err(SrtpError::NotAuthentic),
                    "own direction"
                );
                for at in 0..len {
                    let mut broken = packet;
                    broken[at] ^= 0x10;
                    assert!(
                        theirs.open(&broken[..len], &mut out).is_err(),
                        "{profile:?} byte {at}"
                    );
                }
                assert_eq!(theirs.open(&packet[..len], &mut out), Ok(32));
                assert_eq!(out[..32], plain[..32]);
                assert_eq!(theirs.open(&packet[..len], &mut out), Err(SrtpError::Replayed));
            }
            assert_eq!(theirs.open(&[0x80; 11], &mut [0; 64]), Err(SrtpError::Malformed));
            assert_eq!(protect.rtcp(&mut [0; 8], 32), Err(SrtpError::NoRoom));
            assert_eq!(
                protect.rtp(&mut [0; 20], 12, 1, 1, &[0; 9]),
                Err(SrtpError::NoRoom)
            );
        }
    }

    /// As libsrtp sends: each SSRC begins at its own index.
    #[test]
    fn each_sender_counts_for_itself() {
        let (profile, mut out) = (SrtpProfile::AeadAes128Gcm, [0u8; 64]);
        let mut open = UnprotectRtcp::new(&material(profile, false)).unwrap();
        let report = |ssrc: u8, index: u32| {
            let mut protect = Protect::new(&material(profile, true)).unwrap();
            protect.rtcp_index = index;
            let mut packet = [0u8; 64];
            packet[..8].copy_from_slice(&[0x80, 201, 0, 1, 0, 0, 0, ssrc]);
            let len = protect.rtcp(&mut packet, 8).unwrap();
            packet[..len].to_vec()
        };
        for index in [1, 2] {
            for ssrc in [1, 2] {
                assert_eq!(open.open(&report(ssrc, index), &mut out), Ok(8), "{ssrc} {index}");
                assert_eq!(
                    open.open(&report(ssrc, index), &mut out),
                    Err(SrtpError::Replayed)
                );
            }
        }
        for ssrc in 0..=u8::MAX {
            // Some have been seen.
            let _ = open.open(&report(ssrc, 7), &mut out);
        }
        assert_eq!(open.replay.0.len(), MAX_SENDERS);
    }

    #[test]
    fn a_key_that_is_used_up_is_not_used_again() {
        let mut protect = Protect::new(&material(SrtpProfile::AeadAes128Gcm, true)).unwrap();
        protect.rtcp_index = !E_FLAG;
        let mut packet = [0u8; 64];
        assert!(protect.rtcp(&mut packet, 8).is_ok(), "the last one");
        assert_eq!(protect.rtcp(&mut packet, 8), Err(SrtpError::Exhausted));
    }

    #[test]
    fn no_nonce_is_used_twice() {
        let salt = [0x5a; 12];
        let mut seen = std::collections::HashSet::new();
        for ssrc in [1u32, 2, 0x0001_0000] {
            for index in [0u64, 1, 0xffff, 0x1_0000, 0x1_0001, 0xffff_ffff, 0x1_0000_0000] {
                assert!(
                    seen.insert(*gcm_nonce(&salt, ssrc, index).as_ref()),
                    "{ssrc} {index}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn the_window_takes_each_index_once(indices in prop::collection::vec(0u32..300, 1..400)) {
            let mut window = ReplayWindow::default();
            let mut taken = std::collections::HashSet::new();
            let mut highest = 0;
            for index in indices {
                if window.is_new(index) {
                    prop_assert!(taken.insert(index), "{index} was taken before");
                    window.accept(index);
                    highest = highest.max(index);
                } else {
                    prop_assert!(taken.contains(&index) || highest - index >= 64);
                }
            }
        }

        #[test]
        fn hostile_srtcp_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for profile in PROFILES {
                let mut open = UnprotectRtcp::new(&material(profile, false)).unwrap();
                prop_assert!(open.open(&bytes, &mut [0; 1500]).is_err());
            }
        }
    }
}
