//! Sizes of queues, changed while jobs run, and the list of workers that tells them.

use std::{sync::Arc, time::Duration};

use base::{Ambient, Timestamp};
use orderworks_jobs::{
    Engine, JobId, Workers,
    job_store::{JobStore, SqliteJobStore, WorkerNote},
    testing::MemoryEngine,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    gate::Process,
    rig::{Act, Event, Probe, QUEUE},
};

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_is_resized_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteJobStore::open(&folder.path().join("jobs.db"), Ambient::system()).await.unwrap();
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new(Ambient::system()));
    resizes_while_it_runs(engine.clone(), engine, Arc::new(store)).await;
}

/// More slots start jobs that wait, fewer let those that run end, in one process or in all, and a process that starts
/// later has its size from the first job on. No attempt is charged to any job.
pub(crate) async fn resizes_while_it_runs(
    mine: Arc<dyn Engine>,
    theirs: Arc<dyn Engine>,
    store: Arc<dyn JobStore>,
) {
    let open = || watch::channel(true).1;
    let listed = |workers: Workers<Probe>| workers.listed(store.clone(), "1.2.3");
    let mut here = Process::configured(mine.clone(), "here", open(), listed).await;
    let mut ids = Vec::new();
    for name in ["one", "two", "three"] {
        ids.push(here.enqueue(name, Act::Gate).await);
    }
    ids.sort_unstable();
    for _ in 0..2 {
        assert!(matches!(here.event().await, Event::Started { attempt: 1, .. }));
    }
    noted(&*store, "here", |note| (note.slots, note.used) == (2, 2)).await;

    store.set_size(QUEUE, None, Some(3)).await.unwrap();
    assert!(matches!(here.event().await, Event::Started { attempt: 1, .. }), "the one that waited");
    let note = noted(&*store, "here", |note| (note.used, note.runs.len()) == (3, 3)).await;
    assert_eq!((note.slots, note.configured, note.release.as_str()), (3, 2, "1.2.3"));
    assert!(note.queue == QUEUE && note.trouble.is_none() && note.contact_at.is_some(), "{note:?}");
    let mut runs: Vec<JobId> = note.runs.iter().map(|run| run.job).collect();
    runs.sort_unstable();
    assert_eq!(runs, ids);
    assert!(note.runs.iter().all(|run| (note.started_at..=note.noted_at).contains(&run.since)), "{note:?}");

    store.set_size(QUEUE, Some("here"), Some(1)).await.unwrap();
    noted(&*store, "here", |note| (note.slots, note.used) == (1, 3)).await;
    ids.push(here.enqueue("four", Act::Gate).await);
    here.probe.gate.add_permits(2);
    for _ in 0..2 {
        assert!(matches!(here.event().await, Event::Finished { .. }));
    }
    noted(&*store, "here", |note| (note.slots, note.used) == (1, 1)).await;
    here.is_quiet().await;
    here.probe.gate.add_permits(1);
    assert!(matches!(here.event().await, Event::Finished { .. }));
    assert_eq!(here.event().await, Event::Started { name: "four".to_owned(), attempt: 1 });
    store.set_size(QUEUE, Some("here"), None).await.unwrap();
    noted(&*store, "here", |note| note.slots == 3).await;
    store.set_size(QUEUE, None, None).await.unwrap();
    noted(&*store, "here", |note| note.slots == note.configured).await;
    here.probe.gate.add_permits(1);
    assert_eq!(here.event().await, Event::Finished { name: "four".to_owned() });
    for id in ids {
        here.when(id, |held| held.is_none()).await;
    }
    let note = noted(&*store, "here", |note| (note.ended, note.used) == (4, 0)).await;
    assert!(!note.held_back && note.busy_ms > 0, "{note:?}");

    store.set_size(QUEUE, Some("there"), Some(1)).await.unwrap();
    let there = Process::configured(theirs, "there", open(), listed).await;
    let first = noted(&*store, "there", |_| true).await;
    assert_eq!((first.slots, first.configured), (1, 2));
    assert_eq!(workers(&*store).await, ["here", "there"]);
    there.stop().await;
    assert_eq!(workers(&*store).await, ["here"], "an orderly stop leaves no note");
    here.stop().await;
    assert!(workers(&*store).await.is_empty());
}

async fn workers(store: &dyn JobStore) -> Vec<String> {
    let notes = store.worker_notes(Timestamp::UNIX_EPOCH).await.unwrap();
    notes.into_iter().map(|note| note.worker).collect()
}

/// The note of a process once it is as wanted.
async fn noted(store: &dyn JobStore, worker: &str, wanted: impl Fn(&WorkerNote) -> bool) -> WorkerNote {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let notes = store.worker_notes(Timestamp::UNIX_EPOCH).await.unwrap();
        let note = notes.into_iter().find(|note| note.worker == worker);
        if let Some(note) = &note
            && wanted(note)
        {
            return note.clone();
        }
        assert!(Instant::now() < deadline, "never noted: {note:?}");
        sleep(Duration::from_millis(20)).await;
    }
}
