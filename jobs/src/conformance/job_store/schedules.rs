//! Cases of schedules and of their leader.

use base::Timestamp;
use futures::future::join_all;

use super::{StoreHarness, job, noon, seconds};
use crate::job_store::{Advance, JobStore, NewSchedule, ScheduleRow};

fn new(name: &str, timing: &str, next: Timestamp) -> NewSchedule {
    let (name, timing, definition) = (name.to_owned(), timing.to_owned(), "{}".to_owned());
    NewSchedule { name, timing, definition, paused: false, next_fire_at: Some(next) }
}

fn step(name: &str, from: Timestamp, to: Timestamp) -> Advance {
    Advance { name: name.to_owned(), from, to: Some(to), run: None }
}

/// Begins a term; returns its fence.
async fn lead(store: &dyn JobStore, holder: &str) -> i64 {
    let seen = store.leader().await.expect("reads");
    store.take_lead(holder, &seen).await.expect("answers").expect("takes the lead")
}

async fn synced(store: &dyn JobStore, schedules: Vec<NewSchedule>) -> i64 {
    let fence = lead(store, "one").await;
    assert!(store.sync_schedules(fence, schedules).await.expect("stores"));
    fence
}

async fn found(store: &dyn JobStore, name: &str) -> ScheduleRow {
    store.find_schedule(name).await.expect("reads").expect("is there")
}

async fn due(store: &dyn JobStore, now: Timestamp) -> Vec<String> {
    store.due_schedules(now).await.expect("reads").into_iter().map(|row| row.name).collect()
}

/// A term ends with the next one, which begins only where the present one is as it was seen.
pub async fn a_term_begins_after_the_one_that_was_seen(h: &impl StoreHarness) {
    let (store, second) = (h.store(), h.second().await);
    let none = store.leader().await.expect("reads");
    assert_eq!(none.holder, None);
    let first = store.take_lead("one", &none).await.expect("answers").expect("takes the lead");
    assert_eq!(second.take_lead("two", &none).await.expect("answers"), None, "another one was faster");
    let seen = second.leader().await.expect("reads");
    assert_eq!((seen.holder.as_deref(), seen.fence), (Some("one"), first));
    assert!(store.keep_lead(first).await.expect("answers"));
    assert_eq!(second.take_lead("two", &seen).await.expect("answers"), None, "the leader lives");
    let seen = second.leader().await.expect("reads");
    let later = second.take_lead("two", &seen).await.expect("answers").expect("takes the lead");
    assert!(later > first);
    assert!(!store.keep_lead(first).await.expect("answers"));
    store.leave_lead(first).await.expect("answers");
    assert_eq!(store.leader().await.expect("reads").holder.as_deref(), Some("two"));
    second.leave_lead(later).await.expect("leaves");
    assert_eq!(store.leader().await.expect("reads").holder, None);
    assert!(lead(&*store, "one").await > later);
}

/// Of many candidates that have seen the same term, one begins the next.
pub async fn racing_candidates_have_one_winner(h: &impl StoreHarness) {
    let stores = [h.store(), h.second().await];
    let seen = stores[0].leader().await.expect("reads");
    let candidates = (0..16).map(|n| {
        let (store, seen) = (stores[n % 2].clone(), seen.clone());
        tokio::spawn(async move { store.take_lead(&format!("{n}"), &seen).await.expect("answers") })
    });
    let fences: Vec<i64> = join_all(candidates).await.into_iter().filter_map(|t| t.expect("ends")).collect();
    assert_eq!(fences, [stores[0].leader().await.expect("reads").fence]);
}

/// Synchronising adds and replaces, keeps pauses and times, and marks what is no longer there.
pub async fn synchronising_is_additive(h: &impl StoreHarness) {
    let (store, second) = (h.store(), h.second().await);
    let first = ["a", "b", "B", "c"].map(|name| new(name, "daily", noon())).to_vec();
    let fence = synced(&*store, first).await;
    let names: Vec<String> =
        second.schedules().await.expect("lists").into_iter().map(|row| row.name).collect();
    assert_eq!(names, ["B", "a", "b", "c"], "by their bytes");
    let run = (noon(), job().envelope.id);
    let day = noon() + seconds(86_400);
    assert!(store.pause_schedule("a").await.expect("pauses"));
    assert!(
        store
            .advance_schedule(fence, &Advance { run: Some(run), ..step("a", noon(), day) })
            .await
            .expect("moves")
    );
    let (other, hour) = (noon() + seconds(9), noon() + seconds(3600));
    let changed = vec![
        NewSchedule { definition: "{\"v\":2}".to_owned(), ..new("a", "daily", other) },
        new("b", "hourly", hour),
        NewSchedule { paused: true, ..new("d", "daily", other) },
    ];
    let fence = synced(&*second, changed).await;
    let kept = found(&*store, "a").await;
    let expected = ScheduleRow {
        name: "a".to_owned(),
        timing: "daily".to_owned(),
        definition: "{\"v\":2}".to_owned(),
        paused: true,
        orphaned: false,
        next_fire_at: Some(day),
        last_fire_at: Some(noon()),
        last_job: Some(run.1),
    };
    assert_eq!(kept, expected);
    let retimed = found(&*store, "b").await;
    assert_eq!(
        (retimed.timing.as_str(), retimed.next_fire_at, retimed.orphaned),
        ("hourly", Some(hour), false)
    );
    assert!(found(&*store, "B").await.orphaned && found(&*store, "c").await.orphaned);
    let added = found(&*store, "d").await;
    assert!(added.paused && added.next_fire_at == Some(other) && added.last_job.is_none());
    assert!(!store.sync_schedules(fence - 1, Vec::new()).await.expect("answers"), "that term is over");
    assert_eq!(found(&*store, "a").await, expected);
    assert!(store.sync_schedules(fence, vec![new("c", "daily", other)]).await.expect("stores"));
    let returned = found(&*store, "c").await;
    assert!(!returned.orphaned && returned.next_fire_at == Some(noon()), "its time is as it was");
    assert!(found(&*store, "a").await.orphaned);
    assert_eq!(store.find_schedule("nowhere").await.expect("reads"), None);
}

/// Schedules are due from their time on, unless paused, orphaned or ended; the longest waiting one comes first.
pub async fn due_schedules_come_oldest_first(h: &impl StoreHarness) {
    let store = h.store();
    let schedules = vec![
        new("young", "x", noon() - seconds(1)),
        new("old", "x", noon() - seconds(2)),
        new("now", "x", noon()),
        new("later", "x", noon() + seconds(1)),
        new("paused", "x", noon()),
        NewSchedule { next_fire_at: None, ..new("ended", "x", noon()) },
    ];
    let fence = synced(&*store, schedules).await;
    assert!(store.pause_schedule("paused").await.expect("pauses"));
    assert_eq!(due(&*store, noon()).await, ["old", "young", "now"]);
    assert!(store.sync_schedules(fence, vec![new("now", "x", noon())]).await.expect("stores"));
    assert_eq!(due(&*store, noon() + seconds(9)).await, ["now"], "the others are orphaned");
}

/// A step is made once, from the fire time it names, by the leader alone.
pub async fn a_step_is_made_once_and_by_the_leader(h: &impl StoreHarness) {
    let (store, second) = (h.store(), h.second().await);
    let first = synced(&*store, vec![new("a", "x", noon())]).await;
    let times = [noon(), noon() + seconds(60), noon() + seconds(120)];
    let forth = step("a", times[0], times[1]);
    assert!(store.advance_schedule(first, &forth).await.expect("moves"));
    assert!(!store.advance_schedule(first, &forth).await.expect("answers"), "it was made");
    assert!(!store.advance_schedule(first, &step("b", times[0], times[1])).await.expect("answers"));
    let later = lead(&*second, "two").await;
    let next = Advance { run: Some((times[1], job().envelope.id)), ..step("a", times[1], times[2]) };
    assert!(!store.advance_schedule(first, &next).await.expect("answers"), "its term is over");
    let row = found(&*second, "a").await;
    assert_eq!((row.next_fire_at, row.last_fire_at, row.last_job), (Some(times[1]), None, None));
    assert!(second.advance_schedule(later, &next).await.expect("moves"));
    let row = found(&*store, "a").await;
    assert_eq!((row.next_fire_at, row.last_fire_at), (Some(times[2]), Some(times[1])));
    assert_eq!(row.last_job, next.run.map(|(_, job)| job));
    let last = Advance { to: None, ..step("a", times[2], noon()) };
    assert!(second.advance_schedule(later, &last).await.expect("moves"));
    let row = found(&*store, "a").await;
    assert_eq!((row.next_fire_at, row.last_fire_at), (None, Some(times[1])), "a step without a run");
}

/// A pause ends with a new fire time; a run of an operator is noted and moves nothing.
pub async fn a_pause_ends_with_a_new_time(h: &impl StoreHarness) {
    let (store, second) = (h.store(), h.second().await);
    synced(&*store, vec![new("a", "x", noon())]).await;
    let later = noon() + seconds(60);
    assert!(!store.resume_schedule("a", Some(later)).await.expect("answers"), "it is not paused");
    assert_eq!(found(&*store, "a").await.next_fire_at, Some(noon()));
    for _ in 0..2 {
        assert!(second.pause_schedule("a").await.expect("pauses"));
    }
    assert!(found(&*store, "a").await.paused && due(&*store, noon()).await.is_empty());
    assert!(second.resume_schedule("a", Some(later)).await.expect("resumes"));
    let (at, id) = (noon() + seconds(5), job().envelope.id);
    store.note_run("a", at, id).await.expect("notes");
    let row = found(&*second, "a").await;
    assert!(!row.paused);
    assert_eq!((row.next_fire_at, row.last_fire_at, row.last_job), (Some(later), Some(at), Some(id)));
    for name in ["b", "no \0 text"] {
        assert!(!store.pause_schedule(name).await.expect("answers"));
        assert!(!store.resume_schedule(name, None).await.expect("answers"));
        store.note_run(name, at, id).await.expect("ignores");
    }
}
