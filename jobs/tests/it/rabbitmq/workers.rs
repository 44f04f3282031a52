//! Workers on a real broker: a lost connection, and a job that the broker would take away.

use std::{sync::Arc, time::Duration};

use base::{Ambient, testing::Proxy};
use orderworks_jobs::{
    Admin, CancellationToken, Engine, Job, JobContext, JobError, Registry, Workers,
    conformance::Harness,
    job_store::SqliteJobStore,
    rabbitmq::{RabbitEngine, RabbitServer},
};
use tokio::sync::watch;

use super::{PATIENCE, RECOVERY, RabbitHarness, until};
use crate::{
    util::broker::{self, Vhost, needs_broker},
    worker::{
        gate::Process,
        limits::{
            processes::a_limit_holds_while_processes_are_paused_and_killed,
            shared::{
                a_hanging_key_holds_up_no_other, holds_over_two_processes,
                slots_of_a_dead_process_go_to_others,
            },
        },
        reports::are_seen_live,
        resize::resizes_while_it_runs,
        rig::{Act, Event},
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_outlives_its_consumer_and_its_late_outcome_is_refused() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let proxy = Proxy::start(broker::address()).await;
    let engine = harness.by(proxy.port).await;
    let shared: Arc<dyn Engine> = Arc::new(engine.clone());
    let mut here = Process::start(shared, "here", watch::channel(true).1).await;
    let id = here.enqueue("slow", Act::Gate).await;
    let started = Event::Started { name: "slow".to_owned(), attempt: 1 };
    let finished = Event::Finished { name: "slow".to_owned() };
    assert_eq!(here.event().await, started);
    proxy.set_accepting(false);
    proxy.cut();
    let health = || here.health.queues().remove(0);
    until("trouble shows", PATIENCE, || async { health().trouble.is_some() }).await;
    assert_eq!((health().running, health().consumer.is_none()), (1, true), "the run continues");
    proxy.set_accepting(true);
    until("it consumes again", RECOVERY, || async { here.health.is_ready() }).await;
    until("it publishes again", RECOVERY, || async { engine.publish_trouble().is_none() }).await;
    // Delivered again, it waits for the first run; another job starts in the other slot.
    here.enqueue("other", Act::Finish).await;
    assert_eq!(here.event().await, Event::Started { name: "other".to_owned(), attempt: 1 });
    assert_eq!(here.event().await, Event::Finished { name: "other".to_owned() });
    here.probe.gate.add_permits(1);
    assert_eq!(here.event().await, finished);
    assert_eq!(here.event().await, started);
    until("the first run has ended", RECOVERY, || async { here.health.queues()[0].running == 1 }).await;
    assert!(
        engine.find(id).await.expect("finds").is_some(),
        "the outcome of the lost delivery had no effect"
    );
    here.probe.gate.add_permits(1);
    assert_eq!(here.event().await, finished);
    until("it is done", RECOVERY, || async { engine.find(id).await.expect("finds").is_none() }).await;
    assert!(here.health.queues()[0].restarts >= 1);
    here.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_are_seen_live_and_a_cancel_request_reaches_the_code() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let file = harness.folder.path().join("jobs.db");
    let store = SqliteJobStore::open(&file, Ambient::system()).await.expect("opens");
    are_seen_live(harness.engine(), harness.second().await, Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_is_resized_while_it_runs() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let file = harness.folder.path().join("jobs.db");
    let store = SqliteJobStore::open(&file, Ambient::system()).await.expect("opens");
    resizes_while_it_runs(harness.engine(), harness.second().await, Arc::new(store)).await;
}

/// The job store of a harness, as its engines have it.
async fn store_of(harness: &RabbitHarness) -> Arc<SqliteJobStore> {
    let file = harness.folder.path().join("jobs.db");
    Arc::new(SqliteJobStore::open(&file, Ambient::system()).await.expect("opens"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_holds_over_two_processes() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    holds_over_two_processes(harness.engine(), harness.second().await, store_of(&harness).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_holds_over_processes_that_are_paused_and_killed() {
    needs_broker!();
    let (folder, vhost) = (tempfile::tempdir().expect("a folder"), Vhost::create().await);
    a_limit_holds_while_processes_are_paused_and_killed(folder.path(), Some(&vhost.url())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_key_leaves_the_queue_to_others() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    a_hanging_key_holds_up_no_other(harness.engine(), store_of(&harness).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_of_a_killed_process_are_free_after_their_lease() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let second = harness.second().await;
    slots_of_a_dead_process_go_to_others(harness.engine(), second, store_of(&harness).await).await;
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Import;

impl Job for Import {
    type Env = ();
    const KIND: &'static str = "import";
    const TIMEOUT: Duration = Duration::from_mins(26);

    async fn run(&self, _ctx: &JobContext<()>) -> Result<(), JobError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_job_that_the_broker_would_take_away_is_refused_at_start() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ambient = Ambient::system();
    let store = SqliteJobStore::open(&folder.path().join("jobs.db"), ambient.clone()).await.expect("opens");
    // Without a broker: the refusal needs none.
    let server = RabbitServer::at("amqp://guest:guest@127.0.0.1:1/%2f");
    let engine = RabbitEngine::new(server, "test", Arc::new(store), ambient.clone()).expect("a good address");
    let registry = Arc::new(Registry::new().register::<Import>().expect("registers"));
    let workers = Workers::new(Arc::new(engine), registry, (), ambient).queue("default", 1);
    let error = workers.run(CancellationToken::new()).await.expect_err("refused").to_string();
    let told = ["`import`", "TIMEOUT of 1560s", "1500s at most"];
    assert!(told.into_iter().all(|text| error.contains(text)), "{error}");
}
