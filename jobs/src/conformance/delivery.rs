//! Cases of publishing and delivery.

use std::collections::HashSet;

use base::TraceContext;
use serde_json::value::to_raw_value;

use super::{
    Harness,
    kit::{
        QUEUE, answers, close, consume, declared, envelope, not_unique, nothing_comes, publish, publish_one,
        settle, take, take_many, until_empty,
    },
};
use crate::{
    engine::{ConsumeOptions, DeadReason, EngineError, Published, QueueSpec, Settlement},
    envelope::{Envelope, JobId, PAYLOAD_BYTES_MAX},
    job::Priority,
    unique::Unique,
};

/// All fields of an envelope are delivered; `Done` ends the job for every handle.
pub async fn a_published_job_arrives_whole_and_is_done_once(h: &impl Harness) {
    let engine = declared(h).await;
    let sent = Envelope {
        priority: Priority::Critical,
        version: 3,
        attempt: 2,
        trace: Some(TraceContext::fresh(h.ambient()).with_state(["vendor=1", "other=2"])),
        unique_key: Some("u-1 \"ü\"".to_owned()),
        unique: Unique::WHILE_KEPT.within(std::time::Duration::from_millis(90_500)),
        concurrency_key: Some("c-1".to_owned()),
        fair_key: Some("f-1".to_owned()),
        subject: Some("ord_1".to_owned()),
        payload: to_raw_value(&serde_json::json!({"text": "a \"quote\", \u{0} and ü", "n": 1.50}))
            .expect("payload"),
        ..envelope(h)
    };
    publish(&*engine, vec![sent.clone()]).await;
    let mut consumer = consume(&*engine, 4).await;
    let delivery = take(&mut consumer).await;
    let json = |e: &Envelope| serde_json::to_value(e).expect("serialises");
    assert_eq!(json(&delivery.envelope), json(&sent));
    assert_eq!(delivery.envelope.payload.get(), sent.payload.get(), "byte for byte");
    assert_eq!((delivery.crashes, delivery.signal.interrupt()), (0, None));
    settle(&consumer, &delivery, Settlement::Done);
    // A second settlement of the same delivery has no effect.
    settle(&consumer, &delivery, Settlement::Release);
    close(&consumer).await;
    assert_eq!(consumer.settler.health().stale_settlements, 1);
    assert!(h.second().await.find(sent.id).await.expect("find").is_none());
    until_empty(&*engine).await;
}

/// An id that waits, runs or is dead is not stored twice; within one batch neither.
pub async fn a_known_id_is_a_duplicate(h: &impl Harness) {
    let engine = declared(h).await;
    if !engine.capabilities().dedupes_ids {
        return;
    }
    let (first, other) = (envelope(h), envelope(h));
    let batch = vec![first.clone(), other, first.clone()];
    let answers = engine.publish(batch).await.expect("publishes");
    assert_eq!(answers, [Published::Accepted, Published::Accepted, Published::Duplicate]);
    let mut consumer = consume(&*engine, 4).await;
    let delivery = take_many(&mut consumer, 2).await.into_iter().find(|d| d.envelope.id == first.id);
    let delivery = delivery.expect("the first");
    let again = async || h.second().await.publish(vec![first.clone()]).await.expect("publishes");
    assert_eq!(again().await, [Published::Duplicate], "while it runs");
    let dead = Settlement::Dead { reason: DeadReason::Exhausted, error: "no".to_owned() };
    settle(&consumer, &delivery, dead);
    super::kit::until_dead(&*engine, first.id).await;
    assert_eq!(again().await, [Published::Duplicate], "while it is dead");
    nothing_comes(&mut consumer).await;
}

/// A unique key is held by a waiting, delayed or running job, and free once that job is done or dead.
pub async fn a_unique_key_holds_until_the_job_ends(h: &impl Harness) {
    let engine = declared(h).await;
    let keyed = || Envelope { unique_key: Some("stock-take".to_owned()), ..envelope(h) };
    let holder = publish(&*engine, vec![keyed()]).await[0];
    let refused = async || answers(&*engine, vec![keyed()]).await;
    assert_eq!(refused().await, [not_unique(holder)], "while it waits");
    let mut consumer = consume(&*engine, 4).await;
    let delivery = take(&mut consumer).await;
    assert_eq!(refused().await, [not_unique(holder)], "while it runs");
    settle(&consumer, &delivery, Settlement::Done);
    close(&consumer).await;
    let twins = vec![keyed(), keyed()];
    let heir = twins[0].id;
    let answers = answers(&*engine, twins).await;
    assert_eq!(answers, [Published::Accepted, not_unique(heir)], "free after it was done");
    let mut consumer = consume(&*engine, 4).await;
    let delivery = take(&mut consumer).await;
    let dead = Settlement::Dead { reason: DeadReason::Exhausted, error: "no".to_owned() };
    settle(&consumer, &delivery, dead);
    close(&consumer).await;
    publish(&*engine, vec![keyed()]).await;
}

/// Unknown queues, invalid queue names and oversized payloads are different errors, and store nothing.
pub async fn what_can_never_be_accepted_is_refused(h: &impl Harness) {
    let engine = declared(h).await;
    let lost = Envelope { queue: "nowhere".to_owned(), ..envelope(h) };
    let batch = vec![envelope(h), lost];
    let ids: Vec<JobId> = batch.iter().map(|e| e.id).collect();
    assert!(matches!(engine.publish(batch).await, Err(EngineError::NoSuchQueue(name)) if name == "nowhere"));
    assert!(engine.find(ids[1]).await.expect("find").is_none());
    let large = to_raw_value(&"x".repeat(PAYLOAD_BYTES_MAX)).expect("payload");
    let large = Envelope { payload: large, ..envelope(h) };
    assert!(matches!(engine.publish(vec![large]).await, Err(EngineError::Refused(_))));
    let long = Unique::WHILE_ACTIVE.within(Unique::PERIOD_MAX * 2);
    let long = Envelope { unique_key: Some("k".to_owned()), unique: long, ..envelope(h) };
    assert!(matches!(engine.publish(vec![long]).await, Err(EngineError::Refused(_))));
    for name in ["", "UPPER", "a-b", &"x".repeat(61)] {
        let declared = engine.declare(&[QueueSpec::new(name)]).await;
        assert!(matches!(declared, Err(EngineError::Refused(_))), "{name:?}");
    }
    assert!(matches!(engine.depth("nowhere").await, Err(EngineError::NoSuchQueue(_))));
    let options =
        ConsumeOptions { name: "x".to_owned(), prefetch: 1, lease: std::time::Duration::from_secs(1) };
    assert!(matches!(engine.consume("nowhere", options).await, Err(EngineError::NoSuchQueue(_))));
    assert_eq!(engine.queues().await.expect("queues"), [QUEUE]);
    assert!(engine.publish(Vec::new()).await.expect("publishes").is_empty());
}

/// A consumer holds at most its prefetch of unsettled jobs; a settlement frees a slot.
pub async fn the_prefetch_bounds_what_is_unsettled(h: &impl Harness) {
    let engine = declared(h).await;
    publish(&*engine, (0..5).map(|_| envelope(h)).collect()).await;
    let mut consumer = consume(&*engine, 2).await;
    let held = take_many(&mut consumer, 2).await;
    nothing_comes(&mut consumer).await;
    settle(&consumer, &held[0], Settlement::Done);
    let third = take(&mut consumer).await;
    nothing_comes(&mut consumer).await;
    // After a stop nothing more is delivered, and earlier deliveries stay valid.
    consumer.settler.stop();
    settle(&consumer, &held[1], Settlement::Done);
    settle(&consumer, &third, Settlement::Done);
    nothing_comes(&mut consumer).await;
    close(&consumer).await;
    assert_eq!(consumer.settler.health().stale_settlements, 0);
    let mut next = consume(&*engine, 2).await;
    assert_eq!(take_many(&mut next, 2).await.len(), 2, "the last two wait for others");
}

/// A large batch is stored and delivered completely.
pub async fn five_thousand_in_one_call(h: &impl Harness) {
    let engine = declared(h).await;
    let ids = publish(&*engine, (0..5000).map(|_| envelope(h)).collect()).await;
    let mut consumer = consume(&*engine, 512).await;
    let mut seen = HashSet::new();
    for _ in 0..ids.len() {
        let delivery = take(&mut consumer).await;
        assert!(seen.insert(delivery.envelope.id), "delivered once");
        settle(&consumer, &delivery, Settlement::Done);
    }
    assert_eq!(seen, ids.into_iter().collect());
    close(&consumer).await;
    until_empty(&*engine).await;
}

/// A waiting consumer is woken by a job that another process published.
pub async fn a_waiting_consumer_hears_of_another_handles_publish(h: &impl Harness) {
    let engine = declared(h).await;
    let mut consumer = consume(&*engine, 1).await;
    nothing_comes(&mut consumer).await;
    let second = h.second().await;
    let id = publish_one(h, &*second).await;
    assert_eq!(take(&mut consumer).await.envelope.id, id);
}
