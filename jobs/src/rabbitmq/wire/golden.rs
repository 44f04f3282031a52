//! The wire format as text: messages of this form wait in the brokers of running systems.
//!
//! A change that a reader of the same format may ignore, such as a further header, adds to these texts. Any other
//! change raises the number in `app_id`, keeps reading the former one, and adds texts beside these.

use std::time::Duration;

use base::Timestamp;
use lapin::types::AMQPValue;

use super::{
    headers::Meta,
    message::{Raw, decode, encode},
};
use crate::{engine::DeadReason, envelope::Envelope, job::Priority, unique::Unique};

const PLAIN: &str = r#"
message_id job_01900000-0000-7000-8000-000000000001
type pack_parcel
content_type application/json
delivery_mode 2
priority 1
app_id orderworks/1
ow-created-at 1780000000000
body {"parcel":"p-1"}
"#;

const FULL: &str = r#"
message_id job_01900000-0000-7000-8000-000000000001
type pack_parcel
content_type application/json
delivery_mode 2
priority 2
app_id orderworks/1
ow-alone 1
ow-attempt 3
ow-concurrency-key c
ow-crashes 2
ow-created-at 1780000000000
ow-dead-reason exhausted
ow-died-at 1780000004000
ow-fair-key f
ow-first-failed-at 1780000002000
ow-last-error no paper
ow-max-attempts 5
ow-not-before 1780000003000
ow-order-key o
ow-run-at 1780000001000
ow-subject ord_1
ow-turn 1
ow-unique-key u
ow-unique-period 3600000
ow-unique-states kept
ow-version 2
traceparent 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
tracestate vendor=1
body {"parcel":"p-1"}
"#;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_780_000_000 + seconds).unwrap()
}

fn plain() -> Envelope {
    Envelope {
        id: "job_01900000-0000-7000-8000-000000000001".parse().unwrap(),
        kind: "pack_parcel".to_owned(),
        version: 1,
        queue: "parcels".to_owned(),
        priority: Priority::Default,
        attempt: 0,
        max_attempts: 20,
        created_at: at(0),
        run_at: None,
        trace: None,
        unique_key: None,
        unique: Unique::default(),
        concurrency_key: None,
        fair_key: None,
        order_key: None,
        subject: None,
        payload: serde_json::value::RawValue::from_string(r#"{"parcel":"p-1"}"#.to_owned()).unwrap(),
    }
}

fn full() -> (Envelope, Meta) {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let trace: base::TraceContext = parent.parse().unwrap();
    let envelope = Envelope {
        version: 2,
        priority: Priority::Critical,
        attempt: 3,
        max_attempts: 5,
        run_at: Some(at(1)),
        trace: Some(trace.with_state(["vendor=1"])),
        unique_key: Some("u".to_owned()),
        unique: Unique::WHILE_KEPT.within(Duration::from_hours(1)),
        concurrency_key: Some("c".to_owned()),
        fair_key: Some("f".to_owned()),
        order_key: Some("o".to_owned()),
        subject: Some("ord_1".to_owned()),
        ..plain()
    };
    let meta = Meta {
        crashes: 2,
        alone: Some(1),
        turn: true,
        last_error: Some("no paper".to_owned()),
        first_failed_at: Some(at(2)),
        not_before: Some(at(3)),
        dead: Some((DeadReason::Exhausted, at(4))),
        ..Meta::default()
    };
    (envelope, meta)
}

fn text(raw: &Raw) -> String {
    let properties = &raw.properties;
    let mut lines = vec![
        format!("message_id {}", properties.message_id().as_ref().unwrap()),
        format!("type {}", properties.kind().as_ref().unwrap()),
        format!("content_type {}", properties.content_type().as_ref().unwrap()),
        format!("delivery_mode {}", properties.delivery_mode().unwrap()),
        format!("priority {}", properties.priority().unwrap()),
        format!("app_id {}", properties.app_id().as_ref().unwrap()),
    ];
    lines.extend(properties.headers().as_ref().unwrap().inner().iter().map(|(name, value)| match value {
        AMQPValue::LongString(text) => format!("{name} {text}"),
        AMQPValue::LongLongInt(number) => format!("{name} {number}"),
        other => format!("{name} {other:?}"),
    }));
    lines.push(format!("body {}", String::from_utf8_lossy(&raw.body)));
    format!("\n{}\n", lines.join("\n"))
}

#[test]
fn a_job_is_written_as_it_always_was() {
    assert_eq!(text(&encode(&plain(), &Meta::default())), PLAIN);
    let (envelope, meta) = full();
    assert_eq!(text(&encode(&envelope, &meta)), FULL);
}

#[test]
fn what_was_written_is_read() {
    let (envelope, meta) = full();
    let (read, read_meta) = decode("parcels", &encode(&envelope, &meta)).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), serde_json::to_value(&envelope).unwrap());
    assert_eq!(format!("{read_meta:?}"), format!("{meta:?}"));
}

/// Releases before links, and readers in other languages, continue the trace instead.
#[test]
fn a_link_to_a_trace_is_an_entry_of_its_state() {
    let (envelope, meta) = full();
    for (trace, state) in [
        (envelope.trace.clone(), "ow-link=1,vendor=1"),
        (envelope.trace.clone().map(|trace| trace.with_state([])), "ow-link=1"),
    ] {
        let linked = Envelope { trace: trace.map(base::TraceContext::linked), ..envelope.clone() };
        let raw = encode(&linked, &meta);
        assert_eq!(text(&raw), FULL.replace("tracestate vendor=1", &format!("tracestate {state}")));
        let (read, _) = decode("parcels", &raw).unwrap();
        assert_eq!(read.trace, linked.trace);
    }
}

/// A message of an earlier release says nothing of how its key is held.
#[test]
fn a_unique_key_alone_is_held_while_its_job_waits_or_runs() {
    let keyed = Envelope { unique_key: Some("u".to_owned()), ..plain() };
    let raw = encode(&keyed, &Meta::default());
    assert!(!text(&raw).contains("ow-unique-states") && !text(&raw).contains("ow-unique-period"));
    let (read, _) = decode("parcels", &raw).unwrap();
    assert_eq!((read.unique_key.as_deref(), read.unique), (Some("u"), Unique::WHILE_ACTIVE));
}

#[test]
fn no_field_is_read_that_a_copy_could_not_carry() {
    let long = || Some("x".repeat(100_000));
    let envelopes = [
        Envelope { subject: long(), ..plain() },
        Envelope { unique_key: long(), ..plain() },
        Envelope { concurrency_key: long(), ..plain() },
        Envelope { fair_key: long(), ..plain() },
        Envelope { order_key: long(), ..plain() },
        Envelope {
            unique: Unique::WHILE_ACTIVE.within(Duration::MAX),
            unique_key: Some("u".to_owned()),
            ..plain()
        },
    ];
    for envelope in envelopes {
        assert!(decode("parcels", &encode(&envelope, &Meta::default())).is_err());
    }
    let meta = Meta { last_error: long(), ..Meta::default() };
    let (_, meta) = decode("parcels", &encode(&plain(), &meta)).unwrap();
    assert!(meta.last_error.is_some_and(|error| error.len() < 10_000));
}
