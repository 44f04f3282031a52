//! Body of an event for webhooks and outside consumers, a function of the stored event: every attempt sends the same
//! bytes.

use base::Timestamp;
use serde::Serialize;
use store::domain::{Event, EventId, EventKind};

#[derive(Serialize)]
struct Body<'a> {
    id: EventId,
    r#type: EventKind,
    timestamp: Timestamp,
    sequence: u64,
    data: &'a serde_json::Value,
}

/// `{id, type, timestamp, sequence, data}`.
pub fn body_of(event: &Event) -> String {
    let Event { id, kind, at, sequence, data, .. } = event;
    let body = Body { id: *id, r#type: *kind, timestamp: *at, sequence: *sequence, data };
    // Strings, numbers and a JSON value: nothing here can fail to serialise.
    serde_json::to_string(&body).unwrap_or_default()
}
