//! Events, the same in lists, in streams and in webhooks.

use base::Timestamp;
use serde::Serialize;
use store::domain::Event;
use utoipa::ToSchema;

/// Something that happened.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub(crate) struct EventView {
    /// Always `event`.
    #[schema(example = "event")]
    object: &'static str,
    /// Its id, `evt_…`; webhooks of it carry it as `webhook-id`.
    id: String,
    /// What happened.
    #[serde(rename = "type")]
    #[schema(example = "order.paid")]
    pub(crate) kind: &'static str,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// Counts from 1 without gaps per order (for catalog events: per product).
    pub(crate) sequence: u64,
    /// The order it is about, if it is about one.
    order: Option<String>,
    /// The object after the event.
    #[schema(value_type = Object)]
    data: serde_json::Value,
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        Self {
            object: "event",
            id: event.id.to_string(),
            kind: event.kind.as_str(),
            timestamp: event.at,
            sequence: event.sequence,
            order: event.order.map(|order| order.to_string()),
            data: event.data,
        }
    }
}
