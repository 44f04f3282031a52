//! Settings of the protection against card testing.

use std::time::Duration;

use api::CardTestingLimits;

use super::with_env;

#[test]
fn the_shipped_bounds_are_those_of_the_api() {
    assert_eq!(with_env(&[]).expect("valid").api.card_testing, CardTestingLimits::default());
}

#[test]
fn bounds_are_settings_and_a_guest_has_no_more_than_a_customer() {
    let set = [
        ("ORDERWORKS_CARD_TESTING_UNPAID_PER_GUEST", "3"),
        ("ORDERWORKS_CARD_TESTING_UNPAID_PER_CUSTOMER", "4"),
        ("ORDERWORKS_CARD_TESTING_UNPAID_WITH_PROOF", "5"),
        ("ORDERWORKS_CARD_TESTING_FORGET_ONE_AFTER_MINUTES", "10"),
        ("ORDERWORKS_CARD_TESTING_ALARM_MINUTES", "120"),
        ("ORDERWORKS_CARD_TESTING_PROOF_BITS", "20"),
    ];
    let limits = with_env(&set).expect("valid").api.card_testing;
    let unpaid = [limits.unpaid_per_guest, limits.unpaid_per_customer, limits.unpaid_with_proof];
    assert_eq!(unpaid.map(std::num::NonZeroU32::get), [3, 4, 5]);
    assert_eq!(limits.forget_one_after, Duration::from_mins(10));
    assert_eq!((limits.alarm_for, limits.proof_bits), (Duration::from_hours(2), 20));
    for (key, value) in [
        ("UNPAID_PER_GUEST", "17"),
        ("UNPAID_PER_CUSTOMER", "25"),
        ("FORGET_ONE_AFTER_MINUTES", "61"),
        ("ALARM_PERCENT", "101"),
        ("PROOF_BITS", "33"),
        ("DECLINES_PER_PAYMENT_METHOD", "0"),
    ] {
        let refused = with_env(&[(&format!("ORDERWORKS_CARD_TESTING_{key}"), value)]).expect_err(key);
        assert!(refused.to_string().contains(&format!("card_testing.{}", key.to_lowercase())), "{refused}");
    }
}
