//! Fair share among tenants: `cargo run -p orderworks-jobs --example fair`.
#![expect(clippy::print_stdout, reason = "an example prints what happens")]

use std::{error::Error, sync::Arc};

use orderworks_jobs::{
    Ambient, CancellationToken, Consume, Job, JobContext, JobError, Producer, Registry, Workers,
    engine::{QueueSpec, Weights},
    sqlite::SqliteEngine,
};

#[derive(serde::Serialize, serde::Deserialize)]
struct Export {
    tenant: String,
    part: u32,
}

impl Job for Export {
    type Env = CancellationToken;
    const KIND: &'static str = "export";

    fn fair_key(&self) -> Option<String> {
        Some(self.tenant.clone())
    }

    async fn run(&self, ctx: &JobContext<CancellationToken>) -> Result<(), JobError> {
        println!("{} {}", self.tenant, self.part);
        if self.tenant == "small" {
            ctx.env.cancel();
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (folder, ambient, stop) = (tempfile::tempdir()?, Ambient::system(), CancellationToken::new());
    let engine = Arc::new(SqliteEngine::open(&folder.path().join("queue.db"), ambient.clone()).await?);
    // While both have jobs, `large` starts three where any other tenant starts one.
    let weights = Weights::equal().with("large", 3);
    engine.declare(&[QueueSpec::new("default").fair(weights.clone())]).await?;
    let producer = Producer::new(engine.clone(), ambient.clone());
    for part in 0..200 {
        producer.enqueue(&Export { tenant: "large".to_owned(), part }).await?;
    }
    // Published last, it starts among the first.
    producer.enqueue(&Export { tenant: "small".to_owned(), part: 0 }).await?;

    let registry = Arc::new(Registry::new().register::<Export>()?);
    let workers = Workers::new(engine, registry, stop.clone(), ambient).queue("default", 1);
    workers.fair("default", weights).run(stop).await?;
    Ok(())
}
