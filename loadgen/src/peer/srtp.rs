//! A viewer's SRTP: RTP in, RTCP both ways (RFC 3711, RFC 7714). Written for this program alone, so that a server is
//! never checked against its own code.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{self, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use str0m::crypto::dtls::SrtpProfile as DtlsProfile;

/// RFC 7714 §13.2.
const GCM_TAG: usize = 16;
/// RFC 3711 §5.2: 80 of HMAC-SHA1's bits.
const SHA1_TAG: usize = 10;
/// RFC 3711 §3.4: the E bit and 31 bits of index.
const RTCP_INDEX: usize = 4;
const ENCRYPTED: u32 = 1 << 31;
/// RFC 3711 §3.4: RTCP's first header stays readable.
const RTCP_HEADER: usize = 8;
/// What [`Srtp::seal_rtcp`] adds at most.
pub(crate) const RTCP_OVERHEAD: usize = GCM_TAG + RTCP_INDEX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Gcm128,
    Gcm256,
    Sha1,
}

impl Profile {
    pub(crate) fn from_dtls(profile: DtlsProfile) -> Option<Self> {
        match profile {
            DtlsProfile::AEAD_AES_128_GCM => Some(Self::Gcm128),
            DtlsProfile::AEAD_AES_256_GCM => Some(Self::Gcm256),
            DtlsProfile::AES128_CM_SHA1_80 => Some(Self::Sha1),
            _ => None,
        }
    }

    /// As the registry of RFC 5764 §4.1.2 and RFC 7714 §14.2 calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gcm128 => "AEAD_AES_128_GCM",
            Self::Gcm256 => "AEAD_AES_256_GCM",
            Self::Sha1 => "AES128_CM_SHA1_80",
        }
    }

    const fn key_and_salt(self) -> (usize, usize) {
        match self {
            Self::Gcm128 => (16, 12),
            Self::Gcm256 => (32, 12),
            Self::Sha1 => (16, 14),
        }
    }
}

/// What a handshake exported (RFC 5764 §4.2): client's key, server's key, client's salt, server's salt.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) profile: Profile,
    client: bool,
    exported: Vec<u8>,
}

impl Keys {
    /// `client`: whether we were the DTLS client.
    pub(crate) fn new(profile: Profile, client: bool, exported: &[u8]) -> Self {
        Self {
            profile,
            client,
            exported: exported.to_vec(),
        }
    }

    fn master(&self, ours: bool) -> Option<(&[u8], &[u8])> {
        let (key, salt) = self.profile.key_and_salt();
        let which = usize::from(ours != self.client);
        let salts = self.exported.get(2 * key..)?;
        Some((
            self.exported.get(which * key..)?.get(..key)?,
            salts.get(which * salt..)?.get(..salt)?,
        ))
    }
}

/// Labels of RFC 3711 §4.3.2: key, authentication and salt of RTP; RTCP's are three further.
const RTP_LABEL: u8 = 0;
const RTCP_LABEL: u8 = 3;

/// RFC 3711 §4.3.1 and §4.3.3, with a key derivation rate of 0; RFC 6188 §3 for longer keys.
fn derive<const N: usize>(key: &[u8], salt: &[u8], label: u8) -> Option<[u8; N]> {
    let mut counter = [0; 16];
    for (to, from) in counter.iter_mut().zip(salt) {
        *to = *from;
    }
    counter[7] ^= label;
    let mut out = [0; N];
    encrypting(key)?
        .less_safe_encrypt(&mut out, EncryptionContext::Iv128(FixedLength::from(counter)))
        .ok()?;
    Some(out)
}

fn unbound(key: &[u8]) -> Option<cipher::UnboundCipherKey> {
    let algorithm = if key.len() == 32 {
        &cipher::AES_256
    } else {
        &cipher::AES_128
    };
    cipher::UnboundCipherKey::new(algorithm, key).ok()
}

fn encrypting(key: &[u8]) -> Option<EncryptingKey> {
    EncryptingKey::ctr(unbound(key)?).ok()
}

/// One direction of RTP or RTCP.
enum Cipher {
    Gcm { key: LessSafeKey, salt: [u8; 12] },
    Sha1(Box<Sha1>),
}

struct Sha1 {
    open: DecryptingKey,
    seal: EncryptingKey,
    salt: [u8; 14],
    auth: hmac::Key,
}

impl Cipher {
    fn new(keys: &Keys, ours: bool, label: u8) -> Option<Self> {
        let (master, salt) = keys.master(ours)?;
        let gcm = |key: UnboundKey| {
            Some(Self::Gcm {
                key: LessSafeKey::new(key),
                salt: derive(master, salt, label + 2)?,
            })
        };
        match keys.profile {
            Profile::Gcm128 => gcm(UnboundKey::new(&AES_128_GCM, &derive::<16>(master, salt, label)?).ok()?),
            Profile::Gcm256 => gcm(UnboundKey::new(&AES_256_GCM, &derive::<32>(master, salt, label)?).ok()?),
            Profile::Sha1 => {
                let key = derive::<16>(master, salt, label)?;
                let auth: [u8; 20] = derive(master, salt, label + 1)?;
                Some(Self::Sha1(Box::new(Sha1 {
                    open: DecryptingKey::ctr(unbound(&key)?).ok()?,
                    seal: encrypting(&key)?,
                    salt: derive(master, salt, label + 2)?,
                    auth: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &auth),
                })))
            }
        }
    }
}

/// RFC 7714 §8.1 and §9.1.
fn nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> Nonce {
    let mut nonce = *salt;
    for (at, byte) in ssrc.to_be_bytes().into_iter().enumerate() {
        nonce[2 + at] ^= byte;
    }
    for (at, byte) in index.to_be_bytes().into_iter().skip(2).enumerate() {
        nonce[6 + at] ^= byte;
    }
    Nonce::assume_unique_for_key(nonce)
}

/// RFC 3711 §4.1.1.
fn counter(salt: &[u8; 14], ssrc: u32, index: u64) -> FixedLength<16> {
    let mut counter = [0; 16];
    counter[..14].copy_from_slice(salt);
    for (at, byte) in ssrc.to_be_bytes().into_iter().enumerate() {
        counter[4 + at] ^= byte;
    }
    for (at, byte) in index.to_be_bytes().into_iter().skip(2).enumerate() {
        counter[8 + at] ^= byte;
    }
    FixedLength::from(counter)
}

impl Sha1 {
    /// RFC 3711 §4.2: over the packet and `more`, which isn't sent (RTP) or is sent already (RTCP).
    fn tag(&self, parts: &[&[u8]]) -> [u8; SHA1_TAG] {
        let mut context = hmac::Context::with_key(&self.auth);
        parts.iter().for_each(|part| context.update(part));
        let mut tag = [0; SHA1_TAG];
        for (to, from) in tag.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        tag
    }

    fn decrypt(&self, ssrc: u32, index: u64, text: &mut [u8]) -> Option<()> {
        let context = DecryptionContext::Iv128(counter(&self.salt, ssrc, index));
        self.open.decrypt(text, context).ok().map(drop)
    }
}

/// One viewer's keys.
pub(crate) struct Srtp {
    pub(crate) profile: Profile,
    rtp_in: Cipher,
    rtcp_in: Cipher,
    rtcp_out: Cipher,
    rtcp_sent: u32,
}

impl Srtp {
    /// `None`: too few bytes were exported.
    pub(crate) fn new(keys: &Keys) -> Option<Self> {
        Some(Self {
            profile: keys.profile,
            rtp_in: Cipher::new(keys, false, RTP_LABEL)?,
            rtcp_in: Cipher::new(keys, false, RTCP_LABEL)?,
            rtcp_out: Cipher::new(keys, true, RTCP_LABEL)?,
            rtcp_sent: 0,
        })
    }

    /// Authenticates an RTP packet and decrypts it in place. `header`: its length with extensions; `index`: roll-over
    /// counter and sequence number. The payload's length, or `None` when it isn't authentic.
    pub(crate) fn open_rtp(&self, packet: &mut [u8], header: usize, ssrc: u32, index: u64) -> Option<usize> {
        match &self.rtp_in {
            Cipher::Gcm { key, salt } => {
                let (clear, sealed) = packet.split_at_mut_checked(header)?;
                let nonce = nonce(salt, ssrc, index);
                Some(key.open_in_place(nonce, Aad::from(&*clear), sealed).ok()?.len())
            }
            Cipher::Sha1(sha1) => {
                let end = packet.len().checked_sub(SHA1_TAG)?;
                let (signed, tag) = packet.split_at_mut_checked(end)?;
                let roc = u32::try_from(index >> 16).ok()?.to_be_bytes();
                if sha1.tag(&[signed, &roc]) != *tag {
                    return None;
                }
                let text = signed.get_mut(header..)?;
                sha1.decrypt(ssrc, index, text)?;
                Some(text.len())
            }
        }
    }

    /// Authenticates a compound and decrypts it in place. Its length in clear.
    pub(crate) fn open_rtcp(&self, packet: &mut [u8]) -> Option<usize> {
        let ssrc = u32::from_be_bytes(packet.get(4..RTCP_HEADER)?.try_into().ok()?);
        match &self.rtcp_in {
            Cipher::Gcm { key, salt } => {
                let end = packet.len().checked_sub(RTCP_INDEX)?;
                let (rest, trailer) = packet.split_at_mut_checked(end)?;
                let index = encrypted_index(trailer)?;
                let (clear, sealed) = rest.split_at_mut_checked(RTCP_HEADER)?;
                let mut aad = [0; RTCP_HEADER + RTCP_INDEX];
                aad[..RTCP_HEADER].copy_from_slice(clear);
                aad[RTCP_HEADER..].copy_from_slice(trailer);
                let nonce = nonce(salt, ssrc, u64::from(index));
                let text = key.open_in_place(nonce, Aad::from(&aad), sealed).ok()?;
                Some(RTCP_HEADER + text.len())
            }
            Cipher::Sha1(sha1) => {
                let end = packet.len().checked_sub(SHA1_TAG)?;
                let (signed, tag) = packet.split_at_mut_checked(end)?;
                if sha1.tag(&[signed]) != *tag {
                    return None;
                }
                let end = signed.len().checked_sub(RTCP_INDEX)?;
                let (rest, trailer) = signed.split_at_mut_checked(end)?;
                let index = encrypted_index(trailer)?;
                sha1.decrypt(ssrc, u64::from(index), rest.get_mut(RTCP_HEADER..)?)?;
                Some(rest.len())
            }
        }
    }

    /// Protects a compound in place.
    pub(crate) fn seal_rtcp(&mut self, packet: &mut Vec<u8>) -> Option<()> {
        let ssrc = u32::from_be_bytes(packet.get(4..RTCP_HEADER)?.try_into().ok()?);
        let index = self.rtcp_sent;
        self.rtcp_sent += 1;
        let trailer = (ENCRYPTED | index).to_be_bytes();
        let (clear, text) = packet.split_at_mut_checked(RTCP_HEADER)?;
        match &self.rtcp_out {
            Cipher::Gcm { key, salt } => {
                let mut aad = [0; RTCP_HEADER + RTCP_INDEX];
                aad[..RTCP_HEADER].copy_from_slice(clear);
                aad[RTCP_HEADER..].copy_from_slice(&trailer);
                let nonce = nonce(salt, ssrc, u64::from(index));
                let tag = key
                    .seal_in_place_separate_tag(nonce, Aad::from(&aad), text)
                    .ok()?;
                packet.extend_from_slice(tag.as_ref());
                packet.extend_from_slice(&trailer);
            }
            Cipher::Sha1(sha1) => {
                let context = EncryptionContext::Iv128(counter(&sha1.salt, ssrc, u64::from(index)));
                sha1.seal.less_safe_encrypt(text, context).ok()?;
                packet.extend_from_slice(&trailer);
                let tag = sha1.tag(&[packet]);
                packet.extend_from_slice(&tag);
            }
        }
        Some(())
    }
}

fn encrypted_index(trailer: &[u8]) -> Option<u32> {
    let word = u32::from_be_bytes(trailer.try_into().ok()?);
    (word & ENCRYPTED != 0).then_some(word & !ENCRYPTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILES: [Profile; 3] = [Profile::Gcm128, Profile::Gcm256, Profile::Sha1];

    fn both_ends(profile: Profile) -> (Srtp, Srtp) {
        let (key, salt) = profile.key_and_salt();
        let exported: Vec<u8> = (0u8..).take(2 * (key + salt)).collect();
        let end = |client| Srtp::new(&Keys::new(profile, client, &exported)).unwrap();
        (end(true), end(false))
    }

    /// RFC 3711 appendix B.3.
    #[test]
    fn keys_are_derived_as_in_the_rfc() {
        let key: [u8; 16] = 0xE1F9_7A0D_3E01_8BE0_D64F_A32C_06DE_4139u128.to_be_bytes();
        let salt = &0x0EC6_75AD_498A_FEEB_B696_0B3A_ABE6u128.to_be_bytes()[2..];
        assert_eq!(
            derive::<16>(&key, salt, 0).unwrap(),
            0xC61E_7A93_744F_39EE_1073_4AFE_3FF7_A087u128.to_be_bytes()
        );
        assert_eq!(
            derive::<14>(&key, salt, 2).unwrap(),
            0x30CB_BC08_863D_8C85_D49D_B34A_9AE1u128.to_be_bytes()[2..]
        );
        let auth: [u8; 20] = derive(&key, salt, 1).unwrap();
        assert_eq!(auth[..8], [0xCE, 0xBE, 0x32, 0x1F, 0x6F, 0xF7, 0x71, 0x6B]);
    }

    #[test]
    fn rtcp_goes_both_ways_and_tampering_is_seen() {
        for profile in PROFILES {
            let (mut client, server) = both_ends(profile);
            let clear: Vec<u8> = (0u8..32).collect();
            let mut sealed = clear.clone();
            client.seal_rtcp(&mut sealed).unwrap();
            assert!(sealed.len() <= clear.len() + RTCP_OVERHEAD);
            let mut tampered = sealed.clone();
            tampered[9] ^= 1;
            assert_eq!(server.open_rtcp(&mut tampered), None);
            let mut own = sealed.clone();
            assert_eq!(client.open_rtcp(&mut own), None, "a key of the other direction");
            let length = server.open_rtcp(&mut sealed).unwrap();
            assert_eq!(sealed[..length], clear[..], "{profile:?}");
        }
    }

    #[test]
    fn short_packets_are_refused() {
        for profile in PROFILES {
            let (client, _) = both_ends(profile);
            for length in 0..40 {
                let mut packet = vec![0x80; length];
                assert_eq!(client.open_rtcp(&mut packet), None);
                assert_eq!(client.open_rtp(&mut packet, 12, 1, 1), None);
            }
        }
        assert!(Srtp::new(&Keys::new(Profile::Gcm128, true, &[0; 55])).is_none());
    }
}
