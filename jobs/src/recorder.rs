//! The recorder: a bounded buffer between workers and a [`RecordStore`] that never delays a job.
//!
//! Guarantees: [`Recorder::record`] never waits; memory is bounded by the capacity and one batch; a batch is written
//! when it is full or at most `flush_every` after its first record. Does not guarantee completeness: when the buffer is
//! full, or the store fails twice, records are dropped and counted.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    error::describe,
    records::{AttemptOutcome, AttemptRecord, RecordLevel, RecordStore},
};

/// Upper bound of [`RecorderConfig::flush_every`]: how late `inspect` and timelines may be.
pub const FLUSH_EVERY_MAX: Duration = Duration::from_secs(1);

/// Buffer sizes and record levels.
#[derive(Debug, Clone)]
pub struct RecorderConfig {
    /// Most buffered records; further ones are dropped and counted.
    pub capacity: usize,
    /// Longest time a record waits for its batch to be written; capped at [`FLUSH_EVERY_MAX`].
    pub flush_every: Duration,
    /// Most records per write.
    pub batch_max: usize,
    /// Level of queues that `levels` does not name.
    pub default_level: RecordLevel,
    /// Level by queue.
    pub levels: HashMap<String, RecordLevel>,
}

impl Default for RecorderConfig {
    fn default() -> Self {
        Self {
            capacity: 8192,
            flush_every: FLUSH_EVERY_MAX,
            batch_max: 2048,
            default_level: RecordLevel::All,
            levels: HashMap::new(),
        }
    }
}

/// Handle for recording; clones share one buffer and one writer task.
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<RecorderShared>,
}

struct RecorderShared {
    sender: mpsc::Sender<AttemptRecord>,
    dropped: Arc<AtomicU64>,
    closing: CancellationToken,
    writer: Mutex<Option<JoinHandle<()>>>,
    config: RecorderConfig,
}

impl Recorder {
    /// Starts the writer task on the current tokio runtime.
    pub fn spawn(store: Arc<dyn RecordStore>, config: RecorderConfig) -> Self {
        let (sender, receiver) = mpsc::channel(config.capacity.max(1));
        let dropped = Arc::new(AtomicU64::new(0));
        let closing = CancellationToken::new();
        let writer = Writer {
            store,
            receiver,
            closing: closing.clone(),
            dropped: Arc::clone(&dropped),
            flush_every: config.flush_every.min(FLUSH_EVERY_MAX),
            batch_max: config.batch_max.max(1),
        };
        let writer = Mutex::new(Some(tokio::spawn(writer.run())));
        Self { shared: Arc::new(RecorderShared { sender, dropped, closing, writer, config }) }
    }

    /// Buffers a record, unless the level of its queue excludes it; drops and counts it when the buffer is full.
    pub fn record(&self, record: AttemptRecord) {
        if keeps(self.level(&record.queue), record.outcome) {
            self.push(record);
        }
    }

    /// The record level of a queue; looked up once per worker rather than once per job.
    pub fn level(&self, queue: &str) -> RecordLevel {
        self.shared.config.levels.get(queue).copied().unwrap_or(self.shared.config.default_level)
    }

    /// Number of records dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Writes the buffered records and ends the writer task. Later records are dropped and counted. Idempotent.
    pub async fn close(&self) {
        self.shared.closing.cancel();
        let writer = self.shared.writer.lock().take();
        if let Some(writer) = writer
            && let Err(error) = writer.await
        {
            tracing::error!(%error, "attempt record writer failed");
        }
    }

    pub(crate) fn push(&self, record: AttemptRecord) {
        if self.shared.sender.try_send(record).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

pub(crate) fn keeps(level: RecordLevel, outcome: AttemptOutcome) -> bool {
    match level {
        RecordLevel::All => true,
        RecordLevel::Failures => outcome != AttemptOutcome::Completed,
        RecordLevel::None => false,
    }
}

struct Writer {
    store: Arc<dyn RecordStore>,
    receiver: mpsc::Receiver<AttemptRecord>,
    closing: CancellationToken,
    dropped: Arc<AtomicU64>,
    flush_every: Duration,
    batch_max: usize,
}

impl Writer {
    async fn run(mut self) {
        let closing = self.closing.clone();
        loop {
            let first = tokio::select! {
                biased;
                () = closing.cancelled() => break,
                first = self.receiver.recv() => first,
            };
            let Some(first) = first else { return };
            let batch = self.gather(first, &closing).await;
            self.write(batch).await;
        }
        self.receiver.close();
        let mut batch = Vec::new();
        while self.receiver.recv_many(&mut batch, self.batch_max).await > 0 {
            self.write(std::mem::take(&mut batch)).await;
        }
    }

    /// Collects until the batch is full, `flush_every` has passed since its first record, or the recorder closes.
    async fn gather(&mut self, first: AttemptRecord, closing: &CancellationToken) -> Vec<AttemptRecord> {
        let due = Instant::now() + self.flush_every;
        let mut batch = vec![first];
        while batch.len() < self.batch_max {
            let room = self.batch_max - batch.len();
            let more = timeout_at(due, self.receiver.recv_many(&mut batch, room));
            tokio::select! {
                biased;
                () = closing.cancelled() => break,
                got = more => if !matches!(got, Ok(1..)) { break },
            }
        }
        batch
    }

    /// Writes a batch, with one retry after a pause: appending is idempotent, so a write of unknown outcome may be
    /// repeated.
    async fn write(&self, batch: Vec<AttemptRecord>) {
        let batch: Arc<[AttemptRecord]> = batch.into();
        let count = batch.len();
        let Err(first) = self.store.append(batch.clone()).await else { return };
        tracing::warn!(error = describe(&first), records = count, "attempt record write failed, retrying");
        tokio::time::sleep(self.flush_every).await;
        if let Err(error) = self.store.append(batch).await {
            self.dropped.fetch_add(count as u64, Ordering::Relaxed);
            tracing::error!(error = describe(&error), records = count, "attempt records dropped");
        }
    }
}
