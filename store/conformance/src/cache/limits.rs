//! Rate-limit cases. They run on the real clock, with intervals so long that a slow machine changes nothing.

use std::{sync::Arc, time::Duration};

use base::testing::until;
use cache::{Claim, Decision, Lease, Quota, RateLimits, Refused};

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

/// A lease grants what is left, and counts what it grants.
pub async fn several_calls_are_granted_as_far_as_they_go(limits: SharedLimits) {
    let lease = |calls| limits.lease("lease", &HOURLY, calls);
    let granted = |granted, remaining| Lease { granted, remaining, retry_after: Duration::ZERO };
    assert_eq!(lease(2).await.expect("answers"), granted(2, 1));
    assert_eq!(lease(5).await.expect("answers"), granted(1, 0));
    let none = lease(1).await.expect("answers");
    let due = Duration::from_mins(59)..=Duration::from_hours(1);
    assert!(none.granted == 0 && due.contains(&none.retry_after), "{none:?}");
}

fn claim(key: &str, burst: u32, counts: bool) -> Claim {
    Claim { key: key.to_owned(), quota: Quota { burst, ..HOURLY }, counts }
}

async fn take(limits: &dyn RateLimits, claims: &[Claim]) -> Option<Refused> {
    limits.take_all(claims).await.expect("answers")
}

/// All keys count a call or none does; one that only asks counts nothing.
pub async fn a_call_by_several_keys_is_counted_by_all_or_none(limits: SharedLimits) {
    let all = [claim("all wide", 3, true), claim("all narrow", 1, true), claim("all asked", 1, false)];
    assert_eq!(take(&*limits, &all).await, None);
    for _ in 0..5 {
        let refused = take(&*limits, &all).await.expect("the narrow one is used up");
        assert!(refused.claim == 1 && refused.retry_after <= HOURLY.interval, "{refused:?}");
    }
    assert_eq!(check(&*limits, "all wide", &HOURLY).await.remaining, 1, "refused calls cost nothing");
    assert_eq!(take(&*limits, &[claim("all asked", 1, true)]).await, None, "asking costs nothing");
    assert!(take(&*limits, &[claim("all asked", 1, false)]).await.is_some());
    assert_eq!(take(&*limits, &[]).await, None);
}

/// One key may have two bursts: some callers get more of it than others.
pub async fn one_key_may_have_two_bursts(limits: SharedLimits) {
    assert_eq!(take(&*limits, &[claim("two", 1, true)]).await, None);
    assert!(take(&*limits, &[claim("two", 1, true)]).await.is_some());
    assert_eq!(take(&*limits, &[claim("two", 2, true)]).await, None);
    assert!(take(&*limits, &[claim("two", 2, true)]).await.is_some());
}

/// A call given back may be made again, and no more than that.
pub async fn calls_are_given_back_and_forgotten(limits: SharedLimits) {
    let (one, other) = (claim("back", 2, true), claim("back too", 2, true));
    limits.give_back(&[one.clone(), other.clone()]).await.expect("answers");
    for _ in 0..2 {
        assert_eq!(take(&*limits, &[one.clone(), other.clone()]).await, None);
    }
    limits.give_back(std::slice::from_ref(&one)).await.expect("answers");
    assert_eq!(take(&*limits, std::slice::from_ref(&one)).await, None);
    assert!(take(&*limits, std::slice::from_ref(&one)).await.is_some());
    assert!(take(&*limits, std::slice::from_ref(&other)).await.is_some());
    limits.reset(&other.key).await.expect("answers");
    assert_eq!(check(&*limits, &other.key, &other.quota).await.remaining, 1);
}

/// Many ask for leases of many sizes at once: no more calls are granted than the burst.
pub async fn leases_taken_at_once_stay_within_the_burst(limits: SharedLimits) {
    let quota = Quota { burst: 25, ..HOURLY };
    let granted = race(20, |n| {
        let limits = Arc::clone(&limits);
        async move { limits.lease("leases", &quota, n % 5 + 1).await.expect("answers").granted }
    });
    assert_eq!(granted.await.into_iter().sum::<u32>(), 25);
}
