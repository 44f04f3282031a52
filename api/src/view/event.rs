//! Events, in the same form in lists, streams and webhooks.

use base::Timestamp;
use serde::Serialize;
use store::domain::Event;
use utoipa::ToSchema;

/// An event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub(crate) struct EventView {
    /// Always `event`.
    #[schema(example = "event")]
    object: &'static str,
    /// Its id, `evt_…`; also the `webhook-id` of its webhooks.
    id: String,
    /// Kind of event.
    #[serde(rename = "type")]
    #[schema(example = "order.paid")]
    pub(crate) kind: &'static str,
    /// Time of the event.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// Counts from 1 without gaps per order (for catalog events: per product).
    pub(crate) sequence: u64,
    /// The order it concerns; `null` for catalog events.
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

/// A requested delivery of an event that was sent before.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventResend)]
pub(crate) struct ResendView {
    /// Always `event_resend`.
    #[schema(example = "event_resend")]
    pub(crate) object: &'static str,
    /// The event.
    pub(crate) event: String,
    /// The endpoints it is sent to: those that are enabled and subscribed to its kind.
    pub(crate) endpoints: Vec<String>,
    /// Always `requested`; the timeline of the event's order shows the attempts.
    #[schema(example = "requested")]
    pub(crate) status: &'static str,
}
