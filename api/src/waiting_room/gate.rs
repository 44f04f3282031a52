//! Gate of orders: the waiting room of the merchant, then the backlog.

use base::Timestamp;
use http::HeaderMap;
use store::{
    admission::WaitingRoom,
    merchants::{KeyRecord, KeyScope},
};

use super::rooms::ASK_SECONDS;
use crate::{
    problem::{Kind, Problem, Result},
    state::ApiState,
};

/// Decides whether an order may be placed under this key: by the waiting room of its merchant, then by the backlog.
/// `cart_made_at`: when the cart was made that is ordered.
///
/// # Errors
/// 429 for a shopper who has to go through the waiting room, or has placed as many orders as a place serves; 503 while
/// orders wait for too long. None for an order that was accepted before.
pub(crate) async fn admit(
    state: &ApiState,
    key: &KeyRecord,
    headers: &HeaderMap,
    idempotency_key: &str,
    cart_made_at: Option<Timestamp>,
) -> Result<()> {
    let room = state.rooms.required(key.merchant).filter(|_| key.scope == KeyScope::Publishable);
    if let Some(room) = room
        && let Err(refused) = go_through(state, &room, headers).await
    {
        if state.admission.was_accepted(key.merchant, idempotency_key).await? {
            return Ok(());
        }
        state.admission.note_waiting();
        return Err(refused);
    }
    state.admission.admit(key.merchant, idempotency_key, cart_made_at).await
}

async fn go_through(state: &ApiState, room: &WaitingRoom, headers: &HeaderMap) -> Result<()> {
    let Some(place) = state.rooms.admitted(room, headers) else {
        let visit = state.rooms.visit(room, headers);
        let seconds = visit.and_then(|visit| visit.ask_again_seconds(state.ambient.now()));
        let detail =
            "take a place by `GET /v1/waiting_room`, send it as `Orderworks-Place`, and order once admitted";
        return Err(Problem::new(Kind::WAITING_ROOM, detail).retry_after(seconds.unwrap_or(ASK_SECONDS[0])));
    };
    state.limiters.take_order_of_place(room.merchant, place.number, place.nonce).await
}
