//! Payments of a merchant by day: `GET /v1/payments`, for comparing with the provider's and the bank's books.

use std::str::FromStr;

use axum::{Json, extract::State};
use base::Timestamp;
use store::{domain::PageRequest, payments::PaymentEntry};

use super::read::payments_of;
use crate::{
    auth::SecretKey,
    input::Query,
    problem::Problem,
    state::ApiState,
    view::{List, PaymentEntryView},
};

/// Begin of a UTC day, written as RFC 3339's `full-date`.
struct Day(Timestamp);

impl FromStr for Day {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_date =
            |(at, byte): (usize, u8)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() };
        if text.len() != "2026-11-28".len() || !text.bytes().enumerate().all(is_date) {
            return Err(());
        }
        format!("{text}T00:00:00Z").parse().map(Self).map_err(drop)
    }
}

/// List the payments of a day, oldest first
///
/// A payment is listed on the UTC day on which its first charge began. One that was just opened may be missing for a
/// moment, and may then come before others that were listed already.
#[utoipa::path(
    get, path = "/v1/payments", tag = "orders", security(("secret_key" = [])),
    params(
        ("limit" = Option<u32>, Query, description = "1 to 100, 10 when absent"),
        ("starting_after" = Option<String>, Query, description = "The last payment of the page before"),
        ("day" = Option<String>, Query, description = "The UTC day; the present one when absent"),
    ),
    responses((status = 200, description = "A page of payments", body = List<PaymentEntryView>)),
)]
pub(super) async fn list_payments(
    State(state): State<ApiState>,
    SecretKey(key): SecretKey,
    uri: http::Uri,
) -> Result<Json<List<PaymentEntryView>>, Problem> {
    let query = Query::paged(&uri, &["day"]);
    let day = query.parsed("day", "a day such as 2026-11-28").map(|Day(begin)| begin);
    let PageRequest { limit, after } = query.page()?;
    let day = day.unwrap_or_else(|| state.ambient.now());
    let mut entries = state.payments.list_by_day(key.merchant, day, after, limit + 1).await?;
    let has_more = entries.len() > limit as usize;
    entries.truncate(limit as usize);
    let payments = payments_of(&state, entries.iter().map(|entry| entry.id).collect()).await?;
    let view = |entry: &PaymentEntry| PaymentEntryView::new(entry, payments.get(&entry.id));
    Ok(Json(List::new(entries.iter().map(view).collect(), has_more)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_a_date_and_nothing_else() {
        assert_eq!("1970-01-02".parse::<Day>().map(|Day(begin)| begin.as_second()), Ok(86_400));
        for bad in
            ["", "today", "2026-1-1", "2026-02-30", "2026-11-28T00:00:00Z", "2026-11-28 ", "+026-11-28"]
        {
            assert!(bad.parse::<Day>().is_err(), "{bad}");
        }
    }
}
