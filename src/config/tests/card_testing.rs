//! Settings of the protection against card testing.

use std::{num::NonZeroU32, time::Duration};

use api::CardTestingLimits;

use super::with_env;

const STRIPE: [(&str, &str); 3] = [
    ("ORDERWORKS_PAYMENTS_PROVIDER", "stripe"),
    ("ORDERWORKS_PAYMENTS_STRIPE_KEY", "rk_test_1"),
    ("ORDERWORKS_PAYMENTS_STRIPE_WEBHOOK_SECRETS", r#"["whsec_1"]"#),
];

/// The bounds where Stripe charges, with these settings.
fn charged_by_stripe(set: &[(&str, &str)]) -> anyhow::Result<CardTestingLimits> {
    Ok(with_env(&[&STRIPE, set].concat())?.api.card_testing)
}

#[test]
fn the_shipped_bounds_are_those_of_the_api_and_others_in_the_sandbox() {
    assert_eq!(charged_by_stripe(&[]).expect("valid"), CardTestingLimits::default());
    let sandbox = |set: &[(&str, &str)]| with_env(set).expect("valid").api.card_testing;
    assert_eq!(sandbox(&[]).unpaid_per_guest.get(), 50);
    let bounds = sandbox(&[("ORDERWORKS_CARD_TESTING_SANDBOX_BOUND", "7")]);
    let all = [bounds.unpaid_with_proof, bounds.declines_per_payment_method, bounds.alarm_payments];
    assert_eq!(all.map(NonZeroU32::get), [7, 7, 7]);
    let bounds = sandbox(&[("ORDERWORKS_CHECKOUT_BURST", "10000")]);
    let all = [bounds.unpaid_per_guest, bounds.unpaid_with_proof, bounds.declines_per_customer];
    assert_eq!(all.map(NonZeroU32::get), [2_500, 2_500, 50]);
    let most =
        [("ORDERWORKS_CHECKOUT_BURST", "1000000"), ("ORDERWORKS_CARD_TESTING_SANDBOX_BOUND", "1000000")];
    assert_eq!(sandbox(&most).unpaid_with_proof.get(), 1_000_000);
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
    let limits = charged_by_stripe(&set).expect("valid");
    let unpaid = [limits.unpaid_per_guest, limits.unpaid_per_customer, limits.unpaid_with_proof];
    assert_eq!(unpaid.map(NonZeroU32::get), [3, 4, 5]);
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
        let refused =
            charged_by_stripe(&[(&format!("ORDERWORKS_CARD_TESTING_{key}"), value)]).expect_err(key);
        assert!(refused.to_string().contains(&format!("card_testing.{}", key.to_lowercase())), "{refused}");
    }
}
