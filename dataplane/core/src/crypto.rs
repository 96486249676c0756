//! The process's identity, and the crypto that its DTLS associations share.
//!
//! str0m asks a provider for a DTLS instance when an `Rtc` is built. Ours gives it one that works on a configuration
//! shared by the whole process, and that keeps a copy of the SRTP keys for the session that asked: subscribers' media
//! never passes through str0m.

mod rsa;

use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use dimpl::{Config, Dtls, DtlsCertificate};
use rtc_dtls::config::HandshakeConfig;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
};
use str0m::crypto::{CryptoError, CryptoProvider};
use str0m::{Rtc, RtcConfig};
use weever_proto::Fingerprint;

use self::rsa::RsaDtls;
use crate::srtp::{KeyingMaterial, SrtpProfile};
use crate::wire::client_hello;

/// Largest DTLS datagram that we send: fits every path that RTP fits.
const DTLS_MTU: usize = 1200;

/// The DTLS certificate of a data plane process and the shared handshake configuration. One for all workers: making a
/// configuration costs five times the handshake itself.
pub struct Identity {
    certificate: DtlsCert,
    fingerprint: Fingerprint,
    provider: Arc<CryptoProvider>,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The certificate could not be made.
    #[error("making the DTLS certificate: {0}")]
    Certificate(String),
    /// The handshake configuration was refused.
    #[error("configuring DTLS: {0}")]
    Config(String),
}

impl Identity {
    /// Makes a self-signed certificate, valid for this process only.
    pub fn generate() -> Result<Arc<Self>, IdentityError> {
        let base = str0m_aws_lc_rs::default_provider();
        let made = dimpl::certificate::generate_self_signed_certificate()
            .map_err(|e| IdentityError::Certificate(e.to_string()))?;
        // The peer's address is proven by ICE before DTLS is looked at: no cookie round trip (RFC 6347 §4.2.1).
        let config = Config::builder()
            .use_server_cookie(false)
            .mtu(DTLS_MTU)
            .build()
            .map_err(|e| IdentityError::Config(e.to_string()))?;
        let digest = base.sha256_provider.sha256(&made.certificate);
        let certificate = DtlsCert {
            certificate: made.certificate,
            private_key: made.private_key,
        };
        // str0m wants its providers for ever; a process makes one identity.
        let dtls: &'static SharedDtls = Box::leak(Box::new(SharedDtls {
            config: Arc::new(config),
            rsa: rsa::config(&certificate)?,
        }));
        Ok(Arc::new(Self {
            certificate,
            fingerprint: Fingerprint {
                hash: "sha-256".into(),
                value: digest.to_vec(),
            },
            provider: Arc::new(CryptoProvider {
                dtls_provider: dtls,
                ..base
            }),
        }))
    }

    /// Hash of the certificate, for `a=fingerprint`.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// HMAC-SHA1, the MESSAGE-INTEGRITY of STUN (RFC 8489 §14.5).
    pub(crate) fn hmac_sha1(&self, key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
        self.provider.sha1_hmac_provider.sha1_hmac(key, parts)
    }

    /// Builds an `Rtc` with this identity, and the slot where its SRTP keys will appear.
    pub(crate) fn build(&self, config: RtcConfig, now: Instant) -> (Rtc, KeySlot) {
        let slot = KeySlot::default();
        NEXT_SLOT.with_borrow_mut(|next| *next = Some(slot.clone()));
        let rtc = config
            .set_crypto_provider(self.provider.clone())
            .set_dtls_cert(self.certificate.clone())
            .set_dtls_version(DtlsVersion::Dtls12)
            .build(now);
        let taken = NEXT_SLOT.with_borrow(Option::is_none);
        assert!(taken, "an Rtc makes its DTLS instance while it is built");
        (rtc, slot)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// Where a session finds its SRTP keys once the handshake has made them.
#[derive(Clone, Default)]
pub(crate) struct KeySlot(Arc<OnceLock<KeyingMaterial>>);

impl KeySlot {
    pub(crate) fn get(&self) -> Option<&KeyingMaterial> {
        self.0.get()
    }
}

thread_local! {
    /// Handed from [`Identity::build`] to [`SharedDtls::new_dtls`], which str0m calls within it, on the same thread.
    static NEXT_SLOT: RefCell<Option<KeySlot>> = const { RefCell::new(None) };
}

#[derive(Debug)]
struct SharedDtls {
    config: Arc<Config>,
    /// For clients that may show an RSA certificate.
    rsa: Arc<HandshakeConfig>,
}

impl DtlsProvider for SharedDtls {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        None
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        _mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let certificate = DtlsCertificate {
            certificate: cert.certificate.clone(),
            private_key: cert.private_key.clone(),
        };
        let dtls = match version {
            DtlsVersion::Dtls13 => Dtls::new_13(self.config.clone(), certificate, now),
            DtlsVersion::Auto => Dtls::new_auto(self.config.clone(), certificate, now),
            _ => Dtls::new_12(self.config.clone(), certificate, now),
        };
        let slot = NEXT_SLOT.with_borrow_mut(Option::take).unwrap_or_default();
        Ok(Box::new(CapturingDtls {
            dtls,
            rsa: None,
            undecided: Some(self.rsa.clone()),
            now,
            slot,
        }))
    }
}

/// A DTLS instance that lets its SRTP keys be seen on their way to str0m.
struct CapturingDtls {
    dtls: Dtls,
    /// Does the work of `dtls` where the peer may show an RSA certificate.
    rsa: Option<RsaDtls>,
    /// Until the first datagram tells which of them it is to be.
    undecided: Option<Arc<HandshakeConfig>>,
    /// When it was last told the time.
    now: Instant,
    slot: KeySlot,
}

impl CapturingDtls {
    fn decide(&mut self, packet: &[u8]) {
        if let Some(config) = self.undecided.take()
            && !self.dtls.is_active()
            && client_hello::is_of_general_library(packet)
        {
            self.rsa = Some(RsaDtls::new(config, self.now));
        }
    }
}

impl fmt::Debug for CapturingDtls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CapturingDtls")
    }
}

impl DtlsInstance for CapturingDtls {
    fn set_active(&mut self, active: bool) {
        self.dtls.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.decide(packet);
        match &mut self.rsa {
            Some(rsa) => rsa.handle_packet(packet),
            None => self.dtls.handle_packet(packet),
        }
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        let active = self.is_active();
        let output = match &mut self.rsa {
            Some(rsa) => rsa.poll_output(buf),
            None => self.dtls.poll_output(buf),
        };
        if let DtlsOutput::KeyingMaterial(material, profile) = &output
            && let Some(profile) = SrtpProfile::from_dtls(*profile)
        {
            // Keys are made once an association; a second set (renegotiation) would be ignored.
            let _ = self
                .slot
                .0
                .set(KeyingMaterial::new(profile, active, material.as_ref().to_vec()));
        }
        output
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.now = now;
        match &mut self.rsa {
            Some(rsa) => rsa.handle_timeout(now),
            None => self.dtls.handle_timeout(now),
        }
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        match &mut self.rsa {
            Some(rsa) => rsa.send_application_data(data),
            None => self.dtls.send_application_data(data),
        }
    }

    fn is_active(&self) -> bool {
        self.rsa.is_none() && self.dtls.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        match &self.rsa {
            Some(rsa) => rsa.protocol_version(),
            None => self.dtls.protocol_version(),
        }
    }

    fn is_closing(&self) -> bool {
        match &self.rsa {
            Some(rsa) => rsa.is_closing(),
            None => self.dtls.is_closing(),
        }
    }

    fn is_closed(&self) -> bool {
        match &self.rsa {
            Some(rsa) => rsa.is_closed(),
            None => self.dtls.is_closed(),
        }
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        match &mut self.rsa {
            Some(rsa) => {
                rsa.close();
                Ok(())
            }
            None => self.dtls.close(),
        }
    }
}
