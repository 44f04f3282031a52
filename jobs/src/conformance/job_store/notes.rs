//! Cases of consumer notes.

use base::Timestamp;

use super::{QUEUE, StoreHarness, noon, seconds};
use crate::job_store::{ConsumerNote, JobStore};

fn note(session: u64, name: &str, at: Timestamp) -> ConsumerNote {
    ConsumerNote { session, name: name.to_owned(), queue: QUEUE.to_owned(), running: 3, reached_at: None, at }
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

/// Old notes expire.
pub async fn notes_expire(h: &impl StoreHarness) {
    let store = h.store();
    store.note(note(1, "old", noon())).await.expect("notes");
    store.note(note(2, "young", noon() + seconds(1))).await.expect("notes");
    store.expire(noon(), noon() + seconds(1)).await.expect("expires");
    assert_eq!(sessions(&*store, noon()).await, [2]);
}
