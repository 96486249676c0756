//! TCP and TLS under the HTTP: connections are bounded, in all and for each address, and none may dawdle.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::Peer;

/// For a TLS handshake, and for the headers of a request, the next one of a connection too.
const PATIENCE: Duration = Duration::from_secs(10);
/// For a whole request. A drain may take longer; it is asked for on the private server.
const REQUEST: Duration = Duration::from_secs(30);

/// Why a server can't be started.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is taken, or not ours.
    #[error("{what} can't listen on {address}: {source}; choose another with {flag}")]
    Bind {
        /// Which server.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// The setting that changes it.
        flag: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The certificate or its key is of no use.
    #[error("{flag} {path}: {reason}")]
    Tls {
        /// The setting.
        flag: &'static str,
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Opens a port.
pub async fn bind(
    what: &'static str,
    flag: &'static str,
    address: SocketAddr,
) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ListenError::Bind {
            what,
            address,
            flag,
            source,
        })
}

/// Reads a certificate chain and its key.
pub fn tls(certificates: &Path, key: &Path) -> Result<TlsAcceptor, ListenError> {
    let bad = |flag: &'static str, path: &Path, reason: String| ListenError::Tls {
        flag,
        path: path.display().to_string(),
        reason,
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificates)
        .and_then(Iterator::collect)
        .map_err(|error| bad("--cert-file", certificates, error.to_string()))?;
    let secret =
        PrivateKeyDer::from_pem_file(key).map_err(|error| bad("--key-file", key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
        .map_err(|error| bad("--cert-file", certificates, error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// One server.
pub struct Server {
    /// Its port.
    pub listener: TcpListener,
    /// HTTPS if given.
    pub tls: Option<TlsAcceptor>,
    /// What it serves.
    pub router: Router,
    /// Connections in all; more wait in the kernel.
    pub max_connections: usize,
    /// Connections of one address; more are closed.
    pub max_per_address: usize,
    /// Whether a request may take as long as it likes.
    pub patient: bool,
}

type Held = Arc<Mutex<HashMap<IpAddr, usize>>>;

impl Server {
    /// Serves until told to stop.
    pub async fn serve(self, mut stop: watch::Receiver<bool>) {
        let room = Arc::new(Semaphore::new(self.max_connections));
        let held = Held::default();
        let router = self.router;
        loop {
            let accepted = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                accepted = accept(&self.listener, &room) => accepted,
            };
            let Some((stream, peer, permit)) = accepted else {
                return;
            };
            let Some(seat) = Seat::take(&held, peer.ip(), self.max_per_address) else {
                continue;
            };
            let (router, tls, patient) = (router.clone(), self.tls.clone(), self.patient);
            tokio::spawn(async move {
                // What goes wrong on one connection is its client's to notice.
                let _ = connection(stream, peer.ip(), tls, router, patient).await;
                drop((seat, permit));
            });
        }
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return Some((stream, peer, permit)),
            Err(error) => {
                // Out of descriptors, most likely: others have to end first.
                tracing::warn!(%error, "accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// A connection's place in its address's count.
struct Seat {
    held: Held,
    address: IpAddr,
}

impl Seat {
    fn take(held: &Held, address: IpAddr, max: usize) -> Option<Self> {
        let mut counts = held.lock().ok()?;
        let count = counts.entry(address).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Self {
            held: held.clone(),
            address,
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Ok(mut counts) = self.held.lock() else { return };
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: IpAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    patient: bool,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match tls {
        Some(tls) => {
            let stream = tokio::time::timeout(PATIENCE, tls.accept(stream)).await??;
            speak(stream, peer, router, patient).await
        }
        None => speak(stream, peer, router, patient).await,
    }
}

async fn speak<S>(stream: S, peer: IpAddr, router: Router, patient: bool) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            let answer = router.oneshot(request);
            if patient {
                return answer.await.map_err(io::Error::other);
            }
            // Closing the connection is all that can be said to who takes longer.
            tokio::time::timeout(REQUEST, answer)
                .await?
                .map_err(io::Error::other)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(64)
        .keep_alive_interval(PATIENCE)
        .keep_alive_timeout(PATIENCE);
    builder
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(io::Error::other)
}
