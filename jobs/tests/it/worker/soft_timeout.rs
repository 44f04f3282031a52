//! The soft time-out: a run hears of it, and what it makes of it counts.

use std::time::Duration;

use orderworks_jobs::{
    Job, JobContext, JobError,
    engine::{Interrupt, JobSignal, Settlement},
    testing::{TestRun, run_one},
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

#[derive(Serialize, Deserialize)]
enum Import {
    /// Ends when it hears of the soft time-out.
    Returns,
    /// Goes on after it, until it is told to stop.
    GoesOn,
    Ignores,
}

impl Job for Import {
    type Env = ();
    const KIND: &'static str = "import";
    const TIMEOUT: Duration = Duration::from_mins(1);
    const SOFT_TIMEOUT: Option<Duration> = Some(Duration::from_secs(50));

    async fn run(&self, ctx: &JobContext<()>) -> Result<(), JobError> {
        let began = Instant::now();
        let why = ctx.signal.fired().await;
        match self {
            Self::Returns => Err(JobError::retry(format!("{why:?} after {} s", began.elapsed().as_secs()))),
            Self::GoesOn => Err(JobError::retry(format!("{:?}", ctx.signal.stopped().await))),
            Self::Ignores => std::future::pending().await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_hears_of_its_soft_timeout_before_it_is_dropped() {
    let returned = run_one(&Import::Returns, ()).await;
    assert!(
        matches!(&returned, Settlement::Retry { error, .. } if error == "SoftTimeout after 50 s"),
        "{returned:?}"
    );
    let ignored = run_one(&Import::Ignores, ()).await;
    assert!(
        matches!(&ignored, Settlement::Retry { error, .. } if error == "timed out after 60s"),
        "{ignored:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_cancel_request_after_the_soft_timeout_counts() {
    for (why, wanted) in [
        (Interrupt::Cancelled, Settlement::Cancelled { error: "Cancelled".to_owned() }),
        (Interrupt::Shutdown, Settlement::Release),
    ] {
        let signal = JobSignal::default();
        let told = async {
            assert_eq!(signal.fired().await, Interrupt::SoftTimeout);
            signal.fire(why);
            assert_eq!((signal.fired().await, signal.interrupt()), (why, Some(why)));
            signal.fire(Interrupt::SoftTimeout);
            assert_eq!(signal.interrupt(), Some(why), "it is the weakest reason");
        };
        let run = TestRun::new(&Import::GoesOn, ()).signal(signal.clone()).run();
        let (settled, ()) = tokio::join!(run, told);
        assert_eq!(settled, wanted);
    }
}
