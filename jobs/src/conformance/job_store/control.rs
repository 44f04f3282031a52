//! Cases of queues, pauses and cancel requests, and of their propagation to other handles.

use super::{QUEUE, StoreHarness, asks_for, everything, job, noon, reserve, schedule, seconds};
use crate::{
    envelope::JobId,
    error::describe,
    job_store::{CANCELS_MAX, ScheduledJob},
};

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Adding a queue again changes nothing, least of all a pause.
pub async fn queues_are_remembered(h: &impl StoreHarness) {
    let (store, second) = (h.store(), h.second().await);
    assert!(store.queues().await.expect("lists").is_empty());
    store.add_queues(&names(&["parcels", "Mail", "mail", "mail"])).await.expect("adds");
    assert!(store.set_paused("mail", true).await.expect("pauses"));
    second.add_queues(&names(&["mail", "letters"])).await.expect("adds");
    assert_eq!(
        second.queues().await.expect("lists"),
        ["Mail", "letters", "mail", "parcels"],
        "by their bytes"
    );
    assert_eq!(second.control().await.expect("reads").paused, ["mail".to_owned()].into());
}

/// Every change raises the version; a pause is visible to the other handle at once.
pub async fn a_pause_is_seen_by_its_version(h: &impl StoreHarness) {
    let (store, second) = (h.store(), h.second().await);
    store.add_queues(&names(&[QUEUE])).await.expect("adds");
    let mut known = second.control().await.expect("reads");
    assert!(known.paused.is_empty() && known.version > 0);
    for paused in [true, true, false] {
        assert!(store.set_paused(QUEUE, paused).await.expect("sets"));
        assert!(second.control_version().await.expect("reads") > known.version);
        known = second.control().await.expect("reads");
        assert_eq!(known.paused.contains(QUEUE), paused);
    }
    assert!(!store.set_paused("nowhere", true).await.expect("answers"));
    assert!(second.control().await.expect("reads").paused.is_empty());
}

/// A scheduled job is deleted with its key, and no request remains.
pub async fn a_scheduled_job_is_cancelled_at_once(h: &impl StoreHarness) {
    let store = h.store();
    let later = ScheduledJob { due_at: noon() + seconds(3600), ..job() };
    let id = schedule(&*store, &[later]).await[0];
    let (key, other) = ("the key".to_owned(), job().envelope.id);
    reserve(&*store, vec![asks_for(&key, QUEUE, id)], noon()).await;
    assert!(store.cancel(id, "changed our mind", noon()).await.expect("cancels"));
    assert!(everything(&*store).await.is_empty());
    assert!(store.control().await.expect("reads").cancels.is_empty());
    assert_eq!(reserve(&*store, vec![asks_for(&key, QUEUE, other)], noon()).await, [None]);
}

/// A cancel of a job that is being published, or unknown here, stores a request; the last reason counts.
pub async fn a_job_elsewhere_gets_a_request(h: &impl StoreHarness) {
    let (store, second) = (h.store(), h.second().await);
    let claimed = schedule(&*store, &[job()]).await[0];
    let until = noon() + seconds(30);
    store.claim(claimed, noon(), until).await.expect("claims").expect("there");
    let unknown = job().envelope.id;
    let before = second.control_version().await.expect("reads");
    for (id, reason) in [(claimed, "too late"), (unknown, "who?"), (unknown, "a better reason")] {
        assert!(!store.cancel(id, reason, noon()).await.expect("cancels"));
    }
    let control = second.control().await.expect("reads");
    assert!(control.version > before);
    let wanted = [(claimed, "too late".to_owned()), (unknown, "a better reason".to_owned())];
    assert_eq!(control.cancels, wanted.into());
    assert_eq!(everything(&*store).await, [claimed]);
    second.forget_cancels(&[claimed, job().envelope.id]).await.expect("forgets");
    let forgotten = store.control().await.expect("reads");
    assert!(forgotten.version > control.version);
    assert_eq!(forgotten.cancels.into_keys().collect::<Vec<JobId>>(), [unknown]);
    // Its claim expired unused: now the job can be deleted at once.
    assert!(store.cancel(claimed, "after all", until).await.expect("cancels"));
}

/// A request beyond the bound is refused and says why; one that is stored again is not.
pub async fn a_request_too_many_is_refused(h: &impl StoreHarness) {
    let store = h.store();
    h.fill_cancels().await;
    let (last, beyond) = (job().envelope.id, job().envelope.id);
    for reason in ["the last one", "the same again"] {
        assert!(!store.cancel(last, reason, noon()).await.expect("cancels"));
    }
    let full = store.control().await.expect("reads");
    assert_eq!(full.cancels.len(), CANCELS_MAX as usize);
    let refused = store.cancel(beyond, "one too many", noon()).await.expect_err("is refused");
    assert!(refused.is_transient() && describe(&refused).contains("cancel requests"), "{refused:?}");
    let after = store.control().await.expect("reads");
    assert!(after.version == full.version && !after.cancels.contains_key(&beyond));
    store.forget_cancels(&[last]).await.expect("forgets");
    assert!(!store.cancel(beyond, "one too many", noon()).await.expect("cancels"));
}

/// Requests without a job expire, which raises the version, too.
pub async fn requests_expire(h: &impl StoreHarness) {
    let store = h.store();
    let (old, young) = (job().envelope.id, job().envelope.id);
    store.cancel(old, "old", noon()).await.expect("cancels");
    store.cancel(young, "young", noon() + seconds(1)).await.expect("cancels");
    let before = store.control_version().await.expect("reads");
    store.expire(noon() + seconds(1), noon()).await.expect("expires");
    let control = store.control().await.expect("reads");
    assert!(control.version > before);
    assert_eq!(control.cancels.into_keys().collect::<Vec<JobId>>(), [young]);
    store.expire(noon(), noon()).await.expect("expires");
    assert_eq!(store.control_version().await.expect("reads"), control.version, "nothing changed");
}
