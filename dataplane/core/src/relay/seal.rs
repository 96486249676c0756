//! Seals of messages: AES-256-GCM (NIST SP 800-38D) over the whole message, by keys that every data plane of a cluster has.
//!
//! **No nonce is used twice.** A process draws 96 random bits when it starts and counts up from there, modulo 2^96, for all its
//! messages whatever the key. Two processes with one key meet only if their starts lie closer together than the messages that
//! they send: with M starts of at most N messages each the probability is below M² · N / 2^96. For 2^16 starts and ten thousand
//! messages a second for a year (2^38) that is 2^-26.
//!
//! **A message can't be moved.** The subject that it is sent on and its head are authenticated with it; its own number and
//! source, in the sealed part, tell a copy from the original.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use weever_proto::relay::{Form, KEY_ID, NONCE, PLAIN_HEAD, SEALED_HEAD, TAG};

use super::RelayDrop;

/// Length of a key, bytes.
pub const KEY: usize = 32;
/// Bits of a nonce.
const NONCE_MASK: u128 = (1 << (8 * NONCE)) - 1;
/// What a key's name is the digest of, before the key.
const NAMES: &[u8] = b"weever relay key";

/// A key. What it is is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; KEY]);

impl Key {
    /// From its bytes.
    pub fn new(bytes: [u8; KEY]) -> Self {
        Self(bytes)
    }

    /// Names it in the head of messages: of a digest that leads nowhere back.
    fn id(&self) -> [u8; KEY_ID] {
        let digest = digest(&SHA256, &[NAMES, &self.0].concat());
        let mut id = [0; KEY_ID];
        for (byte, of_digest) in id.iter_mut().zip(digest.as_ref()) {
            *byte = *of_digest;
        }
        id
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

/// A message could not be sealed, or a key not be used: a fault of the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("AES-256-GCM failed")]
pub struct SealError;

/// Seals what goes out and opens what comes in; without keys both are plain.
#[derive(Debug)]
pub struct Seals {
    keys: Vec<([u8; KEY_ID], LessSafeKey)>,
    /// The next one, in its lower 96 bits.
    nonce: u128,
    /// Reused: subject and head.
    covered: Vec<u8>,
}

impl Seals {
    /// The first key seals, each opens. `start` is random.
    ///
    /// # Errors
    /// A fault of the library.
    pub fn new(keys: &[Key], start: u128) -> Result<Self, SealError> {
        let ready = |key: &Key| {
            let unbound = UnboundKey::new(&AES_256_GCM, &key.0).map_err(|_| SealError)?;
            Ok((key.id(), LessSafeKey::new(unbound)))
        };
        Ok(Self {
            keys: keys.iter().map(ready).collect::<Result<_, _>>()?,
            nonce: start & NONCE_MASK,
            covered: Vec::new(),
        })
    }

    /// What a message grows by.
    pub fn overhead(&self) -> usize {
        match self.keys.is_empty() {
            true => PLAIN_HEAD,
            false => SEALED_HEAD + TAG,
        }
    }

    /// Makes `out` the beginning of a message, which is to be written behind it.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        out.clear();
        match self.keys.first() {
            None => out.extend_from_slice(&Form::plain_head()),
            Some((id, _)) => {
                let bytes = self.nonce.to_be_bytes();
                self.nonce = (self.nonce + 1) & NONCE_MASK;
                let mut nonce = [0; NONCE];
                for (byte, next) in nonce.iter_mut().zip(bytes.into_iter().skip(16 - NONCE)) {
                    *byte = next;
                }
                out.extend_from_slice(&Form::sealed_head(*id, nonce));
            }
        }
    }

    /// Ends a message that [`Seals::begin`] began.
    ///
    /// # Errors
    /// A fault of the library; then nothing may be sent.
    pub fn end(&mut self, subject: &str, out: &mut Vec<u8>) -> Result<(), SealError> {
        let Some((_, key)) = self.keys.first() else {
            return Ok(());
        };
        let (head, message) = out.split_at_mut_checked(SEALED_HEAD).ok_or(SealError)?;
        let nonce = head.last_chunk::<NONCE>().ok_or(SealError)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        cover(&mut self.covered, subject, head);
        let tag = key
            .seal_in_place_separate_tag(nonce, Aad::from(&self.covered), message)
            .map_err(|_| SealError)?;
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// The message in what came on a subject; `room` is reused.
    ///
    /// # Errors
    /// It isn't whole, or not one of ours.
    pub fn open<'a>(
        &mut self,
        subject: &str,
        bytes: &'a [u8],
        room: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], RelayDrop> {
        match Form::parse(bytes).map_err(|_| RelayDrop::Malformed)? {
            Form::Plain(message) if self.keys.is_empty() => Ok(message),
            Form::Plain(_) => Err(RelayDrop::Unsealed),
            Form::Sealed { .. } if self.keys.is_empty() => Err(RelayDrop::Sealed),
            Form::Sealed {
                head,
                key,
                nonce,
                sealed,
            } => {
                cover(&mut self.covered, subject, head);
                let (sealed, tag) = sealed
                    .split_at_checked(sealed.len().saturating_sub(TAG))
                    .ok_or(RelayDrop::Malformed)?;
                // Names are short: two keys may share one.
                let mut refused = RelayDrop::UnknownKey;
                room.resize(sealed.len(), 0);
                for (_, key) in self.keys.iter().filter(|(id, _)| *id == key) {
                    let nonce = Nonce::assume_unique_for_key(nonce);
                    let aad = Aad::from(self.covered.as_slice());
                    if key.open_separate_gather(nonce, aad, sealed, tag, room).is_ok() {
                        return Ok(room);
                    }
                    refused = RelayDrop::Forged;
                }
                Err(refused)
            }
        }
    }
}

fn cover(covered: &mut Vec<u8>, subject: &str, head: &[u8]) {
    covered.clear();
    covered.extend_from_slice(subject.as_bytes());
    covered.extend_from_slice(head);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seals(keys: &[u8], start: u128) -> Seals {
        let keys: Vec<Key> = keys.iter().map(|byte| Key::new([*byte; KEY])).collect();
        Seals::new(&keys, start).unwrap()
    }

    fn sealed(seals: &mut Seals, subject: &str, message: &[u8]) -> Vec<u8> {
        let mut out = vec![9; 50];
        seals.begin(&mut out);
        out.extend_from_slice(message);
        seals.end(subject, &mut out).unwrap();
        assert_eq!(out.len(), message.len() + seals.overhead());
        out
    }

    fn opened(seals: &mut Seals, subject: &str, bytes: &[u8]) -> Result<Vec<u8>, RelayDrop> {
        let mut room = Vec::new();
        seals.open(subject, bytes, &mut room).map(<[u8]>::to_vec)
    }

    #[test]
    fn the_first_key_seals_and_each_opens() {
        let (mut old, mut both, mut new) = (seals(&[1], 7), seals(&[2, 1], 8), seals(&[2], 9));
        let by_old = sealed(&mut old, "a", b"words");
        assert_eq!(opened(&mut both, "a", &by_old).unwrap(), b"words");
        assert_eq!(opened(&mut new, "a", &by_old), Err(RelayDrop::UnknownKey));
        let by_both = sealed(&mut both, "a", b"words");
        assert_eq!(opened(&mut new, "a", &by_both).unwrap(), b"words");
        assert!(!by_both.windows(5).any(|window| window == b"words"));
    }

    #[test]
    fn plain_and_sealed_do_not_mix() {
        let (mut plain, mut keyed) = (seals(&[], 0), seals(&[1], 0));
        let in_clear = sealed(&mut plain, "a", b"words");
        assert_eq!(opened(&mut plain, "b", &in_clear).unwrap(), b"words");
        assert_eq!(opened(&mut keyed, "a", &in_clear), Err(RelayDrop::Unsealed));
        let covered = sealed(&mut keyed, "a", b"words");
        assert_eq!(opened(&mut plain, "a", &covered), Err(RelayDrop::Sealed));
    }

    #[test]
    fn no_byte_and_no_subject_can_be_changed() {
        let mut seals = seals(&[1], 5);
        let good = sealed(&mut seals, "weever.media.1", b"words");
        assert_eq!(
            opened(&mut seals, "weever.media.2", &good),
            Err(RelayDrop::Forged)
        );
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(opened(&mut seals, "weever.media.1", &bad).is_err(), "byte {at}");
            assert!(
                opened(&mut seals, "weever.media.1", &good[..at]).is_err(),
                "cut at {at}"
            );
        }
        assert_eq!(opened(&mut seals, "weever.media.1", &good).unwrap(), b"words");
    }

    #[test]
    fn nonces_count_up_and_over_the_end() {
        let mut seals = seals(&[1], u128::MAX - 1);
        let mut nonces: Vec<Vec<u8>> = (0..1000)
            .map(|_| sealed(&mut seals, "a", b"")[PLAIN_HEAD + KEY_ID..SEALED_HEAD].to_vec())
            .collect();
        assert_eq!(nonces[2], [0; NONCE]);
        nonces.sort();
        nonces.dedup();
        assert_eq!(nonces.len(), 1000);
    }

    #[test]
    fn a_key_does_not_show() {
        assert!(!format!("{:?}", seals(&[77], 0)).contains("77"));
        assert!(!format!("{:?}", Key::new([77; KEY])).contains("77"));
    }
}
