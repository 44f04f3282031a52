//! Limits over all workers, as `inspect limits` tells them.

use std::time::Duration;

use serde_json::{Value, json};

use super::Operated;
use crate::util::PATIENCE;

/// Two mails to one domain in a minute of which it may get one: the second is parked, and uses no attempt.
pub(super) async fn mails_to_a_domain_wait_for_its_limit(of: Operated) {
    let dev = of.dev(&[("ORDERWORKS_MAIL_PER_DOMAIN_PER_MINUTE", "1")]).await;
    let merchant = dev.merchant();
    for order in ["first", "second"] {
        let id = merchant.accepted(order, "pm_card_visa").await;
        assert_eq!(merchant.ended(&id).await["status"], "fulfilled");
    }
    let parked = |limits: &Value| limits[0]["parked"] == 1 && limits[0]["starts"] == 1;
    let limits = of.until(&["inspect", "limits", "--name", "mails"], parked).await;
    assert_eq!(limits.as_array().map(Vec::len), Some(1), "one domain: {limits}");
    assert_eq!(limits[0]["key"], "example.com", "{limits}");
    let folder = dev.ready.mail_folder.clone();
    let mails = || std::fs::read_dir(&folder).map_or(0, Iterator::count);
    let written = async {
        while mails() == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, written).await.expect("the first is sent");
    assert_eq!(mails(), 1, "the second waits");
    let attempts = of.json(&["inspect", "attempts", "--kind", "send_email", "--outcome", "snoozed"]).await.0;
    assert_eq!(attempts, json!([]), "waiting is no attempt");
    dev.kill().await;
    of.close().await;
}
