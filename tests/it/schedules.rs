//! Commands on schedules, over the data folder of a deployment.

use std::sync::Arc;

use base::Ambient;
use jobs::{
    Job, JobContext, JobError,
    job_store::SqliteJobStore,
    schedule::{Schedule, Scheduler, Timing},
    sqlite::SqliteEngine,
};

use crate::util::{Dev, run, run_json};

#[derive(serde::Serialize, serde::Deserialize)]
struct Digest;

impl Job for Digest {
    type Env = ();
    const KIND: &'static str = "digest";
    const QUEUE: &'static str = "email";

    async fn run(&self, _: &JobContext<()>) -> Result<(), JobError> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schedules_are_listed_paused_resumed_and_run() {
    let data = tempfile::tempdir().expect("a folder");
    let folder = data.path();
    assert!(Dev::start(folder).await.stop().await.success());
    let (ok, _, err) = run(folder, &["control", "run-schedule", "nightly"]).await;
    assert!(!ok && err.contains("`nightly`") && err.contains("none is stored"), "{err}");

    let ambient = Ambient::system();
    let store = SqliteJobStore::open(&folder.join("jobs.db"), ambient.clone()).await.expect("opens");
    let engine = SqliteEngine::open(&folder.join("queue.db"), ambient.clone()).await.expect("opens");
    let timing = Timing::cron("0 3 * * *", "Europe/Berlin").expect("a timing");
    let nightly = Schedule::new("nightly", &Digest, timing).expect("a schedule");
    let scheduler = Scheduler::new(Arc::new(store), Arc::new(engine), "test", ambient).with(nightly);
    assert!(scheduler.expect("a name").pass().await.expect("passes"));

    let listed = run_json(folder, &["inspect", "schedules"]).await;
    let schedule = &listed[0];
    assert_eq!((&schedule["name"], &schedule["paused"]), (&"nightly".into(), &false.into()), "{listed}");
    assert_eq!(schedule["next"].as_array().map(Vec::len), Some(5), "{listed}");
    assert_eq!(schedule["definition"]["kind"], "digest", "{listed}");
    for (verb, paused, state) in [("pause-schedule", true, "paused"), ("resume-schedule", false, "active")] {
        let answer = run_json(folder, &["control", verb, "nightly"]).await;
        assert_eq!((&answer["schedule"], &answer["paused"]), (&"nightly".into(), &paused.into()), "{answer}");
        let (ok, out, _) = run(folder, &["inspect", "schedules"]).await;
        assert!(ok && out.starts_with("NAME") && out.contains(state), "{out}");
        let (ok, _, err) = run(folder, &["control", verb, "weekly"]).await;
        assert!(!ok && err.contains("`weekly`") && err.contains("there are: nightly"), "{err}");
    }
    let job = run_json(folder, &["control", "run-schedule", "nightly"]).await;
    let id = job["job"].as_str().expect("an id");
    let held = run_json(folder, &["inspect", "job", id]).await;
    assert_eq!(
        (&held["held"]["state"], &held["held"]["envelope"]["queue"]),
        (&"ready".into(), &"email".into())
    );
    assert_eq!(run_json(folder, &["inspect", "schedules"]).await[0]["last_job"], id);
}
