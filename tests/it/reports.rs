//! Reports of a job, as the commands show them: while it runs, after a cancel request, and after its end.

use std::{sync::Arc, time::Duration};

use base::Ambient;
use jobs::{
    CancellationToken, Engine, Job, JobContext, JobError, Producer, Registry, Reporter, Workers,
    job_store::SqliteJobStore, sqlite::SqliteEngine,
};
use serde_json::{Value, json};

use crate::util::{Dev, run, run_json, until};

#[derive(serde::Serialize, serde::Deserialize)]
struct Import;

impl Job for Import {
    type Env = ();
    const KIND: &'static str = "import";
    const QUEUE: &'static str = "imports";

    async fn run(&self, ctx: &JobContext<()>) -> Result<(), JobError> {
        ctx.progress(40, "two of five \u{1b}[31mfiles");
        ctx.log("file one read");
        ctx.set_result(&json!({ "rows": 7 }))?;
        let why = ctx.signal.stopped().await;
        ctx.log(format_args!("stopped: {why:?}"));
        Err(JobError::retry("stopped"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_job_is_shown_with_its_reports_and_hears_of_its_cancelling() {
    let data = tempfile::tempdir().expect("a folder");
    let folder = data.path();
    assert!(Dev::start(folder).await.stop().await.success());
    assert_eq!(run_json(folder, &["inspect", "running"]).await, json!([]));

    let ambient = Ambient::system();
    let store = SqliteJobStore::open(&folder.join("jobs.db"), ambient.clone()).await.expect("opens");
    let engine = SqliteEngine::open(&folder.join("queue.db"), ambient.clone()).await.expect("opens");
    let engine: Arc<dyn Engine> = Arc::new(engine);
    let reporter = Reporter::spawn(Arc::new(store), "importer", Duration::from_hours(1), ambient.clone());
    let registry = Arc::new(Registry::new().register::<Import>().expect("registers"));
    let workers = Workers::new(engine.clone(), registry, (), ambient.clone());
    let workers = workers.queue(Import::QUEUE, 1).reporter(reporter.clone());
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(workers.run(shutdown.clone()));
    until(folder, &["inspect", "workers"], |workers| workers.as_array().is_some_and(|all| !all.is_empty()))
        .await;
    let id = Producer::new(engine, ambient).enqueue(&Import).await.expect("publishes").id.to_string();

    let reports = |listed: &Value| listed[0]["report"]["progress"]["percent"] == 40;
    let listed = until(folder, &["inspect", "running", "--queue", "imports"], reports).await;
    assert_eq!((&listed[0]["envelope"]["id"], &listed[0]["state"]), (&json!(id), &json!("running")));
    assert_eq!(listed[0]["report"]["worker"], "importer", "{listed}");
    let (ok, out, _) = run(folder, &["inspect", "running", "--kind", "import"]).await;
    assert!(ok && out.contains("importer") && out.contains("40 %") && out.contains("two of five"), "{out}");
    assert!(!out.contains('\u{1b}'), "{out}");
    let (ok, out, _) = run(folder, &["inspect", "job", &id]).await;
    let shown = ["progress    40 % two of five", "file one read", "result      {\"rows\":7}", "goes on"];
    assert!(ok && shown.into_iter().all(|text| out.contains(text)), "{out}");
    let (ok, _, err) = run(folder, &["inspect", "running", "--queue", "imprints"]).await;
    assert!(!ok && err.contains("no queue imprints"), "{err}");

    let cancelled = run_json(folder, &["control", "cancel", &id]).await;
    assert_eq!(cancelled["result"], "cancel_requested", "{cancelled}");
    let ended = |job: &Value| !job["report"]["ended_at"].is_null();
    let job = until(folder, &["inspect", "job", &id], ended).await;
    let report = &job["report"];
    assert_eq!((&report["result"], &report["attempt"]), (&json!({ "rows": 7 }), &json!(1)), "{job}");
    assert_eq!(report["log"][1]["text"], "stopped: Cancelled", "{job}");
    until(folder, &["inspect", "running"], |listed| *listed == json!([])).await;

    shutdown.cancel();
    running.await.expect("no panic").expect("stops in order");
    reporter.close().await;
    assert_eq!(reporter.dropped(), 0);
}
