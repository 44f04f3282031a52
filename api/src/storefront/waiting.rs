//! Waiting room of the storefront: in sale mode of the shop a visitor waits here before the checkout.
//!
//! Guarantees: a visitor keeps the place, in a cookie, from page to page and over a closed browser. The page looks
//! again by itself (`Refresh`), and by a link it does not: a screen reader is not interrupted. Without a sale the
//! checkout does not come by here. What admits visitors is [`crate::waiting_room`], asked by the public API.

use axum::response::Response;
use base::{Timestamp, time::between};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;

use super::{
    cookies::Cookie,
    html::{Frame, finish, go_to, html},
    pages::WaitingPage,
    public_api::Refusal,
    texts::filled,
    visit::Visit,
};

const PATH: &str = "/waiting";
/// Parameter of the page that does not look again by itself.
const STILL: &str = "still";

/// How the visitor stands, as the API tells it.
#[derive(Debug, Deserialize)]
struct Room {
    status: String,
    /// `None` while none is needed.
    place: Option<String>,
    ahead: Option<u64>,
    opens_at: Option<Timestamp>,
    estimated_admission_at: Option<Timestamp>,
    ask_again_seconds: Option<u64>,
}

pub(super) async fn show(visit: Visit) -> Response {
    let answered = async {
        let room = enter(&visit).await?;
        let mut response = if room.is_waiting() { page(&visit, &room) } else { go_to("/checkout") };
        room.keep_place(&visit, &mut response);
        Ok(response)
    };
    finish(&visit, answered.await)
}

/// Leads a visitor to the waiting room who has to wait; `None` for one who may order.
pub(super) async fn before_checkout(visit: &Visit) -> Result<Option<Response>, Refusal> {
    let room = enter(visit).await?;
    if !room.is_waiting() {
        return Ok(None);
    }
    let mut response = go_to(PATH);
    room.keep_place(visit, &mut response);
    Ok(Some(response))
}

/// Takes a place where one is needed and the visitor has none.
async fn enter(visit: &Visit) -> Result<Room, Refusal> {
    visit.api.get("/v1/waiting_room").await
}

impl Room {
    fn is_waiting(&self) -> bool {
        self.status == "waiting"
    }

    fn keep_place(&self, visit: &Visit, response: &mut Response) {
        if let Some(place) = &self.place {
            visit.set(response, Cookie::Place, place);
        }
    }
}

fn page(visit: &Visit, room: &Room) -> Response {
    let (t, now) = (visit.texts(), visit.ambient.now());
    let is_still = !visit.parameter(STILL).is_empty();
    let minutes = |at: Timestamp| between(now, at).as_secs().div_ceil(60).max(1);
    let page = WaitingPage {
        frame: Frame::new(visit, t.in_line),
        opens_at: room.opens_at.map(|at| filled(t.sale_begins, at.strftime("%F %R UTC"))).unwrap_or_default(),
        // Before the opening lots may not be drawn yet.
        ahead: room.ahead.filter(|_| room.opens_at.is_none()).map(|n| filled(t.ahead, n)).unwrap_or_default(),
        wait: room.estimated_admission_at.map(|at| filled(t.wait, minutes(at))).unwrap_or_default(),
        is_still,
    };
    let mut response = html(StatusCode::OK, &page);
    if let Some(seconds) = room.ask_again_seconds.filter(|_| !is_still) {
        response.headers_mut().insert(header::REFRESH, HeaderValue::from(seconds));
    }
    response
}
