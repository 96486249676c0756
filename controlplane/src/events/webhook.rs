//! `--event-webhook`: the stream of events, posted to another server, in the order in which they happened.
//!
//! One request at a time, with up to a hundred events, tried again until it is taken or [`Patience::tries`] are over. What
//! happens meanwhile waits in the history, which is bounded; nothing ever waits for the webhook. What it missed is counted,
//! and told to it by a `reset` event.
//!
//! Signed as Standard Webhooks 1.0.0 has it (standardwebhooks.com): `webhook-id`, `webhook-timestamp` and, with a secret,
//! `webhook-signature`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use reqwest::redirect::Policy;
use tokio::sync::watch;
use tokio::time::Instant;

use super::event::ResetReason;
use super::{Missed, Reader, Record};
use crate::metrics::Metrics;

/// Events in one request. They have at most 1 KiB each.
const BATCH: usize = 100;
/// How often the same is said in the log.
const COMPLAINTS: Duration = Duration::from_secs(30);
/// What a secret begins with that is written in base64.
const ENCODED: &str = "whsec_";

/// How a webhook is dealt with.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For one request, from its beginning to the headers of its answer.
    pub request: Duration,
    /// Before the second try. It doubles with each.
    pub first_pause: Duration,
    /// Before any.
    pub longest_pause: Duration,
    /// Then the events are thrown away, and the next ones have their turn.
    pub tries: u32,
}

impl Default for Patience {
    /// Eleven tries, at most five minutes for a server that refuses, seven for one that hangs.
    fn default() -> Self {
        Self {
            request: Duration::from_secs(10),
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(60),
            tries: 11,
        }
    }
}

/// What requests are signed with.
#[derive(Clone)]
pub struct Secret(Arc<hmac::Key>);

impl Secret {
    /// `whsec_` and base64, or any other text as it is.
    ///
    /// # Errors
    /// What begins with `whsec_` and goes on with something else, or nothing.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let bytes = match text.strip_prefix(ENCODED) {
            Some(encoded) => STANDARD
                .decode(encoded)
                .map_err(|_| "base64 wanted after whsec_")?,
            None => text.as_bytes().to_vec(),
        };
        if bytes.is_empty() {
            return Err("a secret is not empty");
        }
        Ok(Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &bytes))))
    }

    /// The `webhook-signature` of a request: what receivers compare.
    pub fn sign(&self, id: &str, timestamp: u64, body: &str) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [id, ".", &timestamp.to_string(), ".", body] {
            context.update(part.as_bytes());
        }
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

/// The other server.
pub struct Webhook {
    url: Url,
    secret: Option<Secret>,
    patience: Patience,
    client: reqwest::Client,
    metrics: Arc<Metrics>,
    complaints: Seldom,
    losses: Seldom,
    told: watch::Sender<u64>,
}

impl Webhook {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// The machine's root certificates can't be read.
    pub fn new(
        url: Url,
        secret: Option<Secret>,
        patience: Patience,
        metrics: Arc<Metrics>,
    ) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .timeout(patience.request)
            // Events go where the operator said, and nowhere else.
            .redirect(Policy::none())
            .user_agent(concat!("weever/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self {
            url,
            secret,
            patience,
            client,
            metrics,
            complaints: Seldom::default(),
            losses: Seldom::default(),
            told: watch::Sender::new(0),
        })
    }

    /// The number of the event up to which it has nothing to tell any more.
    pub fn told(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }

    /// Posts what `reader` reads, for ever. Begins with a `reset`, which tells that this process has started.
    pub async fn run(mut self, mut reader: Reader) {
        let mut waiting = VecDeque::new();
        let mut owed = Some(ResetReason::Start);
        loop {
            if waiting.is_empty() && owed.is_none() {
                match reader.next().await {
                    Ok(records) => waiting.extend(records),
                    Err(Missed(events)) => {
                        self.lost(events);
                        owed = Some(ResetReason::Missed);
                    }
                }
            }
            let behind = |next: &Arc<Record>| next.number - 1;
            let position = waiting.front().map_or(reader.position, behind);
            let reset = owed.map(|reason| Arc::new(reader.events.reset(position, reason)));
            let batch: Vec<_> = waiting.drain(..waiting.len().min(BATCH)).collect();
            let taken = self.deliver(reset.iter().chain(&batch)).await;
            owed = (!taken).then_some(ResetReason::Undelivered);
            if !taken && !batch.is_empty() {
                self.lost(u64::try_from(batch.len()).unwrap_or(u64::MAX));
            }
            self.told
                .send_replace(waiting.front().map_or(reader.position, behind));
        }
    }

    /// Returns whether they were taken.
    async fn deliver<'a>(&mut self, batch: impl Iterator<Item = &'a Arc<Record>> + Clone) -> bool {
        let Some(first) = batch.clone().next() else {
            return true;
        };
        let body = body(batch);
        let mut pause = self.patience.first_pause;
        for attempt in 1..=self.patience.tries {
            let began = Instant::now();
            let outcome = self.post(&first.id, &body).await;
            let word = match &outcome {
                Ok(()) => "ok",
                Err(Refusal::Timeout) => "timeout",
                Err(_) => "error",
            };
            self.metrics.called("event", word, began.elapsed());
            let Err(why) = outcome else { return true };
            self.complain(attempt, &why);
            if attempt < self.patience.tries {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(self.patience.longest_pause);
            }
        }
        false
    }

    async fn post(&self, id: &str, body: &str) -> Result<(), Refusal> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let timestamp = now.as_secs();
        let mut request = self
            .client
            .post(self.url.clone())
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp);
        if let Some(secret) = &self.secret {
            request = request.header("webhook-signature", secret.sign(id, timestamp, body));
        }
        // What else it answers is not read.
        match request.body(body.to_owned()).send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(Refusal::Status(answer.status().as_u16())),
            Err(error) if error.is_timeout() => Err(Refusal::Timeout),
            Err(error) => Err(Refusal::Error(error.without_url().to_string())),
        }
    }

    fn complain(&mut self, attempt: u32, why: &Refusal) {
        if self.complaints.is_due() {
            let host = self.url.host_str().unwrap_or_default();
            tracing::warn!(host, attempt, %why, "the event webhook doesn't take events; trying again");
        }
    }

    fn lost(&mut self, events: u64) {
        self.metrics.events_lost(events);
        if self.losses.is_due() {
            tracing::warn!(
                events,
                "events are lost to the event webhook; more are counted, not logged"
            );
        }
    }
}

/// A line of the log once in a while.
#[derive(Default)]
struct Seldom(Option<Instant>);

impl Seldom {
    fn is_due(&mut self) -> bool {
        let is_due = self.0.is_none_or(|at| at.elapsed() >= COMPLAINTS);
        if is_due {
            self.0 = Some(Instant::now());
        }
        is_due
    }
}

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("it answered {0}")]
    Status(u16),
    #[error("it didn't answer in time")]
    Timeout,
    #[error("{0}")]
    Error(String),
}

/// `{"events":[…]}`
fn body<'a>(batch: impl Iterator<Item = &'a Arc<Record>>) -> String {
    let mut body = String::from("{\"events\":[");
    for (n, record) in batch.enumerate() {
        if n > 0 {
            body.push(',');
        }
        body.push_str(&record.json);
    }
    body.push_str("]}");
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_as_the_standard_signs() {
        // The example of the Standard Webhooks specification's reference libraries.
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
            .ok()
            .unwrap();
        assert_eq!(
            secret.sign(
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                r#"{"test": 2432232314}"#
            ),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn secrets_are_texts_or_base64() {
        assert!(Secret::parse("plain").is_ok());
        for bad in ["", "whsec_", "whsec_*"] {
            assert!(Secret::parse(bad).is_err(), "{bad}");
        }
    }
}
