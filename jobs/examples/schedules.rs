//! Jobs by the clock, in SQLite files, without a server: `cargo run -p orderworks-jobs --example schedules`.
//!
//! A schedule every second, and one at night in Berlin that is paused, resumed and run now. Celery's beat must run
//! once; here every process may have a scheduler, and one of them leads.
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
    Ambient, CancellationToken, Consume, Job, JobContext, JobError, Registry, Workers,
    engine::QueueSpec,
    job_store::SqliteJobStore,
    schedule::{Missed, Schedule, ScheduleAdmin, Scheduler, Timing},
    sqlite::SqliteEngine,
};
use serde::{Deserialize, Serialize};

/// Collaborators of the runs.
#[derive(Clone)]
struct App {
    runs: Arc<AtomicU32>,
    stop: CancellationToken,
}

#[derive(Serialize, Deserialize)]
struct Report {
    of: String,
}

impl Job for Report {
    type Env = App;
    const KIND: &'static str = "report";

    /// A run is left out while the last one of the same report waits or runs.
    fn unique_key(&self) -> Option<String> {
        Some(self.of.clone())
    }

    async fn run(&self, ctx: &JobContext<App>) -> Result<(), JobError> {
        println!("  report of {}, {}", self.of, ctx.id);
        if ctx.env.runs.fetch_add(1, Ordering::Relaxed) == 2 {
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
    // The rows of the schedules: a file of their own, or the job store of the RabbitMQ engine.
    let store = Arc::new(SqliteJobStore::open(&folder.path().join("jobs.db"), ambient.clone()).await?);

    let second = Report { of: "the second".to_owned() };
    let second = Schedule::new("second", &second, Timing::every(Duration::from_secs(1))?)?;
    let night = Report { of: "the night".to_owned() };
    let night = Schedule::new("night", &night, Timing::cron("30 2 * * *", "Europe/Berlin")?)?;
    let mut scheduler = Scheduler::new(store.clone(), engine.clone(), "example", ambient.clone())
        .with(second.missed(Missed::Skip)?)?
        .with(night)?;
    // `run` does this every second; once by hand, so that the schedules are stored before they are listed.
    scheduler.pass().await?;
    let scheduler = tokio::spawn(scheduler.run(stop.clone()));

    let records = engine.records();
    let admin = ScheduleAdmin { store: &*store, engine: &*engine, records: &records, ambient: &ambient };
    for schedule in admin.list().await? {
        println!("{}: {}", schedule.name, schedule.timing);
        for at in schedule.next {
            println!("  {at}");
        }
    }
    admin.pause("night").await?;
    println!("{}", admin.resume("knight").await.err().map_or_else(String::new, |error| error.to_string()));
    admin.resume("night").await?;
    println!("run now: {}", admin.run_now("night").await?);

    let app = App { runs: Arc::default(), stop: stop.clone() };
    let registry = Arc::new(Registry::new().register::<Report>()?);
    Workers::new(engine.clone(), registry, app, ambient.clone()).queue("default", 4).run(stop).await?;
    scheduler.await?;
    Ok(())
}
