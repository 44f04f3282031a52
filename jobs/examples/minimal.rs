//! Publishes a job and runs it: `cargo run -p orderworks-jobs --example minimal [FILE]`.
#![expect(clippy::print_stdout, reason = "an example prints what happens")]

use std::{env, error::Error, path::PathBuf, sync::Arc};

use orderworks_jobs::{
    Ambient, CancellationToken, Engine, Job, JobContext, JobError, Producer, Registry, Workers,
    engine::QueueSpec, sqlite::SqliteEngine,
};

/// A task in Celery, a worker class in Sidekiq. Its fields are the arguments, stored as JSON.
#[derive(serde::Serialize, serde::Deserialize)]
struct Greet {
    name: String,
}

impl Job for Greet {
    type Env = CancellationToken; // what runs share: a database pool, a client; here the means to end the program
    const KIND: &'static str = "greet"; // stands in each message

    async fn run(&self, ctx: &JobContext<CancellationToken>) -> Result<(), JobError> {
        println!("hello {}, this is attempt {}", self.name, ctx.attempt);
        ctx.env.cancel();
        Ok(()) // an error by `?` would mean: again, later
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (folder, ambient, stop) = (tempfile::tempdir()?, Ambient::system(), CancellationToken::new());
    let file = env::args_os().nth(1).map_or_else(|| folder.path().join("queue.db"), PathBuf::from);
    let engine: Arc<dyn Engine> = Arc::new(SqliteEngine::open(&file, ambient.clone()).await?); // the broker
    engine.declare(&[QueueSpec::new("default")]).await?;
    Producer::new(engine.clone(), ambient.clone()).enqueue(&Greet { name: "Ada".into() }).await?;

    let registry = Arc::new(Registry::new().register::<Greet>()?);
    Workers::new(engine, registry, stop.clone(), ambient).queue("default", 4).run(stop).await?;
    Ok(())
}
