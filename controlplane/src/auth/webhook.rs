//! `--auth-webhook`: another server decides. It is asked from the task of the POST, never from that of the rooms.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use serde::Serialize;
use tokio::sync::Semaphore;
use weever_proto::Role;

use super::reply::{self, Unclear, cleaned};
use super::{Asking, AuthError, Denied};
use crate::config::WebhookSettings;
use crate::metrics::Metrics;
use crate::names::RoomName;
use crate::rooms::Limits;
use crate::signalling::Signalling;

/// Bytes of a reply that are read.
const MAX_REPLY: usize = 16 * 1024;
/// Letters of a client's name for itself that are passed on.
const MAX_USER_AGENT: usize = 256;
/// POSTs that may wait for each one that is being asked about; the others are refused at once.
const WAITING_FOR_EACH: usize = 16;
/// How long a connection waits for the next question: servers close theirs after five seconds and more.
const IDLE: Duration = Duration::from_secs(4);
/// When a webhook that fails, or is busy, is worth another try.
const RETRY: Duration = Duration::from_secs(2);
/// One line of the log for all that went wrong in this time.
const COMPLAIN: Duration = Duration::from_secs(10);

/// The webhook, and the way to it.
pub(super) struct Webhook {
    client: Client,
    url: reqwest::Url,
    secret: Option<HeaderValue>,
    timeout: Duration,
    /// Being asked about now.
    asked: Semaphore,
    /// Those, and those that wait.
    places: Semaphore,
    complaints: Mutex<Complaints>,
    signalling: Signalling,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Complaints {
    last: Option<Instant>,
    unsaid: u64,
}

/// The question.
#[derive(Serialize)]
struct Question<'a> {
    role: &'static str,
    room: &'a str,
    id: &'a str,
    full_id: &'a str,
    remote_addr: String,
    user_agent: Option<Cow<'a, str>>,
    token: Option<&'a str>,
    counts: Counts,
}

/// Sessions of the room, as it is.
#[derive(Default, Serialize)]
struct Counts {
    publishers: usize,
    subscribers: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("too many wait for its answers")]
    Busy,
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("{0}")]
    Http(String),
    #[error("its answer is longer than {MAX_REPLY} bytes")]
    TooLong,
    #[error(transparent)]
    Unclear(#[from] Unclear),
}

impl Webhook {
    pub(super) fn new(
        settings: &WebhookSettings,
        signalling: Signalling,
        metrics: Arc<Metrics>,
    ) -> Result<Self, AuthError> {
        let mut builder = Client::builder()
            // A token goes where the operator said, and nowhere else.
            .redirect(Policy::none())
            .no_proxy()
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(settings.concurrency)
            .user_agent(concat!("weever/", env!("CARGO_PKG_VERSION")));
        if settings.url.scheme() == "http" {
            // Where no certificate will be looked at, the system needs to have none.
            builder = builder.tls_certs_only([]);
        }
        let client = builder
            .build()
            .map_err(|error| AuthError::Webhook(root_cause(&error)))?;
        let secret = settings.secret.as_ref().map(|secret| {
            let mut value = HeaderValue::try_from(format!("Bearer {secret}"))
                .map_err(|_| AuthError::Webhook("the secret has letters that no HTTP header takes".into()))?;
            value.set_sensitive(true);
            Ok(value)
        });
        Ok(Self {
            client,
            url: settings.url.clone(),
            secret: secret.transpose()?,
            timeout: settings.timeout,
            asked: Semaphore::new(settings.concurrency),
            places: Semaphore::new(settings.concurrency * (1 + WAITING_FOR_EACH)),
            complaints: Mutex::default(),
            signalling,
            metrics,
        })
    }

    pub(super) async fn ask(&self, asking: Asking<'_>) -> Result<Limits, Denied> {
        let begun = Instant::now();
        let outcome = self.outcome(asking).await;
        let word = match &outcome {
            Ok(_) => "ok",
            Err(Failure::Timeout(_)) => "timeout",
            Err(_) => "error",
        };
        self.metrics.called("auth", word, begun.elapsed());
        match outcome {
            Ok(verdict) => verdict,
            Err(failure) => {
                self.complain(&failure);
                let detail = match failure {
                    Failure::Busy => "too many are waiting to be let in; try again in a moment",
                    _ => "who may join can't be found out now; try again in a moment",
                };
                Err(Denied::Undecided {
                    detail,
                    retry_after: RETRY,
                })
            }
        }
    }

    async fn outcome(&self, asking: Asking<'_>) -> Result<Result<Limits, Denied>, Failure> {
        let _place = self.places.try_acquire().map_err(|_| Failure::Busy)?;
        let decided = async {
            // Never closed.
            let _turn = self.asked.acquire().await;
            let counts = self.counts(asking.room).await;
            let response = self.post(&question(asking, counts)).await?;
            read(response).await
        };
        match tokio::time::timeout(self.timeout, decided).await {
            Ok(decided) => decided,
            Err(_) => Err(Failure::Timeout(self.timeout)),
        }
    }

    async fn counts(&self, room: &RoomName) -> Counts {
        let room = room.clone();
        let counted = self.signalling.ask(move |rooms| Counts {
            publishers: rooms.list(Role::Publisher, &room).len(),
            subscribers: rooms.list(Role::Subscriber, &room).len(),
        });
        // When the rooms have stopped, the join will hear of it.
        counted.await.unwrap_or_default()
    }

    async fn post(&self, question: &Question<'_>) -> Result<Response, Failure> {
        let body = serde_json::to_vec(question).map_err(|error| Failure::Http(error.to_string()))?;
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        if let Some(secret) = &self.secret {
            request = request.header(AUTHORIZATION, secret.clone());
        }
        request
            .send()
            .await
            .map_err(|error| Failure::Http(root_cause(&error)))
    }

    /// Says what is wrong, but not each time.
    fn complain(&self, failure: &Failure) {
        let Ok(mut complaints) = self.complaints.lock() else {
            return;
        };
        let now = Instant::now();
        if complaints
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < COMPLAIN)
        {
            complaints.unsaid += 1;
            return;
        }
        let unsaid = std::mem::take(&mut complaints.unsaid);
        complaints.last = Some(now);
        drop(complaints);
        tracing::warn!(%failure, unsaid, "the auth webhook; joins are refused with 503");
    }
}

fn question(asking: Asking<'_>, counts: Counts) -> Question<'_> {
    Question {
        role: match asking.role {
            Role::Publisher => "pub",
            Role::Subscriber => "sub",
        },
        room: asking.room.as_str(),
        id: asking.id.base(),
        full_id: asking.id.as_str(),
        remote_addr: asking.address.to_string(),
        user_agent: asking.user_agent.map(|text| cleaned(text, MAX_USER_AGENT).into()),
        token: asking.token,
        counts,
    }
}

/// What the webhook decided.
async fn read(response: Response) -> Result<Result<Limits, Denied>, Failure> {
    let status = response.status();
    let body = match status {
        StatusCode::OK => bounded(response).await?,
        // It has decided; what it says besides may be what it likes.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => bounded(response).await.unwrap_or_default(),
        _ => Vec::new(),
    };
    Ok(reply::decide(status.as_u16(), &body)?)
}

async fn bounded(mut response: Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| Failure::Http(root_cause(&error)))?
    {
        if body.len() + chunk.len() > MAX_REPLY {
            return Err(Failure::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The innermost of nested errors says what happened; the URL, which may hold a key, stays outside.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
