//! Leases lost while jobs run, on a file: a delivery that waits here does not start, a result no longer counts, and the
//! next run waits for the end of the last one.

use std::{path::Path, sync::Arc, time::Duration};

use base::Ambient;
use orderworks_jobs::{
    JobId, Workers,
    engine::JobState,
    recorder::{Recorder, RecorderConfig},
    records::{AttemptOutcome, RecordFilter, RecordStore},
    sqlite::SqliteEngine,
};
use tokio::sync::watch;

use super::{
    gate::Process,
    rig::{Act, Event, Probe},
};

async fn open(folder: &Path) -> SqliteEngine {
    SqliteEngine::open(&folder.join("queue.db"), Ambient::system()).await.unwrap()
}

/// Workers with two slots that look after their lease every second.
async fn process(engine: SqliteEngine, configure: impl FnOnce(Workers<Probe>) -> Workers<Probe>) -> Process {
    let (lease, open) = (Duration::from_secs(3), watch::channel(true).1);
    Process::configured(Arc::new(engine), "here", open, |workers| configure(workers.lease(lease))).await
}

fn started(name: &str) -> Event {
    Event::Started { name: name.to_owned(), attempt: 1 }
}

fn finished(name: &str) -> Event {
    Event::Finished { name: name.to_owned() }
}

/// Takes all jobs away from the process, and waits until its next consumer holds this one.
async fn lose(here: &Process, other: &SqliteEngine, id: JobId) {
    assert!(other.recover_orphans().await.unwrap() > 0);
    let again = (JobState::Running, 1);
    here.when(id, |held| held.is_some_and(|held| (held.state, held.crashes) == again)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_whose_lease_is_lost_before_its_start_is_not_started() {
    let folder = tempfile::tempdir().unwrap();
    let mut here = process(open(folder.path()).await, |workers| workers).await;
    let ids = [here.enqueue("one", Act::Gate).await, here.enqueue("two", Act::Gate).await];
    for _ in ids {
        assert!(matches!(here.event().await, Event::Started { .. }));
    }
    let waiting = here.enqueue("waiting", Act::Finish).await;
    here.when(waiting, |held| held.is_some_and(|held| held.state == JobState::Running)).await;
    lose(&here, &open(folder.path()).await, ids[0]).await;
    here.probe.gate.add_permits(4);
    let mut starts = 0;
    while starts < 3 {
        starts += u32::from(matches!(here.event().await, Event::Started { .. }));
    }
    here.when(waiting, |held| held.is_none()).await;
    let last = here.enqueue("last", Act::Finish).await;
    loop {
        let event = here.event().await;
        assert_ne!(event, started("waiting"), "started once, from the second delivery");
        if event == started("last") {
            break;
        }
    }
    here.when(last, |held| held.is_none()).await;
    here.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_lost_its_lease_is_recorded_as_stale_and_the_next_one_waits_for_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    let records = engine.records();
    let recorder = Recorder::spawn(Arc::new(records.clone()), RecorderConfig::default());
    let recording = recorder.clone();
    let mut here = process(engine, |workers| workers.recorder(recording)).await;
    let id = here.enqueue("slow", Act::Gate).await;
    assert_eq!(here.event().await, started("slow"));
    lose(&here, &open(folder.path()).await, id).await;
    here.enqueue("other", Act::Finish).await;
    assert_eq!(here.event().await, started("other"), "behind the second delivery, in the other slot");
    assert_eq!(here.event().await, finished("other"));
    here.probe.gate.add_permits(1);
    assert_eq!(here.event().await, finished("slow"));
    assert_eq!(here.event().await, started("slow"));
    here.probe.gate.add_permits(1);
    here.when(id, |held| held.is_none()).await;
    here.stop().await;
    recorder.close().await;
    let filter = RecordFilter { job: Some(id), limit: 10, ..RecordFilter::default() };
    let newest_first = records.list(&filter).await.unwrap();
    let outcomes: Vec<_> = newest_first.iter().map(|record| (record.attempt, record.outcome)).collect();
    assert_eq!(outcomes, [(1, AttemptOutcome::Completed), (1, AttemptOutcome::Stale)]);
}
