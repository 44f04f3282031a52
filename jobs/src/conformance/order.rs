//! Cases of order: priorities, publishing order, concurrency keys.

use super::{
    Harness,
    kit::{QUEUE, consume, declared, envelope, nothing_comes, publish, retry, settle, take},
};
use crate::{
    engine::{ConsumeOptions, QueueSpec, Settlement},
    envelope::{Envelope, JobId},
    job::Priority,
};

/// Of the waiting jobs, those of higher priority start first; with few jobs the share of the lower ones does not show.
pub async fn higher_classes_start_first(h: &impl Harness) {
    let engine = declared(h).await;
    if !engine.capabilities().exact_priority {
        return;
    }
    let of = |priority| Envelope { priority, ..envelope(h) };
    let lowest_first = Priority::ALL.into_iter().rev();
    publish(&*engine, lowest_first.flat_map(|p| [of(p), of(p)]).collect()).await;
    let mut consumer = consume(&*engine, 1).await;
    let mut started = Vec::new();
    for _ in 0..6 {
        let delivery = take(&mut consumer).await;
        started.push(delivery.envelope.priority);
        settle(&consumer, &delivery, Settlement::Done);
    }
    assert!(started.is_sorted(), "{started:?}");
}

/// While the higher priorities never run out, each of the lower ones gets an eighth of the starts.
pub async fn lower_priorities_get_a_share_under_constant_load(h: &impl Harness) {
    const ROUNDS: usize = 4;
    let engine = declared(h).await;
    let of = |priority, count| (0..count).map(move |_| Envelope { priority, ..envelope(h) });
    let load = of(Priority::Critical, 8 * ROUNDS);
    let behind = of(Priority::Default, 2 * ROUNDS).chain(of(Priority::Bulk, 2 * ROUNDS));
    publish(&*engine, load.chain(behind).collect()).await;
    // Several slots, so that claims of more than one job are tried, too.
    let mut consumer = consume(&*engine, 3).await;
    let mut started = [0; Priority::ALL.len()];
    for _ in 0..8 * ROUNDS {
        let delivery = take(&mut consumer).await;
        started[delivery.envelope.priority as usize] += 1;
        settle(&consumer, &delivery, Settlement::Done);
    }
    // The deliveries held at the end may be of any priority.
    assert!(started[1] + 2 >= ROUNDS && started[2] + 2 >= ROUNDS, "{started:?}");
    // An engine that fetches each priority by itself starts a lower job rather than wait for the next higher one.
    let kept = if engine.capabilities().exact_priority { 5 * ROUNDS } else { 2 * ROUNDS };
    assert!(started[0] >= kept, "the higher ones keep most of the starts: {started:?}");
}

/// With one slot, jobs of one priority run in order, over batches; a released job keeps its position.
pub async fn a_class_starts_in_the_order_of_publishing(h: &impl Harness) {
    let engine = declared(h).await;
    if !engine.capabilities().fifo {
        return;
    }
    let mut ids = publish(&*engine, (0..20).map(|_| envelope(h)).collect()).await;
    ids.extend(publish(&*engine, (0..20).map(|_| envelope(h)).collect()).await);
    let mut consumer = consume(&*engine, 1).await;
    let first = take(&mut consumer).await;
    settle(&consumer, &first, Settlement::Release);
    let mut started = Vec::new();
    for _ in 0..40 {
        let delivery = take(&mut consumer).await;
        started.push(delivery.envelope.id);
        settle(&consumer, &delivery, Settlement::Done);
    }
    assert_eq!(started, ids);
}

/// Jobs with one concurrency key run one by one, also when claimed together, retried or crashed; other jobs overtake
/// them.
pub async fn one_job_per_concurrency_key(h: &impl Harness) {
    let engine = declared(h).await;
    let keyed = || Envelope { concurrency_key: Some("warehouse-7".to_owned()), ..envelope(h) };
    let mut batch: Vec<Envelope> = (0..4).map(|_| keyed()).collect();
    batch.push(envelope(h));
    let free = batch[4].id;
    publish(&*engine, batch).await;
    let mut consumer = consume(&*engine, 10).await;
    let (a, b) = (take(&mut consumer).await, take(&mut consumer).await);
    let (first, other) = if a.envelope.id == free { (b, a) } else { (a, b) };
    assert_eq!(other.envelope.id, free, "a job without a key is not held up");
    nothing_comes(&mut consumer).await;
    let handle = if engine.capabilities().concurrency_keys { h.second().await } else { h.engine() };
    let mut rival = consume(&*handle, 10).await;
    nothing_comes(&mut rival).await;
    rival.settler.close().await.expect("closes");
    // While one of them waits for its retry, the next may run.
    settle(&consumer, &first, retry(h.ambient().now() + std::time::Duration::from_mins(1)));
    let second = take(&mut consumer).await;
    nothing_comes(&mut consumer).await;
    h.crash(consumer).await;
    let mut consumer = consume(&*engine, 10).await;
    let mut ran: Vec<JobId> = Vec::new();
    while ran.len() < 4 {
        let delivery = take(&mut consumer).await;
        if delivery.envelope.concurrency_key.is_some() {
            nothing_with_a_key_comes(&mut consumer, &mut ran).await;
        }
        ran.push(delivery.envelope.id);
        settle(&consumer, &delivery, Settlement::Done);
    }
    assert!(ran.contains(&second.envelope.id));
}

/// Takes the deliveries that arrive meanwhile, none of which may have a key.
async fn nothing_with_a_key_comes(consumer: &mut crate::engine::Consumer, ran: &mut Vec<JobId>) {
    while let Ok(Some(other)) = tokio::time::timeout(super::kit::QUIET, consumer.deliveries.recv()).await {
        assert_eq!(other.envelope.concurrency_key, None, "two jobs of one key at once");
        ran.push(other.envelope.id);
        settle(consumer, &other, Settlement::Done);
    }
}

/// A key applies to all queues; when it becomes free, a consumer waiting in another queue is woken.
pub async fn a_freed_concurrency_key_wakes_other_queues(h: &impl Harness) {
    let engine = declared(h).await;
    engine.declare(&[QueueSpec::new("labels")]).await.expect("declares");
    let keyed = |queue: &str| {
        let key = Some("printer".to_owned());
        Envelope { queue: queue.to_owned(), concurrency_key: key, ..envelope(h) }
    };
    publish(&*engine, vec![keyed(QUEUE)]).await;
    let mut here = consume(&*engine, 2).await;
    let first = take(&mut here).await;
    publish(&*engine, vec![keyed("labels"), keyed(QUEUE)]).await;
    let lease = std::time::Duration::from_secs(30);
    let options = ConsumeOptions { name: "labels".to_owned(), prefetch: 2, lease };
    let mut there = engine.consume("labels", options).await.expect("consumes");
    nothing_comes(&mut there).await;
    // No consumer takes the next job of this queue: the one of the other queue must not starve behind it.
    here.settler.stop();
    settle(&here, &first, Settlement::Done);
    assert_eq!(take(&mut there).await.envelope.queue, "labels");
}
