//! The certificate of the public server, renewed while it serves.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use crate::files::{self, Reread};

/// A certificate or its key is of no use.
#[derive(Debug, thiserror::Error)]
#[error("{flag} {path}: {reason}")]
pub struct TlsError {
    /// The setting.
    pub flag: &'static str,
    /// The file.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The certificate chain in force, and its key. Connections that stand keep what they began with.
#[derive(Debug)]
pub struct Certificate {
    certificates: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    /// Reads both files.
    ///
    /// # Errors
    /// One is missing, is not PEM, or they don't belong together.
    pub fn read(certificates: &Path, key: &Path) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self {
            current: RwLock::new(Arc::new(load(certificates, key)?)),
            certificates: certificates.to_owned(),
            key: key.to_owned(),
        }))
    }

    /// For HTTP/2 and HTTP/1.1, each handshake with the certificate that is in force by then.
    ///
    /// # Errors
    /// The cryptographic library has none of the usual protocol versions.
    pub fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| bad("--cert-file", &self.certificates, &error))?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().ok()?.clone())
    }
}

impl Reread for Certificate {
    const WHAT: &'static str = "the certificate";
    type Error = TlsError;

    fn paths(&self) -> Vec<PathBuf> {
        vec![self.certificates.clone(), self.key.clone()]
    }

    fn reread(&self) -> Result<(), TlsError> {
        let renewed = Arc::new(load(&self.certificates, &self.key)?);
        if let Ok(mut current) = self.current.write() {
            *current = renewed;
        }
        Ok(())
    }
}

fn bad(flag: &'static str, path: &Path, reason: &impl ToString) -> TlsError {
    TlsError {
        flag,
        path: path.display().to_string(),
        reason: reason.to_string(),
    }
}

/// All that is wrong with a certificate chain and its key.
pub(crate) fn problems(certificates: &Path, key: &Path) -> Vec<TlsError> {
    match (chain(certificates), secret(key)) {
        (Ok(chain), Ok(secret)) => pair(certificates, key, chain, secret).err().into_iter().collect(),
        (chain, secret) => chain.err().into_iter().chain(secret.err()).collect(),
    }
}

fn load(certificates: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    pair(certificates, key, chain(certificates)?, secret(key)?)
}

fn chain(certificates: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad_chain = |reason: String| bad("--cert-file", certificates, &reason);
    let pem = files::read(certificates).map_err(|error| bad_chain(error.to_string()))?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| bad_chain(error.to_string()))?;
    if chain.is_empty() {
        return Err(bad_chain("there is no certificate in it (PEM is wanted)".into()));
    }
    Ok(chain)
}

fn secret(key: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bad_key = |reason: String| bad("--key-file", key, &reason);
    let pem = files::read(key).map_err(|error| bad_key(error.to_string()))?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
        match pem.windows(9).any(|word| word == b"ENCRYPTED") {
            true => bad_key("its key is encrypted: give it without a pass phrase".into()),
            false => bad_key(format!("there is no private key in it (PEM is wanted): {error}")),
        }
    })
}

fn pair(
    certificates: &Path,
    key: &Path,
    chain: Vec<CertificateDer<'static>>,
    secret: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, TlsError> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, secret, &provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => bad(
            "--key-file",
            key,
            &format!(
                "the key does not belong to the certificate in {}",
                certificates.display()
            ),
        ),
        error => bad("--cert-file", certificates, &error),
    })
}
