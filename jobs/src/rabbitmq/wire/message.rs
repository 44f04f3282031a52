//! The wire format of a job: the payload is the body, the envelope is properties and headers.
//!
//! Payloads can therefore be read in the broker's own tools and by consumers in other languages, and are neither
//! escaped nor parsed a second time; a retry changes headers only. The fields:
//!
//! | property | field | header (only when set) | field |
//! |---|---|---|---|
//! | `message_id` | id | `ow-created-at` (ms, always), `ow-run-at` (ms), `traceparent`, `ow-subject` | the same |
//! | `type` | kind | `ow-attempt`, `ow-max-attempts`, `ow-version` (unless 0, 20 and 1) | the same |
//! | `priority` | 2, 1, 0, for a message outside its own queue | `ow-unique-key`, `ow-concurrency-key` | keys |
//! | | | `ow-fair-key` | the key among whose jobs a fair queue divides its starts |
//! | | | `ow-order-key` | the key whose jobs run one after the other |
//! | | | `ow-unique-states`, `ow-unique-period` (ms) | how long the key is held, unless by the default |
//! | `app_id` | `orderworks/1`, the format's version | `ow-crashes` | crashes of earlier copies, not of this one |
//! | | | `tracestate` | of the trace context; begins with `ow-link=1` where a run links to the trace |
//! | | | `ow-alone` | of a suspect: crashes while it ran alone |
//! | | | `ow-turn` | of a suspect: 1 in the copy that is to run alone, whose loss is a crash alone |
//! | | | `ow-key-waits` | how often it was put aside for its concurrency key |
//! | | | `ow-last-error`, `ow-first-failed-at` | the last failure, the time of the first |
//! | | | `ow-not-before` | end of a delay, by the clock of the process that set it |
//! | | | `ow-left-ms` | rest of a long delay that began while the job store was away |
//! | | | `ow-dead-reason`, `ow-died-at` | only of a dead job |
//! | | | `ow-dead-id` | only of a dead message that cannot be decoded: the id under which it is kept |
//!
//! The version is raised by a change that a reader of the same version could not ignore; readers keep reading earlier
//! ones. `golden` holds the format as text.
//!
//! Crashes of the current copy are counted by the broker. Every copy gets new headers. The broker's own (`x-death` and
//! related ones) must not be copied: RabbitMQ before 4.0.1 does not accept a message into a queue that its headers list
//! as visited.

use std::sync::Arc;

use base::TraceContext;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};
use serde_json::value::RawValue;

use super::headers::{Headers, Known, Meta};
use crate::{
    engine::{EngineError, Event},
    envelope::{Envelope, JobId},
    job::Priority,
    unique::Unique,
};

/// The version of the format, in `app_id`.
const FORMAT: &str = "orderworks/1";
/// Longest kind in bytes, the size of an AMQP short string.
const KIND_BYTES_MAX: usize = 255;
/// Longest key or subject, in bytes.
const KEY_BYTES_MAX: usize = 512;
/// AMQP delivery mode "persistent".
const PERSISTENT: u8 = 2;
/// Most bytes of headers in a copy: half of a frame, as a message's headers and properties must fit into one, and ours
/// are added.
const COPIED_HEADERS_MAX: usize = 64 * 1024;
/// Headers added to a dead message.
const ADDED_WHEN_DEAD: [&str; 6] =
    ["ow-dead-reason", "ow-died-at", "ow-last-error", "ow-first-failed-at", "ow-crashes", DEAD_ID];
const DEAD_ID: &str = "ow-dead-id";
/// Most bytes of an undecodable message's headers, as JSON; of more, none is kept. A frame has room for half as many.
const FOREIGN_HEADERS_MAX: usize = 256 * 1024;
/// Bytes of a body that distinguish undecodable messages.
const COMPARED_MAX: usize = 1024 * 1024;

/// Defaults of absent headers. Most jobs are first attempts of their first version, and parsing headers is among the
/// largest costs of a consumer (docs/BENCHMARKS.md).
const ATTEMPT: u32 = 0;
const MAX_ATTEMPTS: u32 = 20;
const VERSION: u16 = 1;

/// A message without its destination.
#[derive(Debug, Clone)]
pub(crate) struct Raw {
    pub(crate) properties: BasicProperties,
    pub(crate) body: Vec<u8>,
}

/// A decoded delivery, kept until its settlement is durable.
pub(crate) enum Message {
    /// A job. Shared with the run; a settlement that moves the job makes a new message from it.
    Job(Arc<Envelope>, Meta),
    /// A message that cannot be decoded, kept unchanged as a dead job.
    Unreadable(Box<Raw>),
}

/// Rejects envelopes that no message can carry.
pub(crate) fn check(envelope: &Envelope) -> Result<(), EngineError> {
    let refused = |why: String| Err(EngineError::Refused(format!("{}: {why}", envelope.id)));
    envelope.check_payload()?;
    if envelope.kind.is_empty() || envelope.kind.len() > KIND_BYTES_MAX {
        return refused(format!("a kind has 1 to {KIND_BYTES_MAX} bytes"));
    }
    let Envelope { unique_key, concurrency_key, fair_key, order_key, subject, .. } = envelope;
    let mut keys = [unique_key, concurrency_key, fair_key, order_key, subject].into_iter().flatten();
    if keys.any(|key| key.len() > KEY_BYTES_MAX) {
        return refused(format!("a key of more than {KEY_BYTES_MAX} bytes"));
    }
    Ok(())
}

/// Encodes a job that has passed [`check`].
pub(crate) fn encode(envelope: &Envelope, meta: &Meta) -> Raw {
    let mut headers = Headers(FieldTable::default());
    headers.number_unless(ATTEMPT, "ow-attempt", envelope.attempt);
    headers.number_unless(MAX_ATTEMPTS, "ow-max-attempts", envelope.max_attempts);
    headers.number_unless(VERSION, "ow-version", envelope.version);
    headers.number("ow-created-at", envelope.created_at.as_millisecond());
    headers.time("ow-run-at", envelope.run_at);
    headers.trace(envelope.trace.as_ref());
    headers.text("ow-subject", envelope.subject.as_deref());
    headers.text("ow-unique-key", envelope.unique_key.as_deref());
    if envelope.unique_key.is_some() {
        headers.unique(envelope.unique);
    }
    headers.text("ow-concurrency-key", envelope.concurrency_key.as_deref());
    headers.text("ow-fair-key", envelope.fair_key.as_deref());
    headers.text("ow-order-key", envelope.order_key.as_deref());
    headers.meta(meta);
    let properties = persistent(&envelope.id.to_string(), &envelope.kind, FORMAT, headers);
    let properties = properties.with_priority(rank(envelope.priority));
    Raw { properties, body: envelope.payload.get().as_bytes().to_vec() }
}

/// Encodes an event: the body unchanged, the topic as the type.
pub(crate) fn event_message(event: Event) -> Raw {
    let mut headers = Headers(FieldTable::default());
    headers.text("ow-source", Some(&event.source));
    headers.trace(event.trace.as_ref());
    let properties = persistent(&event.id, &event.topic, "orderworks", headers);
    Raw { properties, body: event.body.into_bytes() }
}

fn persistent(id: &str, kind: &str, app: &str, headers: Headers) -> BasicProperties {
    BasicProperties::default()
        .with_message_id(short(id))
        .with_type(short(kind))
        .with_content_type("application/json".into())
        .with_delivery_mode(PERSISTENT)
        .with_app_id(app.into())
        .with_headers(headers.0)
}

/// An undecodable message as a dead one: its properties and headers are kept, so that a later release may decode it,
/// except those with an effect on its way, and headers so large that no frame might hold them with ours.
pub(crate) fn dead_unreadable(raw: &Raw, id: JobId, class: Priority, meta: &Meta) -> Raw {
    let mut headers = headers_without(raw, &ADDED_WHEN_DEAD);
    if serde_json::to_string(&headers.0).map_or(usize::MAX, |json| json.len()) > FOREIGN_HEADERS_MAX {
        headers = Headers(FieldTable::default());
    }
    headers.text(DEAD_ID, Some(&id.to_string()));
    headers.meta(meta);
    let mut properties = carried(&raw.properties).with_priority(rank(class)).with_headers(headers.0);
    if id_of(raw).is_none() {
        properties = properties.with_message_id(short(&id.to_string()));
    }
    Raw { properties, body: raw.body.clone() }
}

/// The id under which an undecodable message is kept: the same at each delivery, another one for other bytes, as
/// messages of any origin may carry the same id.
pub(crate) fn unreadable_id(raw: &Raw, class: Priority) -> JobId {
    let headers: Vec<_> = inert_headers(raw, &ADDED_WHEN_DEAD).collect();
    let body = raw.body[..raw.body.len().min(COMPARED_MAX)].escape_ascii();
    let (properties, length) = (raw.properties.clone().with_headers(FieldTable::default()), raw.body.len());
    let label = format!("{class} {properties:?} {headers:?} {length} {body}");
    JobId::derived(id_of(raw).map_or(uuid::Uuid::nil(), |id| id.0), &label)
}

/// The id that [`dead_unreadable`] has put into a message.
pub(crate) fn dead_id(raw: &Raw) -> Option<JobId> {
    let headers = raw.properties.headers().as_ref()?;
    let Some(AMQPValue::LongString(id)) = headers.inner().get(DEAD_ID) else { return None };
    std::str::from_utf8(id.as_bytes()).ok()?.parse().ok()
}

/// The same message on its way back to its queue.
pub(crate) fn restore_unreadable(raw: &Raw) -> Raw {
    let properties = carried(&raw.properties).with_headers(headers_without(raw, &ADDED_WHEN_DEAD).0);
    Raw { properties, body: raw.body.clone() }
}

/// The same message for another queue, with the crashes counted in this one.
pub(crate) fn copy(raw: &Raw) -> Raw {
    let crashes = raw.properties.headers().as_ref().and_then(|headers| Meta::of(headers).ok());
    let mut kept = headers_without(raw, &["ow-crashes"]);
    if let Some(crashes) = crashes.map(|meta| meta.crashes).filter(|crashes| *crashes > 0) {
        kept.number("ow-crashes", i64::from(crashes));
    }
    let mut properties = carried(&raw.properties).with_headers(kept.0);
    if let Some(priority) = raw.properties.priority() {
        properties = properties.with_priority(*priority);
    }
    Raw { properties, body: raw.body.clone() }
}

/// Drops properties with an effect: expiration, user id, reply-to; and the priority, which the queue tells.
fn carried(from: &BasicProperties) -> BasicProperties {
    let mut to = BasicProperties::default().with_delivery_mode(PERSISTENT);
    if let Some(id) = from.message_id() {
        to = to.with_message_id(id.clone());
    }
    if let Some(kind) = from.kind() {
        to = to.with_type(kind.clone());
    }
    if let Some(app) = from.app_id() {
        to = to.with_app_id(app.clone());
    }
    if let Some(content_type) = from.content_type() {
        to = to.with_content_type(content_type.clone());
    }
    to
}

/// All headers except these, the broker's own and those that make it send copies; up to [`COPIED_HEADERS_MAX`], those
/// of this format first.
fn headers_without(raw: &Raw, ours: &[&str]) -> Headers {
    let mut found: Vec<_> = inert_headers(raw, ours).collect();
    found.sort_by_key(|(name, _)| !name.as_str().starts_with("ow-"));
    let (mut headers, mut left) = (FieldTable::default(), COPIED_HEADERS_MAX);
    for (name, value) in found {
        if let Some(rest) = left.checked_sub(name.as_str().len() + 1 + wire_size(value)) {
            left = rest;
            headers.insert(name.clone(), value.clone());
        }
    }
    Headers(headers)
}

/// The headers, whatever their size, except those named, the broker's own and those that make it send copies.
fn inert_headers<'a>(
    raw: &'a Raw,
    except: &'a [&str],
) -> impl Iterator<Item = (&'a ShortString, &'a AMQPValue)> {
    let is_kept = move |name: &str| {
        let acts = name.starts_with("x-") || name == "CC" || name == "BCC";
        !acts && !except.contains(&name)
    };
    raw.properties.headers().iter().flatten().filter(move |(name, _)| is_kept(name.as_str()))
}

/// Size of a header's value in a frame, in bytes, or a little more.
fn wire_size(value: &AMQPValue) -> usize {
    /// Type and length, or type and number.
    const HEAD: usize = 10;
    HEAD + match value {
        AMQPValue::LongString(text) => text.as_bytes().len(),
        AMQPValue::ShortString(text) => text.as_str().len(),
        AMQPValue::ByteArray(bytes) => bytes.as_slice().len(),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(wire_size).sum(),
        AMQPValue::FieldTable(table) => {
            table.inner().iter().map(|(name, value)| name.as_str().len() + 1 + wire_size(value)).sum()
        }
        _ => 0,
    }
}

/// Decodes a job of this queue; the error says which part is wrong.
pub(crate) fn decode(queue: &str, raw: &Raw) -> Result<(Envelope, Meta), String> {
    let properties = &raw.properties;
    let app = properties.app_id().as_ref().map_or("", ShortString::as_str);
    if app != FORMAT {
        return Err(format!("app_id is `{app}`, not `{FORMAT}`: foreign, or of another release"));
    }
    let headers = Known::of(properties.headers().as_ref().ok_or("no headers")?);
    let id = properties.message_id().as_ref().ok_or("no message_id")?;
    let payload = std::str::from_utf8(&raw.body).map_err(|error| format!("payload: {error}"))?;
    let payload: &RawValue = serde_json::from_str(payload).map_err(|error| format!("payload: {error}"))?;
    let trace = headers.traceparent.text()?.map(str::parse::<TraceContext>).transpose();
    let trace = trace.map_err(|_| "traceparent: malformed")?;
    let trace_state = headers.trace_state.text()?;
    let envelope = Envelope {
        id: id.as_str().parse().map_err(|error| format!("message_id: {error}"))?,
        kind: properties.kind().as_ref().ok_or("no type")?.to_string(),
        version: headers.version.or(VERSION)?,
        queue: queue.to_owned(),
        priority: class_of(properties),
        attempt: headers.attempt.or(ATTEMPT)?,
        max_attempts: headers.max_attempts.or(MAX_ATTEMPTS)?,
        created_at: headers.created_at.time()?.ok_or("no header ow-created-at")?,
        run_at: headers.run_at.time()?,
        trace: trace.map(|trace| trace.with_stored_state(trace_state.unwrap_or_default())),
        unique_key: headers.unique_key.string()?,
        unique: Unique::stored(headers.unique_states.text()?, headers.unique_period.number()?),
        concurrency_key: headers.concurrency_key.string()?,
        fair_key: headers.fair_key.string()?,
        order_key: headers.order_key.string()?,
        subject: headers.subject.string()?,
        payload: payload.to_owned(),
    };
    // What no engine publishes could not be published again either.
    check(&envelope).map_err(|error| error.to_string())?;
    Ok((envelope, headers.meta()?))
}

/// The id of a message that may be undecodable otherwise.
pub(crate) fn id_of(raw: &Raw) -> Option<JobId> {
    raw.properties.message_id().as_ref()?.as_str().parse().ok()
}

/// The priority in the properties, for a message outside its own queue.
pub(crate) fn class_of(properties: &BasicProperties) -> Priority {
    let found = Priority::ALL.into_iter().find(|class| *properties.priority() == Some(rank(*class)));
    found.unwrap_or_default()
}

const fn rank(class: Priority) -> u8 {
    match class {
        Priority::Critical => 2,
        Priority::Default => 1,
        Priority::Bulk => 0,
    }
}

/// Texts are bounded by [`check`]; a longer one would be a bug and becomes empty instead of a panic.
fn short(text: &str) -> ShortString {
    ShortString::try_new(text).unwrap_or_default()
}
