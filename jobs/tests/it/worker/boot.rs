//! Configurations rejected at boot, and health.

use std::sync::{Arc, Mutex};

use jobs::{
    Engine, Workers,
    testing::{MemoryEngine, virtual_time},
    worker::{WorkerError, WorkersHealth, prefetch_for},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::rig::{Act, Probe, QUEUE, Rig, registry};

fn workers() -> Workers<Probe> {
    let ambient = virtual_time(1);
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new(ambient.clone()));
    let (probe, _) = Probe::new(mpsc::unbounded_channel());
    Workers::new(engine, registry().unwrap(), probe, ambient)
}

async fn refusal(workers: Workers<Probe>) -> String {
    let error: WorkerError = workers.run(CancellationToken::new()).await.unwrap_err();
    error.to_string()
}

#[tokio::test]
async fn a_queue_without_jobs_is_refused_by_name() {
    let text = refusal(workers().queue(QUEUE, 1).queue("emial", 1)).await;
    assert_eq!(text, "no job kind is registered for queue `emial`; queues with jobs: scripts");
}

#[tokio::test]
async fn queues_must_be_named_once_and_have_slots() {
    assert_eq!(refusal(workers()).await, "no queue to work on; name at least one");
    assert_eq!(refusal(workers().queue(QUEUE, 1).queue(QUEUE, 2)).await, "queue `scripts` is named twice");
    assert_eq!(refusal(workers().queue(QUEUE, 0)).await, "queue `scripts` needs a concurrency of at least 1");
}

#[test]
fn the_prefetch_is_the_concurrency_and_a_quarter() {
    assert_eq!([1, 4, 16, 512].map(prefetch_for), [2, 5, 20, 640]);
}

#[tokio::test(start_paused = true)]
async fn health_tells_what_runs_and_whether_it_is_connected() {
    let taken: Arc<Mutex<Option<WorkersHealth>>> = Arc::default();
    let slot = Arc::clone(&taken);
    let mut rig = Rig::configured(3, |workers| {
        *slot.lock().unwrap() = Some(workers.health());
        workers
    })
    .await;
    let health = taken.lock().unwrap().clone().unwrap();
    rig.enqueue("one", Act::Gate).await;
    rig.started("one").await;
    assert!(health.is_ready());
    let queue = health.queues().remove(0);
    assert_eq!((queue.queue.as_str(), queue.concurrency, queue.running, queue.restarts), (QUEUE, 3, 1, 0));
    rig.gate.add_permits(1);
    rig.stop().await.unwrap();
    assert!(!health.is_ready());
    let stopped = health.queues().remove(0);
    assert_eq!((stopped.running, stopped.trouble.as_deref()), (0, Some("stopped")));
}
