//! TCP and TLS under the HTTP: connections are bounded, in all and for each address, and none may dawdle.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::Peer;
use super::problem::Problem;

/// For a TLS handshake, and for the headers of a request, the next one of a connection too.
const PATIENCE: Duration = Duration::from_secs(10);
/// For a whole request. A drain may take longer; it is asked for on the private server.
const REQUEST: Duration = Duration::from_secs(30);
/// For the next request, and for the client to take the last answer.
const IDLE: Duration = Duration::from_secs(30);
/// For requests that are under way when the server is to end.
const LAST_REQUESTS: Duration = Duration::from_secs(2);
/// Bytes of a request's headers.
const MAX_HEADERS: usize = 64 * 1024;
/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 64;
/// Connections that wait to be taken. Beyond it a client's next try is a second later: 5000 may come in 5 s, in bursts.
const BACKLOG: u32 = 4096;

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
    listen(address).map_err(|source| ListenError::Bind {
        what,
        address,
        flag,
        source,
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // As after a restart, when connections of the last process still linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
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
    if chain.is_empty() {
        return Err(bad(
            "--cert-file",
            certificates,
            "there is no certificate in it".into(),
        ));
    }
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
    /// Serves until told to stop, and a little longer for requests that are under way.
    pub async fn serve(self, mut stop: watch::Receiver<bool>) {
        let room = Arc::new(Semaphore::new(self.max_connections));
        let held = Held::default();
        let router = self.router;
        loop {
            let accepted = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                accepted = accept(&self.listener, &room) => accepted,
            };
            let Some((stream, peer, permit)) = accepted else {
                return;
            };
            let peer = Peer::from(peer.ip());
            let Some(seat) = Seat::take(&held, peer.0, self.max_per_address) else {
                continue;
            };
            let talk = Talk {
                peer,
                router: router.clone(),
                patient: self.patient,
                stop: stop.clone(),
                place: Arc::new(Place {
                    _seat: seat,
                    _permit: permit,
                }),
            };
            let tls = self.tls.clone();
            // What goes wrong on one connection is its client's to notice.
            tokio::spawn(async move { talk.connection(stream, tls).await });
        }
        drop(self.listener);
        let all = u32::try_from(self.max_connections).unwrap_or(u32::MAX);
        // Who has not ended by then is cut off.
        let _ = tokio::time::timeout(LAST_REQUESTS, room.acquire_many(all)).await;
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
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

/// A connection's place in both counts.
struct Place {
    _seat: Seat,
    _permit: OwnedSemaphorePermit,
}

/// What outlives the request that began it holds this: the connection counts as long, even when it is HTTP no more, and is
/// not idle. An extension of every request.
#[derive(Clone)]
pub struct Tenure {
    _place: Arc<Place>,
    _busy: Option<Arc<Busy>>,
}

/// One connection.
struct Talk {
    peer: Peer,
    router: Router,
    patient: bool,
    stop: watch::Receiver<bool>,
    place: Arc<Place>,
}

/// What keeps a connection open: requests under way, or not long ago.
struct Activity {
    requests: usize,
    until: Instant,
}

impl Talk {
    async fn connection(self, stream: TcpStream, tls: Option<TlsAcceptor>) -> io::Result<()> {
        stream.set_nodelay(true)?;
        match tls {
            Some(tls) => {
                let stream = tokio::time::timeout(PATIENCE, tls.accept(stream)).await??;
                self.speak(stream).await
            }
            None => self.speak(stream).await,
        }
    }

    async fn speak<S>(mut self, stream: S) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let activity = Arc::new(Mutex::new(Activity {
            requests: 0,
            until: Instant::now() + PATIENCE,
        }));
        let service = {
            let (router, activity) = (self.router.clone(), activity.clone());
            let (peer, patient, place) = (self.peer, self.patient, self.place.clone());
            hyper::service::service_fn(move |request: Request<Incoming>| {
                let tenure = Tenure {
                    _place: place.clone(),
                    _busy: Busy::begin(&activity).map(Arc::new),
                };
                answer(router.clone(), peer, patient, tenure, request)
            })
        };
        let builder = builder();
        // It ends with an upgrade too: what was a connection is then the WebSocket's.
        let mut talk = std::pin::pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
        let mut idle = std::pin::pin!(idle(&activity));
        tokio::select! {
            end = talk.as_mut() => return end.map_err(io::Error::other),
            () = idle.as_mut() => return Ok(()),
            _ = self.stop.wait_for(|stop| *stop) => talk.as_mut().graceful_shutdown(),
        }
        tokio::select! {
            end = talk => end.map_err(io::Error::other),
            () = idle => Ok(()),
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEADERS).unwrap_or(u32::MAX))
        .keep_alive_interval(PATIENCE)
        .keep_alive_timeout(PATIENCE);
    builder
}

async fn answer(
    router: Router,
    peer: Peer,
    patient: bool,
    tenure: Tenure,
    request: Request<Incoming>,
) -> io::Result<Response> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(peer);
    request.extensions_mut().insert(tenure.clone());
    let answer = router.oneshot(request);
    let answered = match patient {
        true => Ok(answer.await),
        false => tokio::time::timeout(REQUEST, answer).await,
    };
    drop(tenure);
    match answered {
        Ok(answer) => answer.map_err(|never| match never {}),
        Err(_) => Ok(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the request took longer than {REQUEST:?}"),
        )
        .into_response()),
    }
}

/// A request under way.
struct Busy(Arc<Mutex<Activity>>);

impl Busy {
    fn begin(activity: &Arc<Mutex<Activity>>) -> Option<Self> {
        activity.lock().ok()?.requests += 1;
        Some(Self(activity.clone()))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Ok(mut activity) = self.0.lock() {
            activity.requests -= 1;
            activity.until = Instant::now() + IDLE;
        }
    }
}

/// Returns when nothing has been asked for too long: the first request has less time than later ones.
async fn idle(activity: &Mutex<Activity>) {
    loop {
        let next = match activity.lock() {
            Ok(activity) if activity.requests > 0 => Instant::now() + PATIENCE,
            Ok(activity) if activity.until > Instant::now() => activity.until,
            _ => return,
        };
        tokio::time::sleep_until(next).await;
    }
}
