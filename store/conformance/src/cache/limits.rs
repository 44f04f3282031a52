//! Rate-limit cases. They run on the real clock, with intervals so long that a slow machine changes nothing.

use std::{sync::Arc, time::Duration};

use base::testing::until;
use cache::{Decision, Quota, RateLimits};

use super::SharedLimits;
use crate::race;

const HOURLY: Quota = Quota { interval: Duration::from_hours(1), burst: 3 };

async fn check(limits: &dyn RateLimits, key: &str, quota: &Quota) -> Decision {
    limits.check(key, quota).await.expect("answers")
}

/// The first three pass, further ones do not; a fast quota fills up again.
pub async fn a_burst_passes_and_then_the_rate_holds(limits: SharedLimits) {
    for remaining in [2, 1, 0] {
        let wanted = Decision { allowed: true, remaining, retry_after: Duration::ZERO };
        assert_eq!(check(&*limits, "burst", &HOURLY).await, wanted);
    }
    assert!(!check(&*limits, "burst", &HOURLY).await.allowed);
    let fast = Quota { interval: Duration::from_millis(100), burst: 1 };
    assert!(check(&*limits, "fast", &fast).await.allowed);
    until("it may go on", || async { check(&*limits, "fast", &fast).await.allowed }).await;
}

/// `retry_after` is the time after which the next call passes.
pub async fn the_time_to_come_again_is_told(limits: SharedLimits) {
    for _ in 0..3 {
        check(&*limits, "again", &HOURLY).await;
    }
    let told = check(&*limits, "again", &HOURLY).await;
    let due = Duration::from_mins(59)..=Duration::from_hours(1);
    assert!(!told.allowed && told.remaining == 0 && due.contains(&told.retry_after), "{told:?}");
    let soon = Quota { interval: Duration::from_millis(200), burst: 1 };
    check(&*limits, "soon", &soon).await;
    let told = check(&*limits, "soon", &soon).await;
    if !told.allowed {
        assert!(told.retry_after > Duration::ZERO && told.retry_after <= soon.interval, "{told:?}");
        tokio::time::sleep(told.retry_after + Duration::from_millis(2)).await;
        assert!(check(&*limits, "soon", &soon).await.allowed, "came when told to");
    }
}

/// Rejected calls do not move the time of the next allowed one.
pub async fn a_call_turned_away_costs_nothing(limits: SharedLimits) {
    for _ in 0..3 {
        check(&*limits, "vain", &HOURLY).await;
    }
    for _ in 0..50 {
        let told = check(&*limits, "vain", &HOURLY).await;
        assert!(!told.allowed && told.retry_after <= HOURLY.interval, "{told:?}");
    }
}

/// One key may be exhausted while the next is untouched.
pub async fn keys_are_counted_apart(limits: SharedLimits) {
    for _ in 0..4 {
        check(&*limits, "one", &HOURLY).await;
    }
    assert_eq!(check(&*limits, "two", &HOURLY).await.remaining, 2);
}

/// Of forty concurrent calls, as many pass as the burst allows.
pub async fn many_at_once_pass_no_more_than_allowed(limits: SharedLimits) {
    let quota = Quota { burst: 10, ..HOURLY };
    let answers = race(40, |_| {
        let limits = Arc::clone(&limits);
        async move { check(&*limits, "many", &quota).await.allowed }
    });
    assert_eq!(answers.await.into_iter().filter(|&allowed| allowed).count(), 10);
}
