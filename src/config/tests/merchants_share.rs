//! Tests of fair share, of limits over all workers and of those over all keys of a merchant.

use super::with_env;

#[test]
fn mails_have_no_limit_per_domain_unless_set() {
    let limit = |pairs: &[(&str, &str)]| with_env(pairs).expect("valid").mail.per_domain;
    assert_eq!(limit(&[]), None);
    let rate = limit(&[("ORDERWORKS_MAIL_PER_DOMAIN_PER_MINUTE", "100")]).expect("a limit");
    assert_eq!((rate.at_once, rate.rate.map(|rate| rate.starts)), (None, Some(100)));
    let at_once = limit(&[("ORDERWORKS_MAIL_PER_DOMAIN_AT_ONCE", "2")]).expect("a limit");
    assert_eq!((at_once.at_once, at_once.rate), (Some(2), None));
    with_env(&[("ORDERWORKS_MAIL_PER_DOMAIN_AT_ONCE", "10001")]).expect_err("too many");
    with_env(&[("ORDERWORKS_MAIL_PER_DOMAIN_PER_MINUTE", "1000001")]).expect_err("too many");
}

#[test]
fn the_keys_of_a_merchant_have_four_times_the_rate_of_one_unless_set() {
    let rates = |pairs: &[(&str, &str)]| {
        let api = with_env(pairs).expect("valid").api;
        (api.checkout.per_merchant_per_second.get(), api.writes.per_merchant_per_second.get())
    };
    let shipped = api::ApiConfig::default();
    assert_eq!(rates(&[]), (400, 4_000));
    assert_eq!(shipped.checkout.per_merchant_per_second.get(), 400, "the API's own default");
    assert_eq!(shipped.writes.per_merchant_per_second.get(), 4_000, "the API's own default");
    let per_key = ("ORDERWORKS_CHECKOUT_PER_KEY_PER_SECOND", "1000000");
    let set = ("ORDERWORKS_WRITES_PER_MERCHANT_PER_SECOND", "50");
    assert_eq!(rates(&[per_key, set]), (4_000_000, 50));
    with_env(&[("ORDERWORKS_WRITES_PER_MERCHANT_PER_SECOND", "1000001")]).expect_err("too many");
}

#[test]
fn queues_are_fair_where_they_are_named() {
    let merchant = "mer_01935a6b-7c8d-7e9f-8a0b-1c2d3e4f5061";
    let weights = format!("{{ \"{merchant}\" = 3 }}");
    let queues = ("ORDERWORKS_FAIR_SHARE_QUEUES", r#"["payments", "webhooks"]"#);
    let fair_share = |pairs: &[(&str, &str)]| with_env(pairs).expect("valid").fair_share;
    assert_eq!(fair_share(&[]).spec("payments").fair, None);
    let set = fair_share(&[queues, ("ORDERWORKS_FAIR_SHARE_WEIGHTS", &weights)]);
    assert_eq!(set.spec("email").fair, None);
    let of_payments = set.weights("payments").expect("fair");
    assert_eq!(of_payments.named().collect::<Vec<_>>(), [(merchant, 3)]);
    for (name, value, told) in [
        ("QUEUES", r#"["mails"]"#, "there are payments, fulfilment, email, webhooks"),
        ("QUEUES", r#"["housekeeping"]"#, "housekeeping"),
        ("WEIGHTS", r#"{ "mer_1" = 3 }"#, "mer_1"),
        ("WEIGHTS", r#"{ "mer_01935a6b-7c8d-7e9f-8a0b-1c2d3e4f5061" = 0 }"#, "use 1 to 1000"),
    ] {
        let refused = with_env(&[(&format!("ORDERWORKS_FAIR_SHARE_{name}"), value)]).expect_err(value);
        assert!(refused.to_string().contains(told), "{refused}");
    }
}
