//! Settings of the admission of orders.

use std::time::Duration;

use api::AdmissionLimits;

use super::with_env;

#[test]
fn the_shipped_ages_are_those_of_the_api() {
    assert_eq!(with_env(&[]).expect("valid").api.admission, AdmissionLimits::default());
}

#[test]
fn ages_are_settings_and_zero_is_never() {
    let set = [
        ("ORDERWORKS_ADMISSION_ORDER_AGE_SECONDS", "30"),
        ("ORDERWORKS_ADMISSION_CART_AGE_SECONDS", "0"),
        ("ORDERWORKS_ADMISSION_WAITING_ROOM_AGE_SECONDS", "5"),
    ];
    let limits = with_env(&set).expect("valid").api.admission;
    assert_eq!((limits.order_age_max, limits.cart_age_max), (Some(Duration::from_secs(30)), None));
    assert_eq!(limits.room_age, Duration::from_secs(5));
    for (key, value) in
        [("CART_AGE_SECONDS", "599"), ("ORDER_AGE_SECONDS", "86401"), ("WAITING_ROOM_AGE_SECONDS", "0")]
    {
        let refused = with_env(&[(&format!("ORDERWORKS_ADMISSION_{key}"), value)]).expect_err(key);
        assert!(refused.to_string().contains(&format!("admission.{}", key.to_lowercase())), "{refused}");
    }
}
