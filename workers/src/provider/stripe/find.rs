//! Search for a charge by the time of its request.

use std::{ops::RangeInclusive, time::Duration};

use base::Timestamp;

use super::{
    client::{Answer, Client, List},
    form::Form,
    intents::{self, INTENTS},
    objects::Intent,
};
use crate::provider::{ChargeOutcome, ChargeQuery, ProviderError};

/// Most pages of intents read for one charge.
const PAGES_MAX: u32 = 100;
const SEARCH_MAX: Duration = Duration::from_secs(10);
/// Largest difference assumed between our clock and Stripe's.
const SKEW: Duration = Duration::from_secs(30);
/// How long after the begin of an attempt its call may still arrive.
const STRAY_MAX: Duration = Duration::from_mins(3);

/// See [`crate::provider::PaymentProvider::find`].
pub(super) async fn find(
    client: &Client,
    charge: &ChargeQuery,
) -> Result<Option<ChargeOutcome>, ProviderError> {
    let found = tokio::time::timeout(SEARCH_MAX, search(client, charge)).await;
    charge_outcome(client, charge, found.unwrap_or(Err(ProviderError::TOO_MANY_TO_SEARCH))?).await
}

/// All intents of the payment.
async fn search(client: &Client, charge: &ChargeQuery) -> Result<Vec<Intent>, ProviderError> {
    let wanted = charge.payment.to_string();
    let (mut found, mut pages) = (Vec::new(), 0);
    for window in windows(&charge.asked_at) {
        let mut after = None;
        loop {
            pages += 1;
            if pages > PAGES_MAX {
                return Err(ProviderError::TOO_MANY_TO_SEARCH);
            }
            let page = page(client, &window, after.as_deref()).await?;
            after = page.data.last().map(|intent| intent.id.clone()).filter(|_| page.has_more);
            found.extend(page.data.into_iter().filter(|intent| intent.payment() == Some(wanted.as_str())));
            if after.is_none() {
                break;
            }
        }
    }
    Ok(found)
}

/// The outcome of a payment by its intents. There is at most one, unless Stripe had forgotten the key: then the intent
/// that moved money counts.
async fn charge_outcome(
    client: &Client,
    charge: &ChargeQuery,
    mut found: Vec<Intent>,
) -> Result<Option<ChargeOutcome>, ProviderError> {
    found.sort_by_key(|intent| !intent.has_succeeded());
    if found.iter().filter(|intent| intent.has_succeeded()).count() > 1 {
        tracing::error!(alarm = true, payment.id = %charge.payment, "more than one Stripe charge for a payment");
    }
    let Some(intent) = found.into_iter().next() else { return Ok(None) };
    if !intent.is_over(charge.amount_minor, charge.currency) {
        return Err(ProviderError::Protocol { detail: "another_charge" });
    }
    intents::settle(client, intent).await.map(Some)
}

async fn page(
    client: &Client,
    window: &RangeInclusive<i64>,
    after: Option<&str>,
) -> Result<List<Intent>, ProviderError> {
    let query = Form::new().with("created[gte]", window.start()).with("created[lte]", window.end());
    match client.page(INTENTS, query, after).await? {
        Answer::Done(page) => Ok(page),
        Answer::Refused(error) => Err(error.report("list_refused")),
    }
}

/// Windows in which the calls of these attempts may have arrived, in seconds since the epoch; ascending and disjoint.
fn windows(asked_at: &[Timestamp]) -> Vec<RangeInclusive<i64>> {
    let around = |at: &Timestamp| {
        let second = |at: Timestamp| at.as_second();
        let from = at.saturating_sub(SKEW).map_or(0, second);
        from..=at.saturating_add(SKEW + STRAY_MAX).map_or(i64::MAX, second)
    };
    let mut each: Vec<_> = asked_at.iter().map(around).collect();
    each.sort_unstable_by_key(|window| *window.start());
    let mut merged: Vec<RangeInclusive<i64>> = Vec::new();
    for window in each {
        match merged.last_mut() {
            Some(last) if window.start() <= last.end() => *last = *last.start()..=*window.end(),
            _ => merged.push(window),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_that_meet_are_one() {
        let at = |second: i64| Timestamp::from_second(second).expect("a time");
        assert_eq!(windows(&[]), []);
        assert_eq!(windows(&[at(10_000)]), [9_970..=10_210]);
        assert_eq!(windows(&[at(20_000), at(10_000), at(10_100)]), [9_970..=10_310, 19_970..=20_210]);
    }
}
