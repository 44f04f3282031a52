//! Gates: while one is closed this process leaves the queue alone, and no job is charged for it.

use std::{sync::Arc, time::Duration};

use base::Ambient;
use orderworks_jobs::{
    Admin, Consume, Engine, JobId, Producer, Workers,
    engine::{InspectedJob, JobState, QueueSpec},
    worker::WorkersHealth,
};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::rig::{Act, Event, Probe, QUEUE, Rig, Script, registry};

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(start_paused = true)]
async fn a_gate_shut_from_the_start_keeps_the_queue_untouched_until_it_opens() {
    let (gate, open) = watch::channel(false);
    let ambient = orderworks_jobs::testing::virtual_time(7);
    let engine = orderworks_jobs::testing::MemoryEngine::new(ambient.clone());
    engine.declare(&[QueueSpec::new(QUEUE)]).await.unwrap();
    let (probe, mut events) = Probe::new(mpsc::unbounded_channel());
    let shared: Arc<dyn Engine> = Arc::new(engine.clone());
    let workers = Workers::new(shared.clone(), registry().unwrap(), probe, ambient.clone());
    let workers = workers.queue_behind(QUEUE, 2, open);
    let health = workers.health();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(workers.run(shutdown.clone()));
    let script = Script { name: "early".to_owned(), act: Act::Finish };
    let id = Producer::new(shared, ambient).enqueue(&script).await.unwrap().id;
    assert!(timeout(Duration::from_mins(5), events.recv()).await.is_err(), "nothing starts");
    assert_eq!(engine.find(id).await.unwrap().unwrap().state, JobState::Ready);
    let queue = health.queues().remove(0);
    assert!(queue.held_back && !queue.is_ready(), "{queue:?}");
    gate.send_replace(true);
    assert!(matches!(events.recv().await, Some(Event::Started { attempt: 1, .. })));
    engine.when(id, |held| held.is_none()).await;
    assert!(health.is_ready());
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_shut_gate_lets_what_runs_end_and_hands_back_the_rest_at_once() {
    let (gate, open) = watch::channel(true);
    let mut rig = Rig::behind(1, open).await;
    let running = rig.enqueue("running", Act::Gate).await;
    rig.started("running").await;
    let fetched = rig.enqueue("fetched", Act::Finish).await;
    rig.in_state(fetched, JobState::Running).await;
    gate.send_replace(false);
    // While the other job runs on.
    let held = rig.in_state(fetched, JobState::Ready).await;
    assert_eq!((held.envelope.attempt, held.crashes), (0, 0));
    assert_eq!(rig.engine.find(running).await.unwrap().unwrap().state, JobState::Running);
    rig.gate.add_permits(1);
    assert_eq!(rig.event().await, Event::Finished { name: "running".to_owned() });
    rig.gone(running).await;
    assert_eq!(rig.engine.find(fetched).await.unwrap().unwrap().state, JobState::Ready);
    gate.send_replace(true);
    assert_eq!(rig.started("fetched").await, 1);
    rig.gone(fetched).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_opens_again_does_not_wait_for_the_slowest_run() {
    let (gate, open) = watch::channel(true);
    let mut rig = Rig::behind(2, open).await;
    let slow = [rig.enqueue("one", Act::Gate).await, rig.enqueue("two", Act::Gate).await];
    rig.started("two").await;
    let fetched = rig.enqueue("fetched", Act::Finish).await;
    rig.in_state(fetched, JobState::Running).await;
    gate.send_replace(false);
    rig.in_state(fetched, JobState::Ready).await;
    gate.send_replace(true);
    // One of the two runs ends, the other goes on.
    rig.gate.add_permits(1);
    assert!(matches!(rig.event().await, Event::Finished { .. }));
    assert_eq!(rig.started("fetched").await, 1);
    rig.gone(fetched).await;
    rig.gate.add_permits(1);
    for id in slow {
        rig.gone(id).await;
    }
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stop_behind_a_shut_gate_keeps_its_order() {
    let (gate, open) = watch::channel(true);
    let mut rig = Rig::behind(1, open).await;
    let deaf = rig.enqueue("deaf", Act::Hang).await;
    rig.started("deaf").await;
    gate.send_replace(false);
    let other = rig.enqueue("other", Act::Finish).await;
    rig.shutdown.cancel();
    rig.running.await.unwrap().unwrap();
    for id in [deaf, other] {
        let held = rig.engine.find(id).await.unwrap().unwrap();
        assert_eq!((held.state, held.envelope.attempt, held.crashes), (JobState::Ready, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_gate_left_shut_by_one_who_is_gone_is_open() {
    let (gate, open) = watch::channel(false);
    let mut rig = Rig::behind(1, open).await;
    drop(gate);
    let id = rig.enqueue("freed", Act::Finish).await;
    rig.started("freed").await;
    rig.gone(id).await;
    rig.stop().await.unwrap();
}

/// The same on an engine with a server or a file: close the gate while jobs run and others were fetched; another
/// process runs those meanwhile; open it, and this process consumes again. No attempt and no crash is charged to any
/// job.
pub(crate) async fn hands_over_to_another_process(mine: Arc<dyn Engine>, theirs: Arc<dyn Engine>) {
    let (gate, open) = watch::channel(true);
    let mut here = Process::start(Arc::clone(&mine), "here", open).await;
    let first = here.enqueue("first", Act::Gate).await;
    let second = here.enqueue("second", Act::Gate).await;
    for _ in 0..2 {
        assert!(matches!(here.event().await, Event::Started { attempt: 1, .. }));
    }
    // One more than there are slots: it is fetched here, as there is no other consumer.
    let third = here.enqueue("third", Act::Finish).await;
    here.held(third, JobState::Running).await;
    gate.send_replace(false);
    let mut there = Process::start(theirs, "there", watch::channel(true).1).await;
    assert_eq!(there.event().await, Event::Started { name: "third".to_owned(), attempt: 1 });
    assert_eq!(there.event().await, Event::Finished { name: "third".to_owned() });
    there.stop().await;
    here.probe.gate.add_permits(2);
    for _ in 0..2 {
        assert!(matches!(here.event().await, Event::Finished { .. }));
    }
    let fourth = here.enqueue("fourth", Act::Finish).await;
    gate.send_replace(true);
    assert_eq!(here.event().await, Event::Started { name: "fourth".to_owned(), attempt: 1 });
    assert_eq!(here.event().await, Event::Finished { name: "fourth".to_owned() });
    here.stop().await;
    for id in [first, second, third, fourth] {
        assert!(mine.find(id).await.unwrap().is_none(), "done, once");
    }
}

/// Workers with two slots on an engine of their own.
pub(crate) struct Process {
    engine: Arc<dyn Engine>,
    producer: Producer,
    pub(crate) probe: Probe,
    events: mpsc::UnboundedReceiver<Event>,
    pub(crate) health: WorkersHealth,
    shutdown: CancellationToken,
    running: tokio::task::JoinHandle<Result<(), orderworks_jobs::worker::WorkerError>>,
}

impl Process {
    pub(crate) async fn start(engine: Arc<dyn Engine>, name: &str, open: watch::Receiver<bool>) -> Self {
        Self::configured(engine, name, open, |workers| workers).await
    }

    pub(crate) async fn configured(
        engine: Arc<dyn Engine>,
        name: &str,
        open: watch::Receiver<bool>,
        configure: impl FnOnce(Workers<Probe>) -> Workers<Probe>,
    ) -> Self {
        let ambient = Ambient::system();
        engine.declare(&[QueueSpec::new(QUEUE)]).await.unwrap();
        let (probe, events) = Probe::new(mpsc::unbounded_channel());
        let workers = Workers::new(engine.clone(), registry().unwrap(), probe.clone(), ambient.clone());
        let shutdown = CancellationToken::new();
        let workers = configure(workers.name(name).queue_behind(QUEUE, 2, open));
        let health = workers.health();
        let running = tokio::spawn(workers.run(shutdown.clone()));
        let producer = Producer::new(engine.clone(), ambient);
        Self { engine, producer, probe, events, health, shutdown, running }
    }

    pub(crate) async fn enqueue(&self, name: &str, act: Act) -> JobId {
        self.producer.enqueue(&Script { name: name.to_owned(), act }).await.unwrap().id
    }

    pub(crate) async fn event(&mut self) -> Event {
        timeout(PATIENCE, self.events.recv()).await.expect("an event").unwrap()
    }

    /// Fails when a job starts or ends within a short time.
    pub(crate) async fn is_quiet(&mut self) {
        let came = timeout(Duration::from_millis(300), self.events.recv()).await;
        assert!(came.is_err(), "nothing was to come, but {came:?}");
    }

    async fn held(&self, id: JobId, state: JobState) {
        self.when(id, |held| held.is_some_and(|held| held.state == state)).await;
    }

    /// Polls until the job (`None` once the engine no longer holds it) fulfils `wanted`.
    pub(crate) async fn when(&self, id: JobId, wanted: impl Fn(Option<InspectedJob>) -> bool) {
        let seen = async {
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            while !wanted(self.engine.find(id).await.unwrap()) {
                tick.tick().await;
            }
        };
        timeout(PATIENCE, seen).await.expect("comes true");
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }
}
