//! Limits per key over two worker processes: `cargo run -p orderworks-jobs --example limits`.
//!
//! Imports of three tenants, at most two of each tenant at a time in both processes together, however many slots these
//! have. What finds its tenant's limit full waits outside, so that a tenant with many imports holds up no other.
#![expect(clippy::print_stdout, reason = "an example prints what happens")]

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use orderworks_jobs::{
    Ambient, CancellationToken, Consume, Job, JobContext, JobError, Producer, Registry, Workers,
    engine::QueueSpec,
    job_store::{LimitFilter, SharedLimits, SqliteJobStore},
    limits::Limit,
    sqlite::SqliteEngine,
};
use serde::{Deserialize, Serialize};

const IMPORTS: u32 = 18;

/// Collaborators of the runs.
#[derive(Clone)]
struct App {
    done: Arc<AtomicU32>,
    stop: CancellationToken,
}

#[derive(Serialize, Deserialize)]
struct Import {
    tenant: String,
    file: u32,
}

impl Job for Import {
    type Env = App;
    const KIND: &'static str = "import";

    async fn run(&self, ctx: &JobContext<App>) -> Result<(), JobError> {
        tokio::time::sleep(Duration::from_millis(200)).await;
        println!("  {}: file {}", self.tenant, self.file);
        if ctx.env.done.fetch_add(1, Ordering::Relaxed) + 1 == IMPORTS {
            ctx.env.stop.cancel();
        }
        Ok(())
    }
}

/// Workers of one process. The key of a limit is taken from the job; `None` would mean no limit for this one.
fn workers(
    engine: &Arc<SqliteEngine>,
    store: &Arc<SqliteJobStore>,
    app: &App,
    ambient: &Ambient,
) -> Result<Workers<App>, Box<dyn Error>> {
    let limit = Limit::concurrent("imports", 2)?; // or `Limit::rate("imports", 100, Duration::from_secs(1))`
    let registry =
        Registry::new().register::<Import>()?.limit(limit, |job: &Import| Some(job.tenant.clone()))?;
    Ok(Workers::new(engine.clone(), Arc::new(registry), app.clone(), ambient.clone())
        .queue("default", 8)
        .limiter(store.clone(), engine.clone()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (folder, ambient, stop) = (tempfile::tempdir()?, Ambient::system(), CancellationToken::new());
    let engine = Arc::new(SqliteEngine::open(&folder.path().join("queue.db"), ambient.clone()).await?);
    engine.declare(&[QueueSpec::new("default")]).await?;
    // The slots of the limits: a file of their own, or the job store of the RabbitMQ engine.
    let store = Arc::new(SqliteJobStore::open(&folder.path().join("jobs.db"), ambient.clone()).await?);
    let producer = Producer::new(engine.clone(), ambient.clone());
    for file in 0..IMPORTS {
        let tenant = ["large", "large", "large", "large", "small", "tiny"][file as usize % 6].to_owned();
        producer.enqueue(&Import { tenant, file }).await?;
    }

    let app = App { done: Arc::default(), stop: stop.clone() };
    let here = workers(&engine, &store, &app, &ambient)?.name("here").run(stop.clone());
    let there = workers(&engine, &store, &app, &ambient)?.name("there").run(stop.clone());
    let watch = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        for used in store.limits_in_use(&LimitFilter { most: 10, ..LimitFilter::default() }).await? {
            println!("{}: {} slots leased, {} imports parked", used.key, used.leased, used.parked);
        }
        Ok::<_, Box<dyn Error>>(())
    };
    let (here, there, watched) = tokio::join!(here, there, watch);
    here?;
    there?;
    watched
}
