//! Inspection and control of schedules.

use std::{sync::Arc, time::Duration};

use orderworks_jobs::{
    Ambient, Consume, Job, JobContext, JobError, JobId, Timestamp,
    engine::QueueSpec,
    error::describe,
    job_store::{NewSchedule, Schedules, SqliteJobStore},
    records::{AttemptOutcome, AttemptRecord, RecordStore},
    schedule::{Missed, Schedule, ScheduleAdmin, ScheduleError, ScheduleInfo, Scheduler, Timing},
    sqlite::SqliteRecords,
    testing::MemoryEngine,
};

#[derive(serde::Serialize, serde::Deserialize)]
struct Sweep;

impl Job for Sweep {
    type Env = ();
    const KIND: &'static str = "sweep";

    fn unique_key(&self) -> Option<String> {
        Some("the one broom".to_owned())
    }

    async fn run(&self, _: &JobContext<()>) -> Result<(), JobError> {
        Ok(())
    }
}

fn at(text: &str) -> Timestamp {
    format!("2026-11-29T{text}Z").parse().expect("a time")
}

fn times<const N: usize>(texts: [&str; N]) -> Vec<Timestamp> {
    texts.map(at).to_vec()
}

async fn only(admin: &ScheduleAdmin<'_>) -> ScheduleInfo {
    admin.list().await.expect("lists").pop().expect("a schedule")
}

#[tokio::test]
async fn an_operator_sees_pauses_resumes_and_starts_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ambient, clock) = Ambient::steered(1, at("12:00:00"));
    let store = SqliteJobStore::open(&folder.path().join("jobs.db"), ambient.clone()).await.expect("opens");
    let records = SqliteRecords::open(&folder.path().join("records.db")).await.expect("opens");
    let engine = MemoryEngine::new(ambient.clone());
    engine.declare(&[QueueSpec::new("default")]).await.expect("declares");
    let admin = ScheduleAdmin { store: &store, engine: &engine, records: &records, ambient: &ambient };
    assert!(admin.list().await.expect("lists").is_empty());
    let unknown = admin.pause("sweep").await.expect_err("there is none").to_string();
    assert!(unknown.contains("`sweep`") && unknown.contains("none is stored"), "{unknown}");

    let timing = Timing::every(Duration::from_mins(10)).expect("an interval");
    let sweep = Schedule::new("sweep", &Sweep, timing).expect("a schedule");
    let mut scheduler =
        Scheduler::new(Arc::new(store.clone()), Arc::new(engine.clone()), "one", ambient.clone())
            .with(sweep)
            .expect("a name");
    assert!(scheduler.pass().await.expect("passes"));
    let found = only(&admin).await;
    assert_eq!(found.next, times(["12:10:00", "12:20:00", "12:30:00", "12:40:00", "12:50:00"]));
    assert_eq!((found.timing.as_str(), found.last_job, found.paused), ("every 600 s", None, false));
    let definition = found.definition.expect("is readable");
    assert_eq!((definition.kind.as_str(), definition.missed), ("sweep", Missed::Latest));

    admin.pause("sweep").await.expect("pauses");
    clock.advance(Duration::from_mins(25));
    assert!(scheduler.pass().await.expect("passes"));
    let found = only(&admin).await;
    assert!(found.paused && found.last_job.is_none());
    assert_eq!(found.next[..2], times(["12:30:00", "12:40:00"]), "those it would have");
    for _ in 0..2 {
        admin.resume("sweep").await.expect("resumes");
    }
    assert_eq!(only(&admin).await.next[0], at("12:30:00"), "missed in a pause, not made up for");

    let id = admin.run_now("sweep").await.expect("publishes");
    let error = admin.run_now("sweep").await.expect_err("the first run has not ended");
    assert!(matches!(&error, ScheduleError::Overlaps { job, .. } if *job == id), "{error}");
    records.append([attempt(id, &ambient)].into()).await.expect("appends");
    let found = only(&admin).await;
    assert_eq!((found.last_job, found.last_fire_at), (Some(id), Some(at("12:25:00"))));
    let last = found.last_attempt.expect("is recorded");
    assert_eq!((last.outcome, last.error.as_deref()), (AttemptOutcome::Retried, Some("dusty")));
    assert_eq!(found.next[0], at("12:30:00"), "the times stay");

    // The next run meets the one that has not ended, and names it.
    clock.advance(Duration::from_mins(5));
    assert!(scheduler.pass().await.expect("passes"));
    let found = only(&admin).await;
    assert_eq!((found.last_job, found.last_fire_at), (Some(id), Some(at("12:30:00"))));

    for verb in ["pause", "resume", "run"] {
        let error = match verb {
            "pause" => admin.pause("sweeps").await,
            "resume" => admin.resume("sweeps").await,
            _ => admin.run_now("sweeps").await.map(drop),
        };
        let error = error.expect_err("there is none").to_string();
        assert!(error.contains("`sweeps`") && error.contains("there are: sweep"), "{error}");
    }
}

#[tokio::test]
async fn a_schedule_that_cannot_be_read_is_listed_with_the_reason_and_holds_up_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ambient, clock) = Ambient::steered(1, at("12:00:00"));
    let store = SqliteJobStore::open(&folder.path().join("jobs.db"), ambient.clone()).await.expect("opens");
    let records = SqliteRecords::open(&folder.path().join("records.db")).await.expect("opens");
    let engine = MemoryEngine::new(ambient.clone());
    engine.declare(&[QueueSpec::new("default")]).await.expect("declares");
    let timing = Timing::every(Duration::from_mins(10)).expect("an interval");
    let sweep = Schedule::new("sweep", &Sweep, timing).expect("a schedule");
    let mut scheduler =
        Scheduler::new(Arc::new(store.clone()), Arc::new(engine.clone()), "one", ambient.clone())
            .with(sweep)
            .expect("a name");
    assert!(scheduler.pass().await.expect("passes"));
    let kept = store.find_schedule("sweep").await.expect("reads").expect("is there");
    let rows = ["martian", "sweep"].map(|name| NewSchedule {
        name: name.to_owned(),
        timing: match name {
            "sweep" => kept.timing.clone(),
            _ => r#"{"cron":"0 3 * * *","zone":"Mars/Utopia"}"#.to_owned(),
        },
        definition: kept.definition.clone(),
        paused: false,
        next_fire_at: Some(at("12:01:00")),
    });
    let fence = store.leader().await.expect("reads").fence;
    assert!(store.sync_schedules(fence, rows.to_vec()).await.expect("stores"));
    clock.advance(Duration::from_mins(10));
    assert!(scheduler.pass().await.expect("passes"));
    let admin = ScheduleAdmin { store: &store, engine: &engine, records: &records, ambient: &ambient };
    let listed = admin.list().await.expect("lists");
    let [martian, sweep] = listed.as_slice() else { panic!("two schedules: {listed:?}") };
    assert!(martian.error.as_ref().is_some_and(|why| why.contains("Mars/Utopia")), "{martian:?}");
    assert!(martian.next.is_empty() && martian.last_job.is_none());
    assert_eq!(sweep.last_fire_at, Some(at("12:10:00")));
    let error = admin.run_now("martian").await.expect_err("cannot be read");
    assert!(describe(&error).contains("Mars/Utopia"), "{error:?}");
}

fn attempt(job: JobId, ambient: &Ambient) -> AttemptRecord {
    AttemptRecord {
        job,
        kind: "sweep".to_owned(),
        queue: "default".to_owned(),
        subject: None,
        attempt: 1,
        worker: "w".to_owned(),
        created_at: ambient.now(),
        started_at: ambient.now(),
        duration: Duration::ZERO,
        outcome: AttemptOutcome::Retried,
        error: Some("dusty".to_owned()),
        trace: None,
    }
}
