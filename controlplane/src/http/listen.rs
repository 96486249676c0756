//! TCP and TLS under the HTTP: connections are bounded, in all and for each address, and none may dawdle.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
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
/// The same two, while hardly any connection is left: who asks for nothing gives way to who comes.
const IDLE_IN_A_CROWD: Duration = Duration::from_secs(2);
/// For requests that are under way when the server is to end.
const LAST_REQUESTS: Duration = Duration::from_secs(2);
/// Bytes of a request's headers.
const MAX_HEADERS: usize = 64 * 1024;
/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 64;
/// Streams of such a connection that were reset before anybody looked at them (RFC 9113 §10.5; CVE-2023-44487).
const MAX_RESET_STREAMS: usize = 20;
/// Streams on which a client broke the protocol.
const MAX_BROKEN_STREAMS: usize = 64;
/// Bytes that one stream, and a whole connection, may send before somebody reads them. Offers are smaller.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// Bytes of an answer that wait for one stream's client.
const MAX_UNSENT: usize = 64 * 1024;
/// Connections that are refused in words at once; others are just closed.
const MAX_REFUSALS: usize = 64;
/// For a client to take its refusal, and bytes of its request that are read meanwhile.
const REFUSAL: Duration = Duration::from_secs(1);
const MAX_UNREAD: usize = 512 * 1024;
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
    /// Connections of one address; more are refused.
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
        let crowd = Crowd {
            room: room.clone(),
            max: self.max_connections,
        };
        let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
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
            let Some(seat) = Seat::take(&held, peer.counted(), self.max_per_address) else {
                // Over TLS a refusal would cost a handshake, which is what floods are after.
                if let (None, Ok(place)) = (&self.tls, refusals.clone().try_acquire_owned()) {
                    tokio::spawn(async move {
                        refuse(stream).await;
                        drop((place, permit));
                    });
                }
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
                crowd: crowd.clone(),
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
    crowd: Crowd,
}

/// What keeps a connection open: requests under way, or not long ago.
struct Activity {
    requests: usize,
    since: Instant,
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
            since: Instant::now(),
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
        let mut idle = std::pin::pin!(idle(&activity, &self.crowd));
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
        .max_pending_accept_reset_streams(MAX_RESET_STREAMS)
        .max_local_error_reset_streams(MAX_BROKEN_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(MAX_UNSENT)
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
    if request.headers().get_all(header::HOST).iter().count() > 1 {
        // RFC 9112 §3.2: of two, somebody on the way believes the other one.
        let problem = Problem::new(StatusCode::BAD_REQUEST, "there is more than one Host");
        return Ok(problem.into_response());
    }
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
            activity.since = Instant::now();
            activity.until = activity.since + IDLE;
        }
    }
}

/// Returns when nothing has been asked for too long: the first request has less time than later ones, and in a crowd all
/// have little.
async fn idle(activity: &Mutex<Activity>, crowd: &Crowd) {
    loop {
        let now = Instant::now();
        let next = match activity.lock() {
            Ok(activity) if activity.requests > 0 => now + PATIENCE,
            Ok(activity) if crowd.is_dense() && activity.since + IDLE_IN_A_CROWD <= now => return,
            Ok(activity) if activity.until > now => activity.until.min(now + IDLE_IN_A_CROWD),
            _ => return,
        };
        tokio::time::sleep_until(next).await;
    }
}

/// How many connections the server has room for, and has.
#[derive(Clone)]
struct Crowd {
    room: Arc<Semaphore>,
    max: usize,
}

impl Crowd {
    /// Fewer than a quarter of the places are free.
    fn is_dense(&self) -> bool {
        self.room.available_permits() < self.max / 4
    }
}

/// Tells a client over plain HTTP that its address has too many connections, whatever it asks for.
async fn refuse(mut stream: TcpStream) {
    const DETAIL: &str = r#"{"type":"about:blank","title":"Too Many Requests","status":429,"detail":"too many connections from this address; close some, or come again later"}"#;
    let answer = format!(
        "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/problem+json\r\nretry-after: 5\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{DETAIL}",
        DETAIL.len()
    );
    let telling = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // A connection that is closed with unread bytes loses the answer on its way.
        let mut unread = [0; 1024];
        for _ in 0..MAX_UNREAD / unread.len() {
            if stream.read(&mut unread).await? == 0 {
                break;
            }
        }
        io::Result::Ok(())
    };
    // Its client's to notice.
    let _ = tokio::time::timeout(REFUSAL, telling).await;
}
