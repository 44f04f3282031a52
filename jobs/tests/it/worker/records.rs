//! The recorder: batches, levels, counted losses, and the records of workers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use base::Timestamp;
use jobs::{
    JobId,
    engine::EngineError,
    recorder::{Recorder, RecorderConfig},
    records::{AttemptOutcome, AttemptRecord, RecordFilter, RecordLevel, RecordStore},
    testing::virtual_time,
};
use tokio::sync::{Semaphore, mpsc};

use super::rig::{Act, Rig};

/// Reports every batch; accepts one only with a permit.
struct Store {
    batches: mpsc::UnboundedSender<Vec<AttemptRecord>>,
    permits: Semaphore,
    failures: Mutex<u32>,
}

#[async_trait]
impl RecordStore for Store {
    async fn append(&self, batch: Arc<[AttemptRecord]>) -> Result<(), EngineError> {
        self.permits.acquire().await.unwrap().forget();
        let mut failures = self.failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            return Err(EngineError::Closed);
        }
        self.batches.send(batch.to_vec()).map_err(|_| EngineError::Closed)
    }

    async fn list(&self, _filter: &RecordFilter) -> Result<Vec<AttemptRecord>, EngineError> {
        Ok(Vec::new())
    }

    async fn expire(&self, _before: Timestamp, _limit: u32) -> Result<u64, EngineError> {
        Ok(0)
    }
}

fn store(permits: usize, failures: u32) -> (Arc<Store>, mpsc::UnboundedReceiver<Vec<AttemptRecord>>) {
    let (batches, received) = mpsc::unbounded_channel();
    (Arc::new(Store { batches, permits: Semaphore::new(permits), failures: Mutex::new(failures) }), received)
}

fn record(queue: &str, outcome: AttemptOutcome) -> AttemptRecord {
    let ambient = virtual_time(5);
    AttemptRecord {
        job: JobId::fresh(&ambient),
        kind: "script".to_owned(),
        queue: queue.to_owned(),
        subject: None,
        attempt: 1,
        worker: "w".to_owned(),
        created_at: ambient.now(),
        started_at: ambient.now(),
        duration: Duration::ZERO,
        outcome,
        error: None,
        trace: None,
    }
}

#[tokio::test(start_paused = true)]
async fn records_are_written_in_batches_when_full_or_when_due() {
    let (store, mut batches) = store(100, 0);
    let recorder = Recorder::spawn(store, RecorderConfig { batch_max: 3, ..RecorderConfig::default() });
    for _ in 0..4 {
        recorder.record(record("q", AttemptOutcome::Completed));
    }
    let began = tokio::time::Instant::now();
    assert_eq!(batches.recv().await.unwrap().len(), 3);
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(batches.recv().await.unwrap().len(), 1);
    assert!(began.elapsed() <= Duration::from_millis(1001), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn levels_leave_out_what_they_say() {
    let (store, mut batches) = store(100, 0);
    let levels =
        HashMap::from([("some".to_owned(), RecordLevel::Failures), ("none".to_owned(), RecordLevel::None)]);
    let recorder = Recorder::spawn(store, RecorderConfig { levels, ..RecorderConfig::default() });
    for queue in ["all", "some", "none"] {
        recorder.record(record(queue, AttemptOutcome::Completed));
        recorder.record(record(queue, AttemptOutcome::Dead));
    }
    recorder.close().await;
    let kept: Vec<_> = batches.recv().await.unwrap().into_iter().map(|r| (r.queue, r.outcome)).collect();
    let wanted =
        [("all", AttemptOutcome::Completed), ("all", AttemptOutcome::Dead), ("some", AttemptOutcome::Dead)];
    assert_eq!(kept, wanted.map(|(queue, outcome)| (queue.to_owned(), outcome)));
    assert_eq!(recorder.dropped(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_buffer_drops_and_counts_instead_of_waiting() {
    let (store, mut batches) = store(0, 0);
    let config = RecorderConfig { capacity: 2, batch_max: 1, ..RecorderConfig::default() };
    let recorder = Recorder::spawn(Arc::clone(&store) as Arc<dyn RecordStore>, config);
    for _ in 0..5 {
        recorder.record(record("q", AttemptOutcome::Completed));
    }
    assert_eq!(recorder.dropped(), 3);
    store.permits.add_permits(100);
    recorder.close().await;
    recorder.record(record("q", AttemptOutcome::Completed));
    assert_eq!(recorder.dropped(), 4);
    let mut written = 0;
    while let Ok(batch) = batches.try_recv() {
        written += batch.len();
    }
    assert_eq!(written, 2);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_once_loses_nothing_and_twice_is_counted() {
    let (once, mut batches) = store(100, 1);
    let recorder = Recorder::spawn(once, RecorderConfig::default());
    recorder.record(record("q", AttemptOutcome::Completed));
    recorder.close().await;
    assert_eq!((batches.recv().await.unwrap().len(), recorder.dropped()), (1, 0));

    let (twice, _batches) = store(100, 2);
    let recorder = Recorder::spawn(twice, RecorderConfig::default());
    recorder.record(record("q", AttemptOutcome::Completed));
    recorder.close().await;
    assert_eq!(recorder.dropped(), 1);
}

#[tokio::test(start_paused = true)]
async fn workers_record_every_attempt_with_its_outcome() {
    let (store, mut batches) = store(100, 0);
    let recorder = Recorder::spawn(store, RecorderConfig::default());
    let handed = recorder.clone();
    let rig = Rig::configured(1, |workers| workers.recorder(handed)).await;
    let id = rig.enqueue("flaky", Act::FailUntil(2)).await;
    rig.gone(id).await;
    rig.stop().await.unwrap();
    recorder.close().await;
    let mut seen = Vec::new();
    while let Ok(batch) = batches.try_recv() {
        seen.extend(batch);
    }
    let told: Vec<_> = seen.iter().map(|r| (r.attempt, r.outcome, r.error.as_deref())).collect();
    assert_eq!(told, [(1, AttemptOutcome::Retried, Some("failure 1")), (2, AttemptOutcome::Completed, None)]);
    let first = &seen[0];
    assert_eq!((first.job, first.worker.as_str(), first.subject.as_deref()), (id, "rig", Some("flaky")));
}
