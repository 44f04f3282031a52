//! Cases of [`crate::Admin::alter`].

use std::{sync::Arc, time::Duration};

use base::Timestamp;

use super::{
    Harness,
    kit::{
        QUEUE, consume, declared, envelope, nothing_comes, publish, publish_one, settle, take, until_dead,
    },
};
use crate::{
    engine::{Alteration, DeadReason, Engine, EngineError, QueueSpec, Settlement},
    envelope::{Envelope, JobId},
    job::Priority,
};

const OTHER: &str = "letters";

fn in_an_hour(h: &impl Harness) -> Timestamp {
    h.ambient().now() + Duration::from_hours(1)
}

/// Publishes a job that every engine lists while it waits.
async fn delayed(h: &impl Harness, engine: &dyn Engine, queue: &str) -> JobId {
    let (queue, run_at) = (queue.to_owned(), Some(in_an_hour(h)));
    publish(engine, vec![Envelope { queue, run_at, ..envelope(h) }]).await[0]
}

async fn alter(engine: &dyn Engine, id: JobId, alteration: Alteration) -> bool {
    engine.alter(id, alteration).await.expect("alters")
}

async fn found(engine: &Arc<dyn Engine>, id: JobId) -> Envelope {
    engine.find(id).await.expect("finds").expect("is held").envelope
}

/// A delayed job starts at its new time, earlier or later, by the request of any handle.
pub async fn a_delayed_job_gets_another_time(h: &impl Harness) {
    let (engine, second) = (declared(h).await, h.second().await);
    let id = delayed(h, &*engine, QUEUE).await;
    let later = in_an_hour(h) + Duration::from_hours(1);
    assert!(alter(&*second, id, Alteration::RunAt(later)).await);
    assert_eq!(found(&engine, id).await.run_at, Some(later));
    let mut consumer = consume(&*engine, 1).await;
    nothing_comes(&mut consumer).await;
    assert!(alter(&*second, id, Alteration::RunAt(h.ambient().now())).await);
    let delivery = take(&mut consumer).await;
    assert_eq!((delivery.envelope.id, delivery.envelope.attempt), (id, 0));
    settle(&consumer, &delivery, Settlement::Done);
    nothing_comes(&mut consumer).await;
}

/// A delayed job starts in its new queue alone; a queue that does not exist changes nothing.
pub async fn a_delayed_job_moves_to_another_queue(h: &impl Harness) {
    let engine = declared(h).await;
    engine.declare(&[QueueSpec::new(OTHER)]).await.expect("declares");
    let id = delayed(h, &*engine, OTHER).await;
    let nowhere = engine.alter(id, Alteration::Queue("nowhere".to_owned())).await;
    assert!(matches!(nowhere, Err(EngineError::NoSuchQueue(_))));
    assert_eq!(found(&engine, id).await.queue, OTHER);
    assert!(alter(&*engine, id, Alteration::Queue(QUEUE.to_owned())).await);
    assert_eq!(found(&engine, id).await.queue, QUEUE);
    assert_eq!(engine.depth(OTHER).await.expect("depth").delayed, 0);
    assert!(engine.retry_now(id).await.expect("starts"));
    assert_eq!(take(&mut consume(&*engine, 1).await).await.envelope.id, id);
}

/// Priority decides the order from the change on.
pub async fn a_waiting_job_gets_another_priority(h: &impl Harness) {
    let engine = declared(h).await;
    let (first, second) = (delayed(h, &*engine, QUEUE).await, delayed(h, &*engine, QUEUE).await);
    assert!(alter(&*engine, second, Alteration::Priority(Priority::Critical)).await);
    assert_eq!(found(&engine, second).await.priority, Priority::Critical);
    assert_eq!(found(&engine, first).await.priority, Priority::Default);
    engine.pause(QUEUE).await.expect("pauses");
    for id in [first, second] {
        assert!(engine.retry_now(id).await.expect("starts"));
    }
    if engine.capabilities().lists_ready {
        assert!(alter(&*engine, first, Alteration::Priority(Priority::Bulk)).await);
    }
    engine.resume(QUEUE).await.expect("resumes");
    let mut consumer = consume(&*engine, 1).await;
    let delivery = take(&mut consumer).await;
    if engine.capabilities().exact_priority {
        assert_eq!(delivery.envelope.id, second);
    }
    let expected = if delivery.envelope.id == second { Priority::Critical } else { Priority::Default };
    assert_eq!(delivery.envelope.priority, expected);
}

/// Running, dead and unknown jobs are left alone.
pub async fn only_a_waiting_job_is_altered(h: &impl Harness) {
    let engine = declared(h).await;
    let mut consumer = consume(&*engine, 1).await;
    let id = publish_one(h, &*engine).await;
    let delivery = take(&mut consumer).await;
    let later = Alteration::RunAt(in_an_hour(h));
    assert!(!alter(&*engine, id, later.clone()).await, "it runs");
    let dead = Settlement::Dead { reason: DeadReason::Exhausted, error: "no".to_owned() };
    settle(&consumer, &delivery, dead);
    until_dead(&*engine, id).await;
    assert!(!alter(&*engine, id, later.clone()).await, "it is dead");
    assert!(!alter(&*engine, JobId::fresh(h.ambient()), later).await, "it is nowhere");
}
