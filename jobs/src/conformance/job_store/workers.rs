//! Cases of worker notes and of the sizes of queues.

use base::ids::Uuid;

use super::{QUEUE, StoreHarness, noon, seconds};
use crate::{
    envelope::JobId,
    job_store::{JobStore, NotedRun, QueueSize, WorkerNote},
};

fn note(worker: &str, queue: &str) -> WorkerNote {
    WorkerNote {
        worker: worker.to_owned(),
        queue: queue.to_owned(),
        release: "1.2.3".to_owned(),
        started_at: noon(),
        noted_at: noon(),
        slots: 4,
        used: 3,
        configured: 2,
        contact_at: Some(noon() - seconds(1)),
        trouble: Some("half \0 \"of\" it\n🦀".to_owned()),
        runs: vec![NotedRun { job: JobId::derived(Uuid::nil(), worker), since: noon() }],
        ended: 7,
        busy_ms: 1234,
        held_back: true,
    }
}

fn size(queue: &str, worker: Option<&str>, slots: u32) -> QueueSize {
    QueueSize { queue: queue.to_owned(), worker: worker.map(str::to_owned), slots }
}

/// Process and queue of the notes that are not older than noon.
async fn noted(store: &dyn JobStore) -> Vec<(String, String)> {
    let notes = store.worker_notes(noon()).await.expect("lists");
    notes.into_iter().map(|note| (note.worker, note.queue)).collect()
}

fn pair(worker: &str, queue: &str) -> (String, String) {
    (worker.to_owned(), queue.to_owned())
}

/// The last note of a process about a queue counts, and reads back whole, in any process.
pub async fn the_last_note_of_a_worker_counts(h: &impl StoreHarness) {
    let (store, second) = (h.store(), h.second().await);
    store.note_workers(vec![note("b", QUEUE), note("a", QUEUE), note("a", "labels")]).await.expect("notes");
    let newer = WorkerNote { used: 0, contact_at: None, trouble: None, runs: Vec::new(), ..note("b", QUEUE) };
    second.note_workers(vec![newer.clone()]).await.expect("notes");
    let notes = store.worker_notes(noon()).await.expect("lists");
    assert_eq!(notes, [note("a", "labels"), note("a", QUEUE), newer]);
    store.note_workers(Vec::new()).await.expect("nothing is a batch too");
    store.forget_worker("a", &["labels".to_owned(), "none".to_owned()]).await.expect("forgets");
    assert_eq!(noted(&*second).await, [pair("a", QUEUE), pair("b", QUEUE)]);
}

/// Old notes are not listed and expire, and with the last one of a process its sizes.
pub async fn worker_notes_expire_with_their_sizes(h: &impl StoreHarness) {
    let store = h.store();
    let old = WorkerNote { noted_at: noon() - seconds(60), ..note("old", QUEUE) };
    store.note_workers(vec![old, note("live", QUEUE)]).await.expect("notes");
    for worker in [None, Some("old"), Some("live")] {
        store.set_size(QUEUE, worker, Some(5)).await.expect("sets");
    }
    assert_eq!(noted(&*store).await, [pair("live", QUEUE)]);
    store.expire_workers(noon() - seconds(61)).await.expect("expires");
    assert_eq!(store.sizes().await.expect("lists").len(), 3, "its note is still there");
    store.expire_workers(noon() - seconds(30)).await.expect("expires");
    assert_eq!(store.worker_notes(noon() - seconds(90)).await.expect("lists").len(), 1);
    let left = [size(QUEUE, None, 5), size(QUEUE, Some("live"), 5)];
    assert_eq!(store.sizes().await.expect("lists"), left);
}

/// A size is set for all processes or for one, replaced and ended, each apart from the others.
pub async fn sizes_are_set_and_ended(h: &impl StoreHarness) {
    let (store, second) = (h.store(), h.second().await);
    assert!(store.sizes().await.expect("lists").is_empty());
    for (queue, worker, slots) in
        [(QUEUE, None, 3), (QUEUE, Some("a"), 7), ("labels", None, 1), (QUEUE, None, 4)]
    {
        store.set_size(queue, worker, Some(slots)).await.expect("sets");
    }
    let sizes = second.sizes().await.expect("lists");
    assert_eq!(sizes, [size("labels", None, 1), size(QUEUE, None, 4), size(QUEUE, Some("a"), 7)]);
    second.set_size(QUEUE, None, None).await.expect("ends");
    second.set_size("unknown", Some("b"), None).await.expect("ends nothing");
    assert_eq!(store.sizes().await.expect("lists"), [size("labels", None, 1), size(QUEUE, Some("a"), 7)]);
}
