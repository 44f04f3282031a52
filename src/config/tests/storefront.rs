//! Settings of the storefront.

use super::*;

#[test]
fn a_storefront_is_on_with_the_publishable_key_of_a_merchant() {
    assert!(with_env(&[]).expect("valid").api.storefront.is_none());
    let config = with_env(&[
        ("ORDERWORKS_STOREFRONT_PUBLISHABLE_KEY", "owk_pub_0123456789abcdef0123456789abcdef"),
        ("ORDERWORKS_STOREFRONT_HOST", "shop.example"),
        ("ORDERWORKS_STOREFRONT_PAYMENT_METHODS", "[\"pm_card_visa\"]"),
    ]);
    let storefront = config.expect("valid").api.storefront.expect("on");
    assert_eq!((storefront.name.as_str(), storefront.host.as_deref()), ("Shop", Some("shop.example")));
    assert_eq!(storefront.payment_methods, ["pm_card_visa"]);
    assert!(!storefront.https);
}

#[test]
fn a_secret_key_makes_no_pages_and_is_not_repeated() {
    let secret = "owk_sec_0123456789abcdef0123456789abcdef";
    let refused = with_env(&[
        ("ORDERWORKS_STOREFRONT_PUBLISHABLE_KEY", secret),
        ("ORDERWORKS_STOREFRONT_PAYMENT_METHODS", "[\"4242424242424242\"]"),
    ]);
    let why = refused.expect_err("not publishable").to_string();
    assert!(
        why.contains("storefront.publishable_key") && why.contains("storefront.payment_methods"),
        "{why}"
    );
    assert!(!why.contains(secret) && !why.contains("4242"), "{why}");
}
