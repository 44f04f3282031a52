//! Two schedulers for days of their clocks.

use std::{collections::HashMap, sync::Arc, time::Duration};

use base::{
    postgres::PostgresConfig,
    testing::scratch::{self, Scratch},
};
use orderworks_jobs::{
    Ambient, JobId,
    job_store::{PostgresJobStore, Schedules},
    schedule::{Schedule, Timing},
};

use super::{Notebook, at, clock, folder, minutely, open, schedule, scheduler_over};

const START: &str = "2026-10-22T00:00:30Z";

fn schedules() -> [Schedule; 4] {
    [
        schedule("minutely", minutely()),
        schedule("odd", Timing::every(Duration::from_secs(90)).expect("an interval")),
        schedule("nightly", Timing::cron("30 2 * * *", "Europe/Berlin").expect("a timing")),
        schedule("hourly", Timing::cron("15 * * * *", "Europe/Berlin").expect("a timing")),
    ]
}

/// Two schedulers with clocks 30 seconds apart; one or the other is held up for minutes, dies, or is late.
async fn run(minutes: u64, open: impl AsyncFn() -> Arc<dyn Schedules>) {
    let (schedules, notebook) = (schedules(), Arc::new(Notebook::default()));
    let clocks = [clock(START, 0), clock(START, 30)];
    let chance = Ambient::steered(7, at(START)).0;
    let draw =
        |below: u64| u64::try_from(chance.jitter(Duration::from_nanos(below - 1)).as_nanos()).unwrap_or(0);
    let mut processes = Vec::new();
    for (ambient, _) in &clocks {
        processes.push(scheduler_over(open().await, &notebook, "at first", ambient, &schedules));
    }
    assert!(processes[0].pass().await.expect("passes"), "the first one leads");
    let (mut held_up, mut led) = ([0_u64; 2], [0_u64; 2]);
    for _ in 0..minutes {
        for (_, clock) in &clocks {
            clock.advance(Duration::from_mins(1));
        }
        let first = usize::from(draw(2) == 0);
        for n in [first, 1 - first] {
            let is_alone = held_up[1 - n] > 0;
            held_up[n] = held_up[n].saturating_sub(1);
            if held_up[n] > 0 {
                continue;
            }
            match draw(200) {
                0 if !is_alone => held_up[n] = 1 + draw(15),
                1 => {
                    let ambient = &clocks[n].0;
                    processes[n] = scheduler_over(open().await, &notebook, "again", ambient, &schedules);
                }
                _ => led[n] += u64::from(processes[n].pass().await.expect("passes")),
            }
        }
    }
    assert!(led.iter().all(|&passes| passes > minutes / 10), "both have led: {led:?}");
    let end = clocks[0].0.now() - Duration::from_mins(10);
    for schedule in &schedules {
        let times = schedule.timing().upcoming(at(START)).take_while(|time| *time <= end);
        let expected: Vec<JobId> = times.map(|time| schedule.run_id(time)).collect();
        let published = notebook.of(schedule.name());
        let mut count: HashMap<JobId, u32> = HashMap::new();
        for id in &published {
            *count.entry(*id).or_default() += 1;
        }
        assert!(count.values().all(|&times| times == 1), "{} ran twice", schedule.name());
        assert!(published.starts_with(&expected), "{} missed a run or changed their order", schedule.name());
    }
}

/// Seven days, over a change of the clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_schedulers_run_nothing_twice_and_miss_nothing() {
    let folder = folder();
    run(10_000, async || open(folder.path()).await as Arc<dyn Schedules>).await;
}

/// The same over a server, as behind `PgBouncer`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_schedulers_agree_behind_a_pooler() {
    if let Some(why) = scratch::skipped() {
        orderworks_jobs::conformance::skip(&why);
        return;
    }
    let scratch = Scratch::create().await;
    orderworks_jobs::postgres::migrate(&scratch.config()).await.expect("migrates");
    let config = PostgresConfig { pgbouncer: true, ..scratch.config() };
    let open = async || {
        let store = PostgresJobStore::open(&config, Ambient::system()).await.expect("opens");
        Arc::new(store) as Arc<dyn Schedules>
    };
    run(400, open).await;
}
