//! Cases of consumer notes.

use base::Timestamp;

use super::{QUEUE, StoreHarness, job, noon, seconds};
use crate::{
    engine::{InspectedJob, JobState},
    job_store::{ConsumerNote, JobStore},
};

fn note(session: u64, name: &str, at: Timestamp) -> ConsumerNote {
    let (name, queue) = (name.to_owned(), QUEUE.to_owned());
    ConsumerNote { session, name, queue, running: 3, jobs: Vec::new(), reached_at: None, at }
}

async fn sessions(store: &dyn JobStore, since: Timestamp) -> Vec<u64> {
    store.consumers(QUEUE, since).await.expect("lists").iter().map(|note| note.session).collect()
}

/// One note per session, with any number, listed by name; the note of a consumer that has left is deleted.
pub async fn the_last_note_of_a_consumer_counts(h: &impl StoreHarness) {
    let (store, second) = (h.store(), h.second().await);
    for (session, name) in [(u64::MAX, "b"), (7, "a"), (8, "B")] {
        store.note(note(session, name, noon())).await.expect("notes");
    }
    let last =
        ConsumerNote { running: 0, reached_at: Some(noon()), ..note(u64::MAX, "b", noon() + seconds(9)) };
    second.note(last).await.expect("notes");
    store.note(ConsumerNote { queue: "elsewhere".to_owned(), ..note(9, "c", noon()) }).await.expect("notes");
    assert_eq!(sessions(&*store, noon()).await, [8, 7, u64::MAX], "by the bytes of their names");
    let of_b = store.consumers(QUEUE, noon() + seconds(1)).await.expect("lists");
    assert_eq!(of_b.len(), 1, "one is young enough");
    let of_b = &of_b[0];
    assert_eq!((of_b.session, of_b.name.as_str(), of_b.running), (u64::MAX, "b", 0));
    assert_eq!((of_b.reached_at, of_b.at), (Some(noon()), noon() + seconds(9)));
    second.forget_consumer(u64::MAX).await.expect("forgets");
    assert_eq!(sessions(&*store, noon()).await, [8, 7]);
}

/// A note names the jobs its consumer holds.
pub async fn a_note_names_its_jobs(h: &impl StoreHarness) {
    let (store, second) = (h.store(), h.second().await);
    let held = InspectedJob {
        envelope: job().envelope,
        state: JobState::Running,
        crashes: 2,
        last_error: Some("no \0 \"paper\"".to_owned()),
        behind: None,
        dead: None,
    };
    let jobs = vec![held.clone()];
    store.note(ConsumerNote { jobs, ..note(1, "a", noon()) }).await.expect("notes");
    let read = second.consumers(QUEUE, noon()).await.expect("lists").remove(0).jobs;
    assert_eq!(read.len(), 1);
    assert_eq!((read[0].envelope.id, read[0].state), (held.envelope.id, JobState::Running));
    assert_eq!((read[0].crashes, &read[0].last_error), (2, &held.last_error));
}

/// The time that a queue has reached rises, and only in steps.
pub async fn what_a_queue_has_reached_never_falls(h: &impl StoreHarness) {
    let (store, second) = (h.store(), h.second().await);
    store.add_queues(&[QUEUE.to_owned()]).await.expect("adds");
    assert_eq!(store.reached_at(QUEUE).await.expect("reads"), None);
    let raises = [(5, 5), (3, 5), (6, 5), (10, 10)];
    for (at, reached) in raises {
        store.raise_reached(QUEUE, noon() + seconds(at)).await.expect("raises");
        assert_eq!(second.reached_at(QUEUE).await.expect("reads"), Some(noon() + seconds(reached)), "{at}");
    }
    store.raise_reached("nowhere", noon()).await.expect("ignores");
    assert_eq!(store.reached_at("nowhere").await.expect("reads"), None);
}

/// Old notes expire.
pub async fn notes_expire(h: &impl StoreHarness) {
    let store = h.store();
    store.note(note(1, "old", noon())).await.expect("notes");
    store.note(note(2, "young", noon() + seconds(1))).await.expect("notes");
    store.expire(noon(), noon() + seconds(1)).await.expect("expires");
    assert_eq!(sessions(&*store, noon()).await, [2]);
}
