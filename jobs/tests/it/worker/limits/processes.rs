//! A limit over real processes, of which one is paused past its lease and another is killed, as a witness outside of
//! them counts.
//!
//! A worker process is this test program, started for the test [`a_worker_process`] alone and told by its environment
//! where to work. A run makes several calls to the witness, so that one which goes on after its lease is seen.
//! Processes are paused and killed while all runs wait for an answer: a process that was paused in the middle of a step
//! of a run ends that step, as a lease cannot take back a call that is under way.

use std::{
    collections::{HashMap, HashSet},
    env,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use base::Ambient;
use orderworks_jobs::{
    CancellationToken, Engine, Envelope, Job, JobContext, JobError, Registry, Workers,
    engine::QueueSpec,
    envelope::EnqueueOptions,
    job_store::{JobStore, SqliteJobStore},
    limits::Limit,
    rabbitmq::{RabbitEngine, RabbitServer},
    sqlite::SqliteEngine,
};
use sqlx::{ConnectOptions, Executor, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    time::{sleep, timeout},
};

/// Environment of a worker process: its folder, the address of the witness, and that of a broker, if it uses one.
const FOLDER: &str = "JOBS_TEST_FOLDER";
const WITNESS: &str = "JOBS_TEST_WITNESS";
const BROKER: &str = "JOBS_TEST_BROKER";

const QUEUE: &str = "calls";
/// More than run while the test lasts.
const JOBS: usize = 600;
/// The limit, over all processes.
const MOST: usize = 2;
/// Slots of each process.
const SLOTS: usize = 4;
/// Calls of a run, and how long the answer to each takes.
const CALLS: usize = 3;
const ANSWERED_IN: Duration = Duration::from_millis(20);
/// Lease of slots.
const TTL: Duration = Duration::from_secs(2);
/// Calls that are waited for after a process goes on or is gone.
const MORE: u64 = 30;
const PATIENCE: Duration = Duration::from_mins(1);

#[derive(serde::Serialize, serde::Deserialize)]
struct Calls {}

impl Job for Calls {
    type Env = SocketAddr;
    const KIND: &'static str = "calls";
    const QUEUE: &'static str = QUEUE;
    const TIMEOUT: Duration = Duration::from_mins(10);

    async fn run(&self, ctx: &JobContext<SocketAddr>) -> Result<(), JobError> {
        for _ in 0..CALLS {
            let mut call = TcpStream::connect(ctx.env).await?;
            call.write_u32(std::process::id()).await?;
            call.read_u8().await?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct SeenCalls {
    /// Calls that wait for their answer, by process.
    under_way: HashMap<u32, HashSet<u64>>,
    /// Most of them at a time.
    most: usize,
    /// Calls so far.
    begun: u64,
}

impl SeenCalls {
    fn calls(&self) -> usize {
        self.under_way.values().map(HashSet::len).sum()
    }

    fn calls_of_others(&self, process: u32) -> usize {
        self.calls() - self.under_way.get(&process).map_or(0, HashSet::len)
    }
}

/// Takes the calls of all processes.
#[derive(Clone)]
struct Witness {
    address: SocketAddr,
    state: Arc<(Mutex<SeenCalls>, Notify)>,
    /// Whether no call is answered.
    holds: Arc<watch::Sender<bool>>,
}

impl Witness {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let witness = Self { address, state: Arc::default(), holds: Arc::new(watch::Sender::new(false)) };
        let serving = witness.clone();
        tokio::spawn(async move {
            while let Ok((call, _)) = listener.accept().await {
                tokio::spawn(serving.clone().answer(call));
            }
        });
        witness
    }

    async fn answer(self, mut call: TcpStream) {
        let Ok(process) = call.read_u32().await else { return };
        let id = self.change(|seen| {
            seen.begun += 1;
            let id = seen.begun;
            seen.under_way.entry(process).or_default().insert(id);
            seen.most = seen.most.max(seen.calls());
            id
        });
        sleep(ANSWERED_IN).await;
        let mut holds = self.holds.subscribe();
        drop(holds.wait_for(|holds| !*holds).await);
        // Before the answer, after which the run may make its next call.
        self.change(|seen| seen.under_way.get_mut(&process).is_some_and(|calls| calls.remove(&id)));
        // With its error: the process was killed.
        let _ = call.write_u8(1).await;
    }

    fn seen(&self) -> MutexGuard<'_, SeenCalls> {
        self.state.0.lock().unwrap()
    }

    fn change<T>(&self, act: impl FnOnce(&mut SeenCalls) -> T) -> T {
        let done = act(&mut self.seen());
        self.state.1.notify_waiters();
        done
    }

    /// Waits until what was seen is as wanted.
    async fn when(&self, what: &str, wanted: impl Fn(&SeenCalls) -> bool) {
        let seen = async {
            loop {
                let mut changed = std::pin::pin!(self.state.1.notified());
                changed.as_mut().enable();
                if wanted(&self.seen()) {
                    return;
                }
                changed.await;
            }
        };
        timeout(PATIENCE, seen).await.expect(what);
    }

    async fn more_calls(&self, what: &str) {
        let begun = self.seen().begun;
        self.when(what, |seen| seen.begun >= begun + MORE).await;
    }

    /// Answers no call from now on, and waits until as many runs wait as may; returns the process of one of them.
    async fn hold(&self) -> u32 {
        self.holds.send_replace(true);
        self.when("all slots of the limit are used", |seen| seen.calls() >= MOST).await;
        let seen = self.seen();
        let busy = seen.under_way.iter().find(|(_, calls)| !calls.is_empty());
        *busy.expect("calls wait").0
    }

    /// Counts the waiting calls of a process no longer, and answers all of them.
    fn go_on_without(&self, process: u32) {
        self.change(|seen| seen.under_way.remove(&process));
        self.holds.send_replace(false);
    }
}

/// Killed when dropped.
struct WorkerProcess(Child);

impl WorkerProcess {
    fn start(folder: &Path, broker: Option<&str>, witness: SocketAddr) -> Self {
        let (_, module) = module_path!().split_once("::").expect("a module of the test program");
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", &format!("{module}::a_worker_process")]);
        command.env(FOLDER, folder).env(WITNESS, witness.to_string());
        if let Some(url) = broker {
            command.env(BROKER, url);
        }
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.0.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        // With their errors: it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn open(folder: &Path, broker: Option<&str>) -> (Arc<dyn Engine>, Arc<dyn JobStore>) {
    let ambient = Ambient::system();
    let store = SqliteJobStore::open(&folder.join("jobs.db"), ambient.clone()).await.unwrap();
    let store = Arc::new(store);
    let engine: Arc<dyn Engine> = match broker {
        Some(url) => {
            Arc::new(RabbitEngine::new(RabbitServer::at(url), "test", store.clone(), ambient).unwrap())
        }
        None => Arc::new(SqliteEngine::open(&folder.join("queue.db"), ambient).await.unwrap()),
    };
    (engine, store)
}

/// Not a test by itself: the worker processes of the others run it, until they are killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_process() {
    let (Ok(folder), Ok(witness)) = (env::var(FOLDER), env::var(WITNESS)) else { return };
    let broker = env::var(BROKER).ok();
    let (engine, store) = open(Path::new(&folder), broker.as_deref()).await;
    let limit = Limit::concurrent("provider", u32::try_from(MOST).unwrap()).unwrap();
    let registry = Registry::new().register::<Calls>().unwrap();
    let registry = registry.limit(limit, |_: &Calls| Some("account".to_owned())).unwrap();
    let witness: SocketAddr = witness.parse().unwrap();
    let workers = Workers::new(engine.clone(), Arc::new(registry), witness, Ambient::system())
        .queue(QUEUE, SLOTS)
        .limiter(store, engine)
        .limit_lease(TTL)
        .lease(Duration::from_secs(3));
    workers.run(CancellationToken::new()).await.unwrap();
}

/// The write locks of the files, so that no process is paused with one of them and blocks all others.
async fn locks(folder: &Path) -> Vec<SqliteConnection> {
    let mut locks = Vec::new();
    for file in ["jobs.db", "queue.db"].map(|name| folder.join(name)) {
        if file.exists() {
            let options = SqliteConnectOptions::new().filename(&file).busy_timeout(PATIENCE);
            let mut lock = options.connect().await.unwrap();
            lock.execute("BEGIN IMMEDIATE").await.unwrap();
            locks.push(lock);
        }
    }
    locks
}

/// Three processes share a limit of two. One is paused past its lease and goes on, one is killed and replaced: at no
/// time do more than two runs make calls.
pub(crate) async fn a_limit_holds_while_processes_are_paused_and_killed(folder: &Path, broker: Option<&str>) {
    let (engine, _store) = open(folder, broker).await;
    engine.declare(&[QueueSpec::new(QUEUE)]).await.unwrap();
    let ambient = Ambient::system();
    let jobs = (0..JOBS).map(|_| Envelope::new(&Calls {}, EnqueueOptions::default(), &ambient).unwrap());
    engine.publish(jobs.collect()).await.unwrap();
    let witness = Witness::start().await;
    let start = || WorkerProcess::start(folder, broker, witness.address);
    let mut workers = vec![start(), start(), start()];
    let place = |workers: &[WorkerProcess], process: u32| {
        workers.iter().position(|worker| worker.0.id() == process).expect("one of them")
    };
    witness.more_calls("the processes work").await;

    let paused = witness.hold().await;
    let mut held = locks(folder).await;
    let worker = &workers[place(&workers, paused)];
    worker.signal("-STOP");
    witness.go_on_without(paused);
    for lock in &mut held {
        lock.execute("COMMIT").await.unwrap();
    }
    // It had a slot, so its lease has ended then.
    witness.when("others have its slots", |seen| seen.calls_of_others(paused) >= MOST).await;
    worker.signal("-CONT");
    witness.more_calls("work goes on after the pause").await;

    let killed = witness.hold().await;
    drop(workers.swap_remove(place(&workers, killed)));
    witness.go_on_without(killed);
    witness.when("others have its slots", |seen| seen.calls_of_others(killed) >= MOST).await;
    workers.push(start());
    witness.more_calls("work goes on after the kill").await;
    assert_eq!(witness.seen().most, MOST, "of {} calls, at a time", witness.seen().begun);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_holds_over_processes_that_are_paused_and_killed() {
    let folder = tempfile::tempdir().unwrap();
    a_limit_holds_while_processes_are_paused_and_killed(folder.path(), None).await;
}
