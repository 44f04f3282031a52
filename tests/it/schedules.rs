//! Commands on schedules, over the data folder of a deployment.

use std::{path::Path, sync::Arc, time::Duration};

use base::Ambient;
use jobs::{
    Job, JobContext, JobError,
    job_store::SqliteJobStore,
    schedule::{Schedule, Scheduler, Timing},
    sqlite::SqliteEngine,
};
use serde_json::Value;

use crate::util::{Dev, PATIENCE, run, run_json};

/// Schedules of a server over files.
const HOUSEKEEPING: &str =
    "audit_changes, delete_expired, drop_dead_jobs, expire_orders, expire_reservations";

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
    assert!(housekeeping_runs(folder).await.stop().await.success());
    let (ok, _, err) = run(folder, &["control", "run-schedule", "nightly"]).await;
    assert!(!ok && err.contains("`nightly`") && err.contains(&format!("there are: {HOUSEKEEPING}")), "{err}");

    let ambient = Ambient::system();
    let store = SqliteJobStore::open(&folder.join("jobs.db"), ambient.clone()).await.expect("opens");
    let engine = SqliteEngine::open(&folder.join("queue.db"), ambient.clone()).await.expect("opens");
    let timing = Timing::cron("0 3 * * *", "Europe/Berlin").expect("a timing");
    let nightly = Schedule::new("nightly", &Digest, timing).expect("a schedule");
    let scheduler = Scheduler::new(Arc::new(store), Arc::new(engine), "test", ambient).with(nightly);
    assert!(scheduler.expect("a name").pass().await.expect("passes"));

    let listed = run_json(folder, &["inspect", "schedules"]).await;
    let schedule = named(&listed, "nightly");
    assert_eq!(named(&listed, "expire_orders")["orphaned"], true, "this leader does not have it: {listed}");
    assert_eq!((&schedule["name"], &schedule["paused"]), (&"nightly".into(), &false.into()), "{listed}");
    assert_eq!(schedule["next"].as_array().map(Vec::len), Some(5), "{listed}");
    assert_eq!(schedule["definition"]["kind"], "digest", "{listed}");
    for (verb, paused, state) in [("pause-schedule", true, "paused"), ("resume-schedule", false, "active")] {
        let answer = run_json(folder, &["control", verb, "nightly"]).await;
        assert_eq!((&answer["schedule"], &answer["paused"]), (&"nightly".into(), &paused.into()), "{answer}");
        let (ok, out, _) = run(folder, &["inspect", "schedules"]).await;
        assert!(ok && out.starts_with("NAME") && out.contains(state), "{out}");
        let (ok, _, err) = run(folder, &["control", verb, "weekly"]).await;
        assert!(
            !ok && err.contains("`weekly`") && err.contains(&format!("there are: {HOUSEKEEPING}, nightly")),
            "{err}"
        );
    }
    let job = run_json(folder, &["control", "run-schedule", "nightly"]).await;
    let id = job["job"].as_str().expect("an id");
    let held = run_json(folder, &["inspect", "job", id]).await;
    assert_eq!(
        (&held["held"]["state"], &held["held"]["envelope"]["queue"]),
        (&"ready".into(), &"email".into())
    );
    let listed = run_json(folder, &["inspect", "schedules"]).await;
    assert_eq!(named(&listed, "nightly")["last_job"], id);
}

fn named<'a>(listed: &'a Value, name: &str) -> &'a Value {
    let listed = listed.as_array().expect("a list");
    listed.iter().find(|schedule| schedule["name"] == name).expect("is listed")
}

/// A server over this folder that has stored its own schedules and run one of them on request.
async fn housekeeping_runs(folder: &Path) -> Dev {
    let dev = Dev::start(folder).await;
    let asking = async {
        // The schedules are stored once the scheduler leads.
        while !run(folder, &["control", "run-schedule", "delete_expired"]).await.0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        loop {
            let listed = run_json(folder, &["inspect", "schedules"]).await;
            if named(&listed, "delete_expired")["last_attempt"]["outcome"] == "completed" {
                return listed;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let listed = tokio::time::timeout(PATIENCE, asking).await.expect("runs in time");
    let names: Vec<_> = listed.as_array().expect("a list").iter().map(|its| its["name"].as_str()).collect();
    assert_eq!(names.into_iter().flatten().collect::<Vec<_>>().join(", "), HOUSEKEEPING);
    assert_eq!(named(&listed, "audit_changes")["timing"], "every 900 s", "{listed}");
    dev
}
