//! The overview: what a single order sets in motion is seen there.

use console::access::Role;
use serde_json::Value;

use crate::util::Deployment;

#[tokio::test]
async fn one_attempt_has_its_row_and_its_rates() {
    let shop = Deployment::open().await;
    let page = shop.get(Role::Viewer, "/").await;
    for link in [format!("/jobs/{}", shop.dead), format!("/orders/{}", shop.order)] {
        assert!(page.links().contains(&link), "{link}: {}", page.body);
    }
    let told: Value =
        serde_json::from_str(&shop.get(Role::Viewer, "/api/v1/overview").await.body).expect("is JSON");
    assert_eq!(told["latest"].as_array().map(Vec::len), Some(1), "{told}");
    assert_eq!(told["latest"][0]["outcome"], "dead", "{told}");
    let email = &told["queues"][0];
    assert_eq!(email["completed_per_minute"], 0.0, "{told}");
    assert_eq!(email["failed_per_minute"], 1.0, "one attempt in a minute: {told}");
    assert_eq!(email["wait_p95_ms"], 0, "{told}");
}
