//! Schedulers over one job store, on clocks that the tests move, against an engine that notes what it is given.

mod long_run;

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use orderworks_jobs::{
    Ambient, CancellationToken, Envelope, ErrorClass, Job, JobContext, JobError, JobId, ManualClock, Publish,
    Timestamp,
    engine::{Capabilities, EngineError, EngineInfo, Published},
    job_store::{Schedules, SqliteJobStore},
    schedule::{LEASE, Missed, Schedule, Scheduler, Timing},
};
use parking_lot::Mutex;
use tokio::sync::oneshot;

#[derive(serde::Serialize, serde::Deserialize)]
struct Sweep {
    shelf: String,
}

impl Job for Sweep {
    type Env = ();
    const KIND: &'static str = "sweep";
    fn subject(&self) -> Option<String> {
        Some(self.shelf.clone())
    }
    async fn run(&self, _: &JobContext<()>) -> Result<(), JobError> {
        Ok(())
    }
}

/// An engine that notes each publish.
#[derive(Default)]
struct Notebook {
    /// Name of the schedule and id, in order.
    published: Mutex<Vec<(String, JobId)>>,
    /// Tells that a publish has begun, and holds it up until it may go on.
    hold: Mutex<Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>>,
    /// Fails the publishes of a schedule with this class.
    failing: Mutex<Option<(String, ErrorClass)>>,
}

impl EngineInfo for Notebook {
    fn name(&self) -> &'static str {
        "notebook"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::FULL
    }
}

#[async_trait]
impl Publish for Notebook {
    async fn publish(&self, envelopes: Vec<Envelope>) -> Result<Vec<Published>, EngineError> {
        let hold = self.hold.lock().take();
        if let Some((begun, go_on)) = hold {
            begun.send(()).expect("the test waits");
            go_on.await.expect("the test goes on");
        }
        let runs = envelopes.into_iter().map(|job| (job.subject.expect("a shelf"), job.id));
        let runs: Vec<_> = runs.collect();
        if let Some((name, class)) = &*self.failing.lock()
            && runs.iter().any(|(run, _)| run == name)
        {
            return Err(EngineError::new(*class, "notebook", "the pencil is broken"));
        }
        let results = vec![Published::Accepted; runs.len()];
        self.published.lock().extend(runs);
        Ok(results)
    }
}

impl Notebook {
    fn of(&self, name: &str) -> Vec<JobId> {
        self.published.lock().iter().filter(|(of, _)| of == name).map(|(_, id)| *id).collect()
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn minutely() -> Timing {
    Timing::every(Duration::from_mins(1)).expect("an interval")
}

fn schedule(name: &str, timing: Timing) -> Schedule {
    let schedule = Schedule::new(name, &Sweep { shelf: name.to_owned() }, timing).expect("a schedule");
    schedule.missed(Missed::All(10)).expect("a number of runs")
}

async fn open(folder: &Path) -> Arc<SqliteJobStore> {
    Arc::new(SqliteJobStore::open(&folder.join("jobs.db"), Ambient::system()).await.expect("opens"))
}

/// A scheduler of a process of its own.
async fn scheduler(
    folder: &Path,
    notebook: &Arc<Notebook>,
    name: &str,
    ambient: &Ambient,
    schedules: &[Schedule],
) -> Scheduler {
    scheduler_over(open(folder).await, notebook, name, ambient, schedules)
}

fn scheduler_over(
    store: Arc<dyn Schedules>,
    notebook: &Arc<Notebook>,
    name: &str,
    ambient: &Ambient,
    schedules: &[Schedule],
) -> Scheduler {
    let scheduler = Scheduler::new(store, notebook.clone(), name, ambient.clone());
    schedules.iter().cloned().try_fold(scheduler, Scheduler::with).expect("distinct names")
}

fn clock(start: &str, ahead: u64) -> (Ambient, ManualClock) {
    Ambient::steered(ahead, at(start) + Duration::from_secs(ahead))
}

/// A folder in memory where there is one: these tests commit tens of thousands of times.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a folder")
}

/// A leader that is held up in a publish until another one leads publishes nothing more and moves nothing on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_held_up_past_its_lease_changes_nothing() {
    const START: &str = "2026-11-29T12:00:10Z";
    let (folder, notebook) = (folder(), Arc::new(Notebook::default()));
    let schedules = ["a", "b"].map(|name| schedule(name, minutely()));
    let (ambient, clock) = clock(START, 0);
    let mut one = scheduler(folder.path(), &notebook, "one", &ambient, &schedules).await;
    let mut two = scheduler(folder.path(), &notebook, "two", &ambient, &schedules).await;
    assert!(one.pass().await.expect("passes") && !two.pass().await.expect("passes"));
    clock.advance(Duration::from_mins(1));
    let ((begun, has_begun), (go_on, may_go_on)) = (oneshot::channel(), oneshot::channel());
    *notebook.hold.lock() = Some((begun, may_go_on));
    let held_up = tokio::spawn(async move { one.pass().await });
    has_begun.await.expect("publishes");
    assert!(!two.pass().await.expect("passes"), "the leader was seen to live");
    clock.advance(LEASE);
    assert!(two.pass().await.expect("passes"), "the leader was silent");
    let first = |n: usize| [schedules[n].run_id(at("2026-11-29T12:01:00Z"))];
    assert_eq!((notebook.of("a"), notebook.of("b")), (first(0).to_vec(), first(1).to_vec()));
    clock.advance(Duration::from_secs(30));
    assert!(two.pass().await.expect("passes"));
    let store = open(folder.path()).await;
    let rows = store.schedules().await.expect("lists");
    go_on.send(()).expect("is held up");
    assert!(!held_up.await.expect("ends").expect("passes"), "it leads no more");
    assert_eq!(store.schedules().await.expect("lists"), rows);
    let (a, b) = (notebook.of("a"), notebook.of("b"));
    assert_eq!((a.len(), b.len()), (3, 2), "what was on its way, and no more");
    assert_eq!(a[2], a[0], "under the id that it had");
}

/// A leader that was replaced before it publishes does not publish.
#[tokio::test]
async fn a_replaced_leader_publishes_nothing() {
    const START: &str = "2026-11-29T12:00:58Z";
    let (folder, notebook) = (folder(), Arc::new(Notebook::default()));
    let schedules = [schedule("a", minutely())];
    let (ambient, clock) = clock(START, 0);
    let mut one = scheduler(folder.path(), &notebook, "one", &ambient, &schedules).await;
    assert!(one.pass().await.expect("passes"));
    let store = open(folder.path()).await;
    // Its lead is fresh enough not to be confirmed at the begin of the pass.
    let seen = store.leader().await.expect("reads");
    store.take_lead("two", &seen).await.expect("answers").expect("takes the lead");
    let due = store.find_schedule("a").await.expect("reads").and_then(|row| row.next_fire_at);
    assert_eq!(due, Some(at("2026-11-29T12:01:00Z")));
    clock.advance(Duration::from_secs(3));
    assert!(!one.pass().await.expect("passes"));
    assert!(notebook.of("a").is_empty());
}

/// While the engine is away runs wait; what one schedule cannot publish holds up no other.
#[tokio::test]
async fn a_failing_engine_delays_runs_and_loses_none() {
    const START: &str = "2026-11-29T12:00:10Z";
    let (folder, notebook) = (folder(), Arc::new(Notebook::default()));
    let schedules = ["a", "b"].map(|name| schedule(name, minutely()));
    let (ambient, clock) = clock(START, 0);
    let mut one = scheduler(folder.path(), &notebook, "one", &ambient, &schedules).await;
    assert!(one.pass().await.expect("passes"));
    *notebook.failing.lock() = Some(("a".to_owned(), ErrorClass::Unavailable));
    for _ in 0..5 {
        clock.advance(Duration::from_mins(1));
        one.pass().await.expect_err("the engine is away");
    }
    assert!(notebook.published.lock().is_empty());
    *notebook.failing.lock() = Some(("a".to_owned(), ErrorClass::Defect));
    assert!(one.pass().await.expect("passes"));
    assert_eq!((notebook.of("a").len(), notebook.of("b").len()), (0, 5));
    *notebook.failing.lock() = None;
    assert!(one.pass().await.expect("passes"));
    assert!(notebook.of("a").is_empty(), "put aside for a while");
    clock.advance(Duration::from_mins(1));
    assert!(one.pass().await.expect("passes"));
    assert_eq!((notebook.of("a").len(), notebook.of("b").len()), (6, 6));
}

/// A scheduler that stops leaves the lead, so the next one need not wait; what it had and the next has not is orphaned.
#[tokio::test]
async fn a_stopped_scheduler_leaves_the_lead_at_once() {
    let (folder, notebook) = (folder(), Arc::new(Notebook::default()));
    let ambient = Ambient::system();
    let old = [schedule("kept", minutely()), schedule("dropped", minutely())];
    let one = scheduler(folder.path(), &notebook, "one", &ambient, &old).await;
    let mut two = scheduler(folder.path(), &notebook, "two", &ambient, &old[..1]).await;
    let (store, stop) = (open(folder.path()).await, CancellationToken::new());
    let runs = tokio::spawn(one.run(stop.clone()));
    let led = tokio::time::timeout(Duration::from_secs(10), async {
        while store.schedules().await.expect("lists").is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    led.await.expect("leads in time");
    assert!(!two.pass().await.expect("passes"));
    stop.cancel();
    runs.await.expect("ends");
    assert!(two.pass().await.expect("passes"), "without waiting");
    let orphaned: Vec<bool> =
        store.schedules().await.expect("lists").iter().map(|row| row.orphaned).collect();
    assert_eq!(orphaned, [true, false], "dropped, kept");
    assert_eq!(store.leader().await.expect("reads").holder.as_deref(), Some("two"));
}
