//! The place of a process in the list of workers, in virtual time, over a list that can be away.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use base::Timestamp;
use orderworks_jobs::{
    engine::EngineError,
    job_store::{QueueSize, WorkerNote, WorkerNotes},
};
use tokio::time::{sleep, timeout};

use super::rig::{Act, QUEUE, Rig};

/// A list in memory, with every note that was ever written to it.
#[derive(Default)]
struct Board(Mutex<BoardContent>);

#[derive(Default)]
struct BoardContent {
    away: bool,
    size: Option<u32>,
    notes: Vec<WorkerNote>,
    forgotten: bool,
}

impl Board {
    fn content(&self) -> MutexGuard<'_, BoardContent> {
        self.0.lock().unwrap()
    }

    fn open(&self) -> Result<MutexGuard<'_, BoardContent>, EngineError> {
        let content = self.content();
        if content.away { Err(EngineError::Closed) } else { Ok(content) }
    }
}

#[async_trait]
impl WorkerNotes for Board {
    async fn note_workers(&self, notes: Vec<WorkerNote>) -> Result<(), EngineError> {
        self.open()?.notes.extend(notes);
        Ok(())
    }

    async fn worker_notes(&self, _since: Timestamp) -> Result<Vec<WorkerNote>, EngineError> {
        Ok(self.open()?.notes.clone())
    }

    async fn forget_worker(&self, _worker: &str, _queues: &[String]) -> Result<(), EngineError> {
        self.open()?.forgotten = true;
        Ok(())
    }

    async fn expire_workers(&self, _before: Timestamp) -> Result<(), EngineError> {
        self.open().map(drop)
    }

    async fn set_size(
        &self,
        _queue: &str,
        _worker: Option<&str>,
        slots: Option<u32>,
    ) -> Result<(), EngineError> {
        self.open()?.size = slots;
        Ok(())
    }

    async fn sizes(&self) -> Result<Vec<QueueSize>, EngineError> {
        let size = self.open()?.size;
        Ok(size.map(|slots| QueueSize { queue: QUEUE.to_owned(), worker: None, slots }).into_iter().collect())
    }
}

#[tokio::test(start_paused = true)]
async fn sizes_stay_while_their_store_is_away() {
    let board = Arc::new(Board::default());
    board.content().size = Some(1);
    let mut rig = Rig::configured(2, |workers| workers.listed(board.clone(), "1.2.3")).await;
    let ids = [rig.enqueue("one", Act::Gate).await, rig.enqueue("two", Act::Gate).await];
    rig.started("one").await;
    *board.content() = BoardContent { away: true, ..BoardContent::default() };
    assert!(timeout(Duration::from_mins(1), rig.event()).await.is_err(), "one at a time, from the first on");
    board.content().away = false;
    rig.started("two").await;
    rig.gate.add_permits(2);
    for id in ids {
        rig.gone(id).await;
    }
    assert!(!board.content().forgotten);
    rig.stop().await.unwrap();
    assert!(board.content().forgotten, "an orderly stop leaves the list");
}

#[tokio::test(start_paused = true)]
async fn an_idle_process_is_noted_every_ten_seconds() {
    let board = Arc::new(Board::default());
    let rig = Rig::configured(2, |workers| workers.listed(board.clone(), "1.2.3")).await;
    sleep(Duration::from_secs(5)).await;
    let before = board.content().notes.len();
    sleep(Duration::from_mins(1)).await;
    let notes = std::mem::take(&mut board.content().notes);
    assert!((5..=6).contains(&(notes.len() - before)), "{} in a minute", notes.len() - before);
    let last = notes.last().unwrap();
    assert_eq!((last.worker.as_str(), last.queue.as_str(), last.release.as_str()), ("rig", QUEUE, "1.2.3"));
    assert_eq!((last.slots, last.used, last.configured, last.runs.len()), (2, 0, 2, 0));
    assert!(last.contact_at.is_some() && last.trouble.is_none(), "{last:?}");
    rig.stop().await.unwrap();
}
