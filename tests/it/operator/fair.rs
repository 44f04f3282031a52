//! A queue that is fair among merchants, as `inspect queues` tells it.

use base::Ambient;
use jobs::{Envelope, engine::QueueSpec, envelope::EnqueueOptions};
use serde_json::{Value, json};

use super::{Operated, Unknown};

/// More jobs than a broker's queue gets before others wait for their turn.
const FLOOD: usize = 80;
/// Another merchant, and the weight it is given.
const OTHER: &str = "mer_01935a6b-7c8d-7e9f-8a0b-1c2d3e4f5061";
const WEIGHTS: &str = r#"{ "mer_01935a6b-7c8d-7e9f-8a0b-1c2d3e4f5061" = 2 }"#;

/// The keys told of a queue; null for one that is not fair.
fn keys<'a>(queues: &'a Value, queue: &str) -> &'a Value {
    let line = queues.as_array().expect("a list").iter().find(|line| line["queue"] == queue);
    &line.expect("is listed")["fair"]
}

pub(super) async fn merchants_are_the_keys_of_a_fair_queue(of: Operated) {
    let fair =
        [("ORDERWORKS_FAIR_SHARE_QUEUES", r#"["fulfilment"]"#), ("ORDERWORKS_FAIR_SHARE_WEIGHTS", WEIGHTS)];
    // Before anything consumes the queue: a worker may run part of the flood until it learns of a pause.
    let before = of.engine().await;
    before.declare(&[QueueSpec::new("fulfilment")]).await.expect("declares");
    before.pause("fulfilment").await.expect("pauses");
    drop(before);
    let dev = of.dev(&fair).await;
    let (merchant, engine, ambient) = (dev.merchant(), of.engine().await, Ambient::system());
    let envelope = || {
        let options = EnqueueOptions { fair_key: Some(OTHER.to_owned()), ..EnqueueOptions::default() };
        let envelope = Envelope::new(&Unknown, options, &ambient).expect("a job");
        Envelope { queue: "fulfilment".to_owned(), attempt: envelope.max_attempts, ..envelope }
    };
    engine.publish((0..FLOOD).map(|_| envelope()).collect()).await.expect("publishes");
    let id = merchant.accepted("held", "pm_card_visa").await;

    // The job of the order names its merchant.
    let two = |queues: &Value| keys(queues, "fulfilment").as_array().is_some_and(|keys| keys.len() == 2);
    let queues = of.until(&["inspect", "queues"], two).await;
    let told = keys(&queues, "fulfilment");
    assert_eq!((&told[0]["key"], &told[0]["weight"]), (&json!(OTHER), &json!(2)), "{told}");
    assert_eq!((&told[1]["weight"], &told[1]["waiting"]), (&json!(1), &json!(1)), "{told}");
    assert!(told[1]["key"].as_str().is_some_and(|key| key.starts_with("mer_")), "{told}");
    assert!(keys(&queues, "email").is_null(), "not fair: {queues}");
    let (ok, out, _) = of.run(&["inspect", "queues"]).await;
    assert!(ok && out.contains("paused, fair") && out.contains("fulfilment: most wait of mer_"), "{out}");

    of.json(&["control", "resume", "fulfilment"]).await;
    assert_eq!(merchant.ended(&id).await["status"], "fulfilled");
    dev.kill().await;
    of.close().await;
}
