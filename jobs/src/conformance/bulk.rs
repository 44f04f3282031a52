//! Cases of bulk operations on the jobs of an engine.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use base::Timestamp;
use parking_lot::Mutex;

use super::{
    Harness,
    kit::{QUEUE, consume, declared, envelope, publish, settle, take, take_many, until, until_dead},
};
use crate::{
    bulk::{
        BulkFilter, Items, JOB, JOBS, JobItems, OneJob, Operation, OperationAdmin, OperationId,
        OperationRunner, Plan, QUEUES, QueueItems, Verb,
    },
    engine::{DeadReason, Engine, EngineError, Settlement},
    envelope::Envelope,
    job_store::{OperationRow, OperationState, Operations},
};

/// Operations in memory: the cases are about the engine.
#[derive(Default)]
struct MemoryOperations(Mutex<BTreeMap<OperationId, OperationRow>>);

#[async_trait]
impl Operations for MemoryOperations {
    async fn add_operation(
        &self,
        operation: OperationRow,
        _: Timestamp,
        _: Timestamp,
    ) -> Result<bool, EngineError> {
        self.0.lock().insert(operation.id, operation);
        Ok(true)
    }

    async fn operations(&self, state: Option<OperationState>) -> Result<Vec<OperationRow>, EngineError> {
        let rows = self.0.lock();
        let wanted = rows.values().rev().filter(|row| state.is_none_or(|state| state == row.state));
        Ok(wanted.cloned().collect())
    }

    async fn find_operation(&self, id: OperationId) -> Result<Option<OperationRow>, EngineError> {
        Ok(self.0.lock().get(&id).cloned())
    }

    async fn put_operation(&self, operation: &OperationRow) -> Result<bool, EngineError> {
        let mut rows = self.0.lock();
        let Some(held) = rows.get_mut(&operation.id).filter(|held| held.version == operation.version) else {
            return Ok(false);
        };
        *held = OperationRow { version: operation.version + 1, ..operation.clone() };
        Ok(true)
    }
}

/// Previews, confirms and carries out; returns the operation before and after.
async fn carried_out(h: &impl Harness, engine: &Arc<dyn Engine>, plan: Plan) -> (Operation, Operation) {
    // What was published in this millisecond is not older than the preview.
    let before = h.ambient().now();
    until("the time goes on", || async { h.ambient().now() > before }).await;
    let store = Arc::new(MemoryOperations::default());
    let items: Vec<Arc<dyn Items>> = vec![
        Arc::new(JobItems::new(engine.clone())),
        Arc::new(OneJob::new(engine.clone())),
        Arc::new(QueueItems::new(engine.clone())),
    ];
    let admin = OperationAdmin { store: &*store, items: &items, ambient: h.ambient() };
    let previewed = admin.preview(plan).await.expect("previews");
    admin.confirm(previewed.id, None).await.expect("confirms");
    let mut runner = OperationRunner::new(store.clone(), items.clone(), "conformance", h.ambient().clone());
    runner.pass().await.expect("passes");
    let ended = admin.find(previewed.id).await.expect("is kept");
    assert_eq!(ended.state, OperationState::Done, "{ended:?}");
    (previewed, ended)
}

fn plan(verb: Verb) -> Plan {
    let filter = BulkFilter { queue: Some(QUEUE.to_owned()), ..BulkFilter::default() };
    Plan { filter, ..Plan::new(JOBS, verb, "conformance", "a test") }
}

/// An operation of one item: a queue is paused and resumed, and of two delayed jobs one is cancelled.
pub async fn an_operation_is_for_one_queue_or_one_job(h: &impl Harness) {
    let engine = declared(h).await;
    let later = Some(h.ambient().now() + Duration::from_hours(1));
    let jobs: Vec<Envelope> = (0..2).map(|_| Envelope { run_at: later, ..envelope(h) }).collect();
    let [cancelled, kept] = [jobs[0].id, jobs[1].id];
    publish(&*engine, jobs).await;
    let single = |items: &str, verb: Verb, id: String| {
        let filter = BulkFilter { id: Some(id), ..BulkFilter::default() };
        Plan { filter, ..Plan::new(items, verb, "conformance", "a test") }
    };
    for (verb, paused) in [(Verb::Pause, true), (Verb::Resume, false)] {
        let (_, ended) = carried_out(h, &engine, single(QUEUES, verb, QUEUE.to_owned())).await;
        assert_eq!(ended.counts.done, 1, "{ended:?}");
        assert_eq!(engine.depth(QUEUE).await.expect("depth").paused, paused);
    }
    let plan = single(JOB, Verb::Cancel, cancelled.to_string());
    let (previewed, ended) = carried_out(h, &engine, plan).await;
    assert_eq!((previewed.counts.matched, ended.counts.done), (1, 1), "{ended:?}");
    assert!(engine.find(cancelled).await.expect("asks").is_none());
    assert!(engine.find(kept).await.expect("asks").is_some());
}

/// An operation redrives the dead jobs that match, and no other.
pub async fn an_operation_redrives_what_matches(h: &impl Harness) {
    let engine = declared(h).await;
    let mut consumer = consume(&*engine, 3).await;
    publish(&*engine, (0..3).map(|_| envelope(h)).collect()).await;
    let mut dead = Vec::new();
    for (delivery, error) in
        take_many(&mut consumer, 3).await.iter().zip(["card gone", "no route", "card gone"])
    {
        let settlement = Settlement::Dead { reason: DeadReason::Exhausted, error: error.to_owned() };
        settle(&consumer, delivery, settlement);
        until_dead(&*engine, delivery.envelope.id).await;
        dead.push(delivery.envelope.id);
    }
    let mut redrive = plan(Verb::Redrive);
    redrive.filter.error_contains = Some("card".to_owned());
    let (previewed, ended) = carried_out(h, &engine, redrive).await;
    assert_eq!((previewed.counts.matched, previewed.counts.is_exact), (2, true));
    assert_eq!((ended.counts.done, ended.counts.skipped, ended.counts.failed), (2, 0, 0), "{ended:?}");
    let mut again = [take(&mut consumer).await.envelope.id, take(&mut consumer).await.envelope.id];
    let mut wanted = [dead[0], dead[2]];
    again.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(again, wanted);
    until_dead(&*engine, dead[1]).await;
}

/// An operation cancels the waiting jobs that an engine lists; its preview tells of those that it cannot list.
pub async fn an_operation_cancels_what_is_listed_and_tells_the_rest(h: &impl Harness) {
    let engine = declared(h).await;
    engine.pause(QUEUE).await.expect("pauses");
    let later = Some(h.ambient().now() + Duration::from_hours(1));
    let waiting = (0..5).map(|n| Envelope { run_at: later.filter(|_| n < 3), ..envelope(h) });
    publish(&*engine, waiting.collect()).await;
    until("all are counted", || async {
        let depth = engine.depth(QUEUE).await.expect("depth");
        (depth.ready, depth.delayed) == (2, 3)
    })
    .await;
    let (previewed, ended) = carried_out(h, &engine, plan(Verb::Cancel)).await;
    let lists = engine.capabilities().lists_ready;
    assert_eq!((previewed.counts.matched, previewed.limits.is_empty()), (if lists { 5 } else { 3 }, lists));
    assert_eq!(ended.counts.done, previewed.counts.matched, "{ended:?}");
    let depth = engine.depth(QUEUE).await.expect("depth");
    assert_eq!((depth.ready, depth.delayed), (if lists { 0 } else { 2 }, 0));
}
