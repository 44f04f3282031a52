//! Unit tests of the breaker, in virtual time.

use base::Timestamp;

use super::*;

const FAILS: CallOutcome = CallOutcome::Fails("test");

fn breaker() -> Breaker {
    let (ambient, _) = Ambient::steered(3, Timestamp::UNIX_EPOCH);
    let config = BreakerConfig { in_a_row: 3, latest: 10, of_latest: 5, ..BreakerConfig::default() };
    Breaker::new("test", config, ambient)
}

fn call(breaker: &Breaker, outcome: CallOutcome) {
    breaker.enter().unwrap_or_else(|wait| panic!("shut for {wait:?}")).settle(outcome);
}

fn trip(breaker: &Breaker) {
    (0..3).for_each(|_| call(breaker, FAILS));
}

/// Waits for the gate to open; returns how long that took.
async fn opens(breaker: &Breaker) -> Duration {
    let began = Instant::now();
    breaker.gate().wait_for(|open| *open).await.expect("the breaker lives");
    began.elapsed()
}

fn standing(breaker: &Breaker) -> Standing {
    *breaker.standing().borrow()
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_open_it_and_a_probe_closes_it() {
    let breaker = breaker();
    for outcome in [FAILS, FAILS, CallOutcome::Works, FAILS, FAILS] {
        call(&breaker, outcome);
    }
    assert_eq!(standing(&breaker), Standing::Closed, "a success in between resets the count");
    call(&breaker, FAILS);
    assert_eq!(standing(&breaker), Standing::Open { why: "test" });
    assert!(!*breaker.gate().borrow());
    assert!(breaker.enter().is_err() && breaker.paused().is_some());
    let paused = opens(&breaker).await;
    assert!((500..=1000).contains(&paused.as_millis()), "{paused:?}");
    assert_eq!(standing(&breaker), Standing::HalfOpen { why: "test" });
    assert_eq!(breaker.paused(), None);
    let probe = breaker.enter().unwrap_or_else(|_| panic!("one is let through"));
    assert!(breaker.enter().is_err(), "one only");
    probe.settle(CallOutcome::Works);
    assert_eq!(standing(&breaker), Standing::Closed);
    trip_needs_all_again(&breaker);
}

fn trip_needs_all_again(breaker: &Breaker) {
    call(breaker, FAILS);
    call(breaker, FAILS);
    assert_eq!(standing(breaker), Standing::Closed);
}

#[tokio::test(start_paused = true)]
async fn half_of_the_latest_calls_open_it_too() {
    let breaker = breaker();
    for _ in 0..4 {
        call(&breaker, FAILS);
        call(&breaker, CallOutcome::Works);
    }
    assert_eq!(standing(&breaker), Standing::Closed);
    call(&breaker, FAILS);
    assert_eq!(standing(&breaker), Standing::Open { why: "test" });
}

#[tokio::test(start_paused = true)]
async fn each_failed_probe_doubles_the_pause_up_to_its_limit() {
    let breaker = breaker();
    trip(&breaker);
    let mut limit = Duration::from_secs(1);
    for _ in 0..9 {
        let paused = opens(&breaker).await;
        // A timer of tokio is late by up to a millisecond.
        assert!(paused >= limit / 2 && paused <= limit + Duration::from_millis(2), "{paused:?} of {limit:?}");
        call(&breaker, FAILS);
        limit = (limit * 2).min(Duration::from_mins(1));
    }
    opens(&breaker).await;
    call(&breaker, CallOutcome::Works);
    trip(&breaker);
    assert!(opens(&breaker).await <= Duration::from_millis(1002), "short again after a success");
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_open_it_at_once() {
    let breaker = breaker();
    call(&breaker, CallOutcome::Refuses);
    assert_eq!(standing(&breaker), Standing::Open { why: "it refuses our credentials" });
    let paused = opens(&breaker).await;
    assert!((5..=10).contains(&paused.as_secs()), "{paused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_has_failed_and_one_that_says_nothing_is_repeated() {
    let breaker = breaker();
    trip(&breaker);
    opens(&breaker).await;
    drop(breaker.enter());
    assert!(matches!(standing(&breaker), Standing::Open { .. }));
    opens(&breaker).await;
    call(&breaker, CallOutcome::Neither);
    assert!(matches!(standing(&breaker), Standing::HalfOpen { .. }));
    call(&breaker, CallOutcome::Works);
    assert_eq!(standing(&breaker), Standing::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_call_from_before_a_change_changes_nothing() {
    let breaker = breaker();
    let (old, older) = (breaker.enter(), breaker.enter());
    trip(&breaker);
    old.unwrap_or_else(|_| panic!("it was closed")).settle(CallOutcome::Works);
    assert!(matches!(standing(&breaker), Standing::Open { .. }));
    opens(&breaker).await;
    older.unwrap_or_else(|_| panic!("it was closed")).settle(FAILS);
    assert!(matches!(standing(&breaker), Standing::HalfOpen { .. }));
}
