//! Properties of the rule, over seeded cases.

use base::ids::floor;
use store::admission::EndedOrder;

use super::*;

const CASES: u64 = 2_000;

fn start() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a time")
}

fn limits(orders: u64, carts: u64) -> AdmissionLimits {
    let age = |seconds| (seconds > 0).then(|| Duration::from_secs(seconds));
    AdmissionLimits { order_age_max: age(orders), cart_age_max: age(carts), room_age: Duration::from_mins(1) }
}

/// `count` orders fulfilled one after another every `every`, the last one `last` ago, each after `took`.
fn ended(count: u32, every: Duration, last: Duration, took: Duration) -> Vec<EndedOrder> {
    let order = |n: u32| {
        let at = earlier(start(), last + every * n);
        EndedOrder { order: OrderId(floor_v7(earlier(at, took))), at, is_fulfilled: true }
    };
    (0..count).map(order).collect()
}

/// An id of this time that says so: version 7.
fn floor_v7(at: Timestamp) -> base::ids::Uuid {
    base::ids::Uuid::from_u128(floor(at).as_u128() | (7 << 76) | (1 << 63))
}

fn load(random: &mut fastrand::Rng) -> OrderLoad {
    let any = |random: &mut fastrand::Rng, most| Duration::from_millis(random.u64(1..most));
    let (every, last, took) = (any(random, 5_000), any(random, 60_000), any(random, 90_000));
    let since = |random: &mut fastrand::Rng| {
        random.bool().then(|| earlier(start(), Duration::from_secs(random.u64(0..2_000))))
    };
    OrderLoad {
        open: random.u64(0..100_000),
        unpaid_since: since(random),
        unsent_since: since(random),
        ended: ended(random.u32(0..500), every, last, took),
    }
}

fn each_case(check: impl Fn(&mut fastrand::Rng, &OrderLoad, Backlog)) {
    for seed in 0..CASES {
        let mut random = fastrand::Rng::with_seed(seed);
        let load = load(&mut random);
        check(&mut random, &load, Backlog::of(&load, start()));
    }
}

#[test]
fn nothing_is_told_of_too_few_orders() {
    each_case(|_, load, backlog| {
        let is_measured = load.ended.len() >= MEASURED_MIN;
        assert_eq!(backlog.drain.is_some(), is_measured, "{load:?}");
        assert_eq!(backlog.estimate(0, start()).is_some(), is_measured);
    });
}

#[test]
fn an_estimate_is_bounded_and_grows_with_what_is_ahead() {
    each_case(|random, _, backlog| {
        let Some(drain) = backlog.drain else { return };
        assert!(drain.per_second > 0.0 && drain.per_second.is_finite());
        let more = random.u64(0..1_000);
        let estimates = [0, more, more + 1].map(|more| backlog.estimate(more, start()).expect("is measured"));
        assert!(estimates.is_sorted());
        assert!(estimates[0] >= later(start(), drain.usual + MARGIN_MIN));
        assert!(estimates[2] <= later(start(), ESTIMATE_MAX.mul_f64(1.0 + MARGIN)));
        let older = Backlog { waiting_since: Some(earlier(start(), Duration::from_hours(2))), ..backlog };
        assert!(older.estimate(0, start()) >= backlog.estimate(0, start()));
        assert_eq!(backlog.estimate(0, later(start(), FRESH_FOR + MARGIN_MIN)), None, "too old to tell");
    });
}

#[test]
fn a_refusal_is_bounded_and_carts_go_first() {
    each_case(|random, _, backlog| {
        let (orders, carts) = (random.u64(1..1_000), random.u64(1_000..3_000));
        let (limits, now) = (limits(orders, carts), start());
        let cart = Some(Timestamp::UNIX_EPOCH);
        let (new, old) = (backlog.refusal(&limits, None, now), backlog.refusal(&limits, cart, now));
        assert_eq!(new.is_some(), backlog.age(now) > Duration::from_secs(orders));
        assert_eq!(old.is_some(), backlog.age(now) > Duration::from_secs(carts));
        for wait in new.iter().chain(&old) {
            assert!((RETRY_MIN..=RETRY_MAX).contains(wait), "{wait:?}");
        }
        assert_eq!(backlog.refusal(&limits, Some(now), now).is_some(), new.is_some(), "a cart made now");
        assert_eq!(backlog.refusal(&self::limits(0, carts), None, now), None, "switched off");
        assert_eq!(backlog.refusal(&self::limits(orders, 0), cart, now), None, "carts always go");
        assert_eq!(backlog.refusal(&limits, None, later(now, FRESH_FOR * 2)), None, "too old to tell");
    });
}

#[test]
fn a_slower_drain_means_a_longer_wait() {
    let backlog = |every: u64| {
        let ended = ended(200, Duration::from_millis(every), Duration::ZERO, Duration::from_mins(1));
        let unpaid_since = Some(earlier(start(), Duration::from_secs(200)));
        Backlog::of(&OrderLoad { open: 1_000, unpaid_since, unsent_since: None, ended }, start())
    };
    let waits = [50, 500, 2_000].map(|every| backlog(every).refusal(&limits(100, 300), None, start()));
    assert!(waits.is_sorted() && waits[0] < waits[2], "{waits:?}");
    let rates = [50, 500, 2_000].map(|every| backlog(every).drain.map_or(0.0, |drain| drain.per_second));
    assert!((19.0..=21.0).contains(&rates[0]) && (1.9..=2.3).contains(&rates[1]), "{rates:?}");
}

#[test]
fn a_quiet_shop_is_not_taken_for_a_slow_one() {
    // An order every half minute, each fulfilled within half a second.
    let ended = ended(20, Duration::from_secs(30), Duration::ZERO, Duration::from_millis(500));
    let backlog = Backlog::of(&OrderLoad { open: 1, ended, ..OrderLoad::default() }, start());
    let estimate = backlog.estimate(0, start()).expect("is measured");
    assert!(estimate <= later(start(), Duration::from_secs(5)), "{estimate}");
}

#[test]
fn one_order_a_minute_is_a_probe() {
    let mut probed_at = None;
    let due =
        (0..200).filter(|second| is_probe(&mut probed_at, later(start(), Duration::from_secs(*second))));
    assert_eq!(due.collect::<Vec<_>>(), [60, 120, 180]);
}

/// A line served first come, first served, at a rate that differs from second to second: nine of ten orders are
/// fulfilled before what they were told.
#[test]
fn nine_of_ten_estimates_hold_in_a_simulated_rush() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (capacity, rush) = (random.u32(5..40), random.u32(2..8));
        let (mut line, mut ended) = (std::collections::VecDeque::new(), Vec::new());
        let (mut told, mut kept) = (0_u32, 0_u32);
        for second in 0..600_u64 {
            let now = later(start(), Duration::from_secs(second));
            let arrivals = if (60..180).contains(&second) { capacity * rush } else { capacity / 2 };
            let span = ended.len().saturating_sub(500);
            let load = OrderLoad {
                open: u64::try_from(line.len()).expect("fits"),
                unpaid_since: line.front().map(|(placed, _): &(Timestamp, _)| *placed),
                unsent_since: None,
                ended: ended[span..].iter().rev().copied().collect(),
            };
            let backlog = Backlog::of(&load, now);
            for n in 0..arrivals {
                line.push_back((now, backlog.estimate(u64::from(n), now)));
            }
            for _ in 0..random.u32(capacity * 3 / 4..=capacity * 5 / 4) {
                let Some((placed, estimate)) = line.pop_front() else { break };
                let at = later(now, Duration::from_secs(1));
                ended.push(EndedOrder { order: OrderId(floor_v7(placed)), at, is_fulfilled: true });
                if let Some(estimate) = estimate {
                    (told, kept) = (told + 1, kept + u32::from(at <= estimate));
                }
            }
        }
        assert!(told > 1_000 && kept * 10 >= told * 9, "seed {seed}: {kept} of {told}");
    }
}
