//! Tests of the settings of the scaling signal.

use super::with_env;

#[test]
fn queues_are_scaled_between_their_own_bounds() {
    let config = with_env(&[
        ("ORDERWORKS_SCALING_TARGET_WAIT_SECONDS", "{ payments = 5 }"),
        ("ORDERWORKS_SCALING_MIN", "{ email = 0, webhooks = 3 }"),
        ("ORDERWORKS_SCALING_MAX", "{ webhooks = 40 }"),
    ])
    .expect("valid");
    let of = |queue: &str| {
        let (_, bounds) = config.scaling.queues.iter().find(|(name, _)| name == queue).expect("a queue");
        (bounds.target_wait.as_secs(), bounds.min, bounds.max)
    };
    let all = ["payments", "fulfilment", "email", "webhooks"].map(of);
    let pace = config.scaling.pace;
    assert_eq!((pace.shrink_after.as_secs(), pace.step_every.as_secs()), (300, 60));
    assert_eq!(all, [(5, 1, 10), (30, 1, 10), (30, 0, 10), (30, 3, 40)]);
    for (name, value, told) in [
        ("MIN", "{ email = 11 }", "must not be more than scaling.max, 10"),
        ("MAX", "{ mails = 3 }", "scaling.max names an unknown queue"),
        ("MAX", "{ email = 1001 }", "scaling.max = 1001"),
        ("TARGET_WAIT_SECONDS", "{ email = 0 }", "scaling.target_wait_seconds = 0"),
        ("TARGET_WAIT_SECONDS", "30", "scaling.target_wait_seconds"),
    ] {
        let error = with_env(&[(&format!("ORDERWORKS_SCALING_{name}"), value)]).expect_err(name).to_string();
        assert!(error.contains(told), "{told}: {error}");
    }
}
