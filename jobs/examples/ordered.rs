//! Strict order per key: `cargo run -p orderworks-jobs --example ordered`.
#![expect(clippy::print_stdout, reason = "an example prints what happens")]

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use orderworks_jobs::{
    Ambient, Backoff, CancellationToken, Consume, Job, JobContext, JobError, Producer, Registry, Workers,
    engine::QueueSpec, sqlite::SqliteEngine,
};

const STEPS: usize = 5;
const ACCOUNTS: [&str; 2] = ["ada", "grace"];

/// A step of the history of an account, of no use before the one that was published earlier.
#[derive(serde::Serialize, serde::Deserialize)]
struct Apply {
    account: String,
    step: usize,
}

#[derive(Clone)]
struct Progress {
    ended: Arc<AtomicUsize>,
    stop: CancellationToken,
}

impl Job for Apply {
    type Env = Progress;
    const KIND: &'static str = "apply";
    const BACKOFF: Backoff = Backoff::Table(&[Duration::from_millis(300)]);

    fn order_key(&self) -> Option<String> {
        Some(self.account.clone())
    }

    async fn run(&self, ctx: &JobContext<Progress>) -> Result<(), JobError> {
        if self.account == "ada" && self.step == 1 && ctx.attempt == 1 {
            println!("{} {} fails: its next steps wait for the retry", self.account, self.step);
            return Err(JobError::retry("the account is locked"));
        }
        println!("{} {}", self.account, self.step);
        if ctx.env.ended.fetch_add(1, Ordering::SeqCst) + 1 == STEPS * ACCOUNTS.len() {
            ctx.env.stop.cancel();
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (folder, ambient, stop) = (tempfile::tempdir()?, Ambient::system(), CancellationToken::new());
    let engine = Arc::new(SqliteEngine::open(&folder.path().join("queue.db"), ambient.clone()).await?);
    engine.declare(&[QueueSpec::new("default")]).await?;
    let producer = Producer::new(engine.clone(), ambient.clone());
    for step in 0..STEPS {
        for account in ACCOUNTS {
            producer.enqueue(&Apply { account: account.to_owned(), step }).await?;
        }
    }

    let registry = Arc::new(Registry::new().register::<Apply>()?);
    let progress = Progress { ended: Arc::default(), stop: stop.clone() };
    // Eight slots, of which each account uses one at a time.
    Workers::new(engine, registry, progress, ambient).queue("default", 8).run(stop).await?;
    Ok(())
}
