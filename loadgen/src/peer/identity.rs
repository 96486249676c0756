//! Who all clients of this process are, and how they come by their SRTP keys.
//!
//! Viewers' media doesn't pass through str0m: thousands of them in one process need a receive path of their own. So the
//! DTLS instance that a client's `Rtc` is given keeps a copy of the keys that its handshake exports.

use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use dimpl::{Config, Dtls, DtlsCertificate};
use str0m::crypto::CryptoProvider;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
};
use str0m::{Rtc, RtcConfig};
use thiserror::Error;

use super::srtp::{Keys, Profile};

/// Largest DTLS datagram: fits every path that RTP fits.
const DTLS_MTU: usize = 1200;

#[derive(Debug, Error)]
#[error("making the DTLS certificate: {0}")]
pub(crate) struct IdentityError(String);

/// One certificate and one handshake configuration for all clients.
#[derive(Clone)]
pub(crate) struct Identity {
    certificate: DtlsCert,
    fingerprint: Arc<str>,
    provider: Arc<CryptoProvider>,
}

impl Identity {
    pub(crate) fn generate() -> Result<Self, IdentityError> {
        let base = str0m_aws_lc_rs::default_provider();
        let made = dimpl::certificate::generate_self_signed_certificate()
            .map_err(|error| IdentityError(error.to_string()))?;
        let config = Config::builder()
            .use_server_cookie(false)
            .mtu(DTLS_MTU)
            .build()
            .map_err(|error| IdentityError(error.to_string()))?;
        let digest = base.sha256_provider.sha256(&made.certificate);
        let hex: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
        // str0m wants its providers for ever; a process makes one identity.
        let dtls: &'static Capture = Box::leak(Box::new(Capture(Arc::new(config))));
        Ok(Self {
            certificate: DtlsCert {
                certificate: made.certificate,
                private_key: made.private_key,
            },
            fingerprint: format!("sha-256 {}", hex.join(":")).into(),
            provider: Arc::new(CryptoProvider {
                dtls_provider: dtls,
                ..base
            }),
        })
    }

    /// `a=fingerprint`'s value.
    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Builds an `Rtc` with this identity, and the slot where its keys will appear.
    pub(crate) fn build(&self, config: RtcConfig) -> (Rtc, KeySlot) {
        let slot = KeySlot::default();
        NEXT_SLOT.with_borrow_mut(|next| *next = Some(slot.clone()));
        let rtc = config
            .set_crypto_provider(self.provider.clone())
            .set_dtls_cert(self.certificate.clone())
            .set_dtls_version(DtlsVersion::Dtls12)
            .build(Instant::now());
        (rtc, slot)
    }
}

/// Where a client finds its keys once the handshake has made them.
#[derive(Clone, Default)]
pub(crate) struct KeySlot(Arc<OnceLock<Keys>>);

impl KeySlot {
    pub(crate) fn get(&self) -> Option<&Keys> {
        self.0.get()
    }
}

thread_local! {
    /// From [`Identity::build`] to [`Capture::new_dtls`], which str0m calls within it, on the same thread.
    static NEXT_SLOT: RefCell<Option<KeySlot>> = const { RefCell::new(None) };
}

#[derive(Debug)]
struct Capture(Arc<Config>);

impl DtlsProvider for Capture {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        None
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        _: DtlsVersion,
        _: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, str0m::crypto::CryptoError> {
        let certificate = DtlsCertificate {
            certificate: cert.certificate.clone(),
            private_key: cert.private_key.clone(),
        };
        Ok(Box::new(Captured {
            inner: Dtls::new_12(self.0.clone(), certificate, now),
            slot: NEXT_SLOT.with_borrow_mut(Option::take).unwrap_or_default(),
        }))
    }
}

/// A DTLS instance whose keys are seen on their way to str0m.
struct Captured {
    inner: Dtls,
    slot: KeySlot,
}

impl fmt::Debug for Captured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Captured")
    }
}

impl DtlsInstance for Captured {
    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        let client = self.inner.is_active();
        let output = self.inner.poll_output(buf);
        if let DtlsOutput::KeyingMaterial(material, profile) = &output
            && let Some(profile) = Profile::from_dtls(*profile)
        {
            // Made once in an association.
            let _ = self.slot.0.set(Keys::new(profile, client, material.as_ref()));
        }
        output
    }

    fn set_active(&mut self, active: bool) {
        self.inner.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.inner.handle_packet(packet)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.inner.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.inner.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.inner.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.inner.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.inner.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.inner.close()
    }
}
