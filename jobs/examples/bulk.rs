//! One change of many jobs, previewed, confirmed and recorded: `cargo run -p orderworks-jobs --example bulk`.
#![expect(clippy::print_stdout, reason = "an example prints what happens")]

use std::{error::Error, sync::Arc, time::Duration};

use orderworks_jobs::{
    Ambient, Consume, Job, JobContext, JobError, Producer,
    bulk::{BulkFilter, Items, JOBS, JobItems, OperationAdmin, OperationRunner, Plan, Verb},
    engine::QueueSpec,
    envelope::EnqueueOptions,
    job_store::SqliteJobStore,
    sqlite::SqliteEngine,
};

#[derive(serde::Serialize, serde::Deserialize)]
struct Remind {
    customer: u32,
}
impl Job for Remind {
    type Env = ();
    const KIND: &'static str = "remind";
    async fn run(&self, _: &JobContext<()>) -> Result<(), JobError> {
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (folder, ambient) = (tempfile::tempdir()?, Ambient::system());
    let engine = Arc::new(SqliteEngine::open(&folder.path().join("queue.db"), ambient.clone()).await?);
    engine.declare(&[QueueSpec::new("default")]).await?;
    let producer = Producer::new(engine.clone(), ambient.clone());
    let tomorrow = ambient.now() + Duration::from_hours(24);
    for customer in 0..250 {
        let options = EnqueueOptions { run_at: Some(tomorrow), ..EnqueueOptions::default() };
        producer.enqueue_with(&Remind { customer }, options).await?;
    }

    // The job store of the RabbitMQ engine, or a file beside that of the queue.
    let store = Arc::new(SqliteJobStore::open(&folder.path().join("jobs.db"), ambient.clone()).await?);
    let items: Vec<Arc<dyn Items>> = vec![Arc::new(JobItems::new(engine.clone()))];
    let admin = OperationAdmin { store: &*store, items: &items, ambient: &ambient };
    let filter = BulkFilter { kind: Some(Remind::KIND.to_owned()), ..BulkFilter::default() };
    let plan =
        Plan { filter, rate: 100, ..Plan::new(JOBS, Verb::Cancel, "ada", "the campaign was called off") };
    let previewed = admin.preview(plan).await?;
    println!("{}: {} jobs, each {}", previewed.id, previewed.counts.matched, previewed.effect);
    admin.confirm(previewed.id, None).await?;

    // Of the processes that spawn `OperationRunner::run`, one carries it out; here a pass a second by hand.
    let mut runner = OperationRunner::new(store.clone(), items.clone(), "example", ambient.clone());
    let mut second = tokio::time::interval(Duration::from_secs(1));
    while !admin.find(previewed.id).await?.state.is_ended() {
        second.tick().await;
        runner.pass().await?;
        println!("{} cancelled", admin.find(previewed.id).await?.counts.done);
    }
    Ok(())
}
