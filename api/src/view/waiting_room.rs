//! Standing of a shopper in a waiting room.

use base::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::waiting_room::{Standing, Visit};

/// How a shopper stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WaitingRoom)]
pub(crate) struct WaitingRoomView {
    /// Always `waiting_room`.
    #[schema(example = "waiting_room")]
    object: &'static str,
    /// `open`: shoppers need no place; `waiting`; `admitted`: order now, with the place.
    #[schema(example = "waiting")]
    status: &'static str,
    /// The place, `owq_…`, to be sent as `Orderworks-Place`; `null` while none is needed.
    place: Option<String>,
    /// Shoppers before this one, while waiting. Until the room opens it tells the arrival, not the lot.
    ahead: Option<u64>,
    /// Until then shoppers only gather.
    #[schema(value_type = Option<String>, format = DateTime)]
    opens_at: Option<Timestamp>,
    /// When the shopper will be admitted, as far as it can be told.
    #[schema(value_type = Option<String>, format = DateTime)]
    estimated_admission_at: Option<Timestamp>,
    /// End of the time to order, once admitted.
    #[schema(value_type = Option<String>, format = DateTime)]
    admitted_until: Option<Timestamp>,
    /// Seconds after which to ask again, while waiting.
    ask_again_seconds: Option<u64>,
}

impl WaitingRoomView {
    /// Of a shopper who needs no place.
    pub(crate) fn open() -> Self {
        Self {
            object: "waiting_room",
            status: "open",
            place: None,
            ahead: None,
            opens_at: None,
            estimated_admission_at: None,
            admitted_until: None,
            ask_again_seconds: None,
        }
    }

    pub(crate) fn new(visit: &Visit, now: Timestamp) -> Self {
        let (status, ahead, admitted_until) = match visit.standing {
            Standing::Waiting { ahead } => ("waiting", Some(ahead), None),
            Standing::Admitted { until } => ("admitted", None, Some(until)),
            // A visit whose time is over takes another place before it is shown.
            Standing::Expired => ("waiting", None, None),
        };
        Self {
            status,
            place: Some(visit.place.clone()),
            ahead,
            opens_at: visit.opens_at,
            estimated_admission_at: visit.estimated_admission_at,
            admitted_until,
            ask_again_seconds: visit.ask_again_seconds(now),
            ..Self::open()
        }
    }
}
