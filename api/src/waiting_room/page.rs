//! Page of a waiting room at `/waiting_room/{merchant}`: the shopper's position and estimate, for browsers.
//!
//! Guarantees: works without a script, as its answer asks to be loaded again (`Refresh`), unless the shopper has chosen
//! that it stands still; loads its style sheet from this host and nothing else, and its policy forbids all else. Shows
//! nothing of the merchant or of other shoppers but their number. The place is kept in a cookie that no script can
//! read.

use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};
use base::{Timestamp, time::between};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use store::domain::MerchantId;

use super::{rooms::Visit, rule::Standing};
use crate::{
    input::{PathText, parse_id},
    limits::Visitor,
    own_pages,
    problem::Problem,
    state::ApiState,
};

const STYLES: &str = include_str!("../../assets/waiting_room.css");
/// Path of the style sheet; the version is that of the program, so that a new one is fetched.
const STYLESHEET: &str = concat!("/waiting_room/waiting_room.css?v=", env!("CARGO_PKG_VERSION"));
/// The policy of the page: a style sheet of this host, an empty icon.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; form-action 'none'; \
                      frame-ancestors 'none'; base-uri 'none'";

/// Query of the page that is not loaded again by itself.
const STILL: &str = "still=1";

#[derive(Template)]
#[template(path = "waiting_room.html")]
struct WaitingPage {
    stylesheet: &'static str,
    title: &'static str,
    is_waiting: bool,
    /// Whether the page is not loaded again by itself.
    is_still: bool,
    /// Number of the shoppers before this one; empty where it is not told.
    ahead: String,
    opens_at: String,
    wait: String,
    admitted_for: String,
}

pub(crate) fn routes() -> Router<ApiState> {
    Router::new()
        .route("/waiting_room/waiting_room.css", get(stylesheet))
        .route("/waiting_room/{merchant}", get(show))
}

async fn stylesheet() -> Response {
    own_pages::file(own_pages::CSS, STYLES)
}

async fn show(
    State(state): State<ApiState>,
    visitor: Visitor,
    PathText(merchant): PathText,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let merchant: MerchantId = parse_id(&merchant, "waiting room")?;
    let is_still = uri.query() == Some(STILL);
    let Some(room) = state.rooms.required(merchant) else { return page(None, is_still, state.ambient.now()) };
    if let Some(visit) = state.rooms.visit(&room, &headers) {
        return page(Some(&visit), is_still, state.ambient.now());
    }
    visitor.take_place(&state).await?;
    let visit = state.rooms.enter(&room).await?;
    let mut response = page(visit.as_ref(), is_still, state.ambient.now())?;
    response.headers_mut().extend(visit.as_ref().map(Visit::cookie).unwrap_or_default());
    Ok(response)
}

/// The page of a visit; without one, that there is nothing to wait for.
fn page(visit: Option<&Visit>, is_still: bool, now: Timestamp) -> Result<Response, Problem> {
    let again_seconds = visit.and_then(|visit| visit.ask_again_seconds(now));
    let mut page = WaitingPage {
        stylesheet: STYLESHEET,
        title: "You can order now",
        is_waiting: again_seconds.is_some(),
        is_still,
        ahead: String::new(),
        opens_at: String::new(),
        wait: String::new(),
        admitted_for: String::new(),
    };
    match visit.map(|visit| (visit, visit.standing)) {
        Some((visit, Standing::Waiting { ahead })) => {
            page.title = "You are in line";
            page.opens_at = visit.opens_at.map(|at| at.to_string()).unwrap_or_default();
            // Before the opening lots may not be drawn yet.
            if visit.opens_at.is_none() {
                page.ahead = ahead.to_string();
            }
            page.wait = visit.estimated_admission_at.map(|at| told(now, at)).unwrap_or_default();
        }
        Some((_, Standing::Admitted { until })) => page.admitted_for = told(now, until),
        Some((_, Standing::Expired)) | None => {}
    }
    let text = page.render().map_err(|error| {
        tracing::error!(error = %error, "page of a waiting room not rendered");
        Problem::logged()
    })?;
    let mut response = own_pages::page(StatusCode::OK, text, POLICY);
    if let Some(seconds) = again_seconds.filter(|_| !is_still) {
        response.headers_mut().insert(header::REFRESH, HeaderValue::from(seconds));
    }
    Ok(response)
}

/// A time to come in words, rounded up to minutes.
fn told(now: Timestamp, at: Timestamp) -> String {
    match between(now, at).as_secs().div_ceil(60) {
        0 | 1 => "one minute".to_owned(),
        minutes @ 2..=90 => format!("{minutes} minutes"),
        minutes => format!("{} hours", minutes.div_ceil(60)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_told_in_words() {
        let now = Timestamp::UNIX_EPOCH;
        let told = |seconds| told(now, Timestamp::from_second(seconds).expect("a time"));
        assert_eq!([0, 60, 61, 5_400].map(told), ["one minute", "one minute", "2 minutes", "90 minutes"]);
        assert_eq!([5_401, 86_400].map(told), ["2 hours", "24 hours"]);
    }
}
