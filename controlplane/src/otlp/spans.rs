//! A join as spans: one for the whole, and below it one for each stage.

use std::time::{Duration, Instant, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use weever_proto::Role;

use crate::rooms::{JoinOutcome, JoinTrace};

/// The spans of a join. `now` and `wall` are the same moment.
pub(super) fn of(trace: &JoinTrace, now: Instant, wall: SystemTime) -> Vec<SpanData> {
    let posted = wall
        .checked_sub(now.saturating_duration_since(trace.posted))
        .unwrap_or(wall);
    let (id, above, is_remote) = match trace.parent {
        Some(parent) => (
            TraceId::from_bytes(parent.trace),
            SpanId::from_bytes(parent.span),
            true,
        ),
        None => (new_trace(), SpanId::INVALID, false),
    };
    let span = |name: &'static str, parent, from: Duration, to: Duration| SpanData {
        span_context: SpanContext::new(id, new_span(), TraceFlags::SAMPLED, false, TraceState::default()),
        parent_span_id: parent,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: name.into(),
        start_time: posted + from,
        end_time: posted + to.max(from),
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("weever").build(),
    };
    let last = trace.stages().map(|(_, at)| at).max().unwrap_or_default();
    let mut join = span("join", above, Duration::ZERO, trace.ended.max(last));
    join.parent_span_is_remote = is_remote;
    join.span_kind = SpanKind::Server;
    join.attributes = attributes(trace);
    if !matches!(trace.outcome, JoinOutcome::Media | JoinOutcome::Waits) {
        join.status = Status::error(trace.outcome.as_str());
    }
    let parent = join.span_context.span_id();
    let mut all = vec![join];
    let mut before = Duration::ZERO;
    for (stage, at) in trace.stages() {
        all.push(span(stage, parent, before, at));
        before = before.max(at);
    }
    all
}

fn attributes(trace: &JoinTrace) -> Vec<KeyValue> {
    let role = match trace.role {
        Role::Publisher => "pub",
        Role::Subscriber => "sub",
    };
    vec![
        KeyValue::new("weever.room", trace.room.to_string()),
        KeyValue::new("weever.role", role),
        KeyValue::new("weever.id", trace.id.to_string()),
        KeyValue::new("weever.session", trace.session.to_string()),
        KeyValue::new("weever.shard", trace.shard.clone()),
        KeyValue::new("weever.worker", i64::from(trace.worker.0)),
        KeyValue::new("weever.outcome", trace.outcome.as_str()),
    ]
}

/// Ids are no secrets; those of zero are invalid, and a kernel without random numbers has none to give.
fn new_trace() -> TraceId {
    let half = || getrandom::u64().unwrap_or(1).max(1);
    TraceId::from(u128::from(half()) << 64 | u128::from(half()))
}

fn new_span() -> SpanId {
    SpanId::from(getrandom::u64().unwrap_or(1).max(1))
}

#[cfg(test)]
mod tests {
    use weever_proto::{SessionId, WorkerId};

    use super::*;
    use crate::names::{FullId, RoomName};
    use crate::traceparent::TraceParent;

    const MS: Duration = Duration::from_millis(1);

    fn trace(now: Instant) -> JoinTrace {
        JoinTrace {
            session: SessionId(0xab),
            role: Role::Subscriber,
            room: RoomName::new("r").unwrap(),
            id: FullId::new("bob").unwrap(),
            shard: "shard".into(),
            worker: WorkerId(1),
            posted: now,
            parent: TraceParent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            answer: Some(20 * MS),
            ice: Some(50 * MS),
            dtls: Some(90 * MS),
            media: Some(120 * MS),
            outcome: JoinOutcome::Media,
            ended: 120 * MS,
        }
    }

    #[test]
    fn stages_follow_each_other_below_the_join() {
        let (posted, wall) = (Instant::now(), SystemTime::now());
        // Sent a second after the POST.
        let spans = of(&trace(posted), posted + 1000 * MS, wall + 1000 * MS);
        let names: Vec<&str> = spans.iter().map(|span| span.name.as_ref()).collect();
        assert_eq!(names, ["join", "answer", "ice", "dtls", "media"]);
        let times = |span: &SpanData| {
            let at = |time: SystemTime| time.duration_since(wall).unwrap().as_millis();
            (at(span.start_time), at(span.end_time))
        };
        let all: Vec<_> = spans.iter().map(times).collect();
        assert_eq!(all, [(0, 120), (0, 20), (20, 50), (50, 90), (90, 120)]);
        let join = &spans[0];
        let hex = |id: SpanId| format!("{id}");
        assert_eq!(hex(join.parent_span_id), "b7ad6b7169203331");
        assert_eq!(
            join.span_context.trace_id().to_string(),
            "0af7651916cd43dd8448eb211c80319c"
        );
        for span in &spans[1..] {
            assert_eq!(span.parent_span_id, join.span_context.span_id());
            assert_eq!(span.span_context.trace_id(), join.span_context.trace_id());
        }
        assert_eq!(join.status, Status::Unset);
    }

    #[test]
    fn a_join_that_failed_says_why() {
        let now = Instant::now();
        let failed = JoinTrace {
            parent: None,
            dtls: None,
            media: None,
            outcome: JoinOutcome::Ended("dtls-failed"),
            ended: 400 * MS,
            ..trace(now)
        };
        let spans = of(&failed, now, SystemTime::now());
        assert_eq!(spans.len(), 3);
        assert_eq!(spans[0].status, Status::error("dtls-failed"));
        assert_eq!(spans[0].parent_span_id, SpanId::INVALID);
        let other = of(&failed, now, SystemTime::now());
        assert_ne!(spans[0].span_context.trace_id(), other[0].span_context.trace_id());
    }
}
