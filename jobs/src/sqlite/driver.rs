//! The driver loop of a consumer: waits for an event, then does one [`Exchange`] with the file.
//!
//! Guarantees: the consumer stays alive whatever fails, as its lease is in the file; failures are retried with backoff
//! and jitter, logged once per change and shown as health. The wake-up channel is armed before the file is read, so a
//! publish between the read and the wait is not missed.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use super::{
    consumer::{Command, ConsumerShared, SqliteSettler},
    exchange::{Exchange, Exchanged},
    file::QueueFile,
    lease,
    settle::Settled,
};
use crate::{
    engine::{ConsumeOptions, Consumer, Delivery, EngineError},
    error::describe,
};

/// Most unsettled deliveries a consumer may ask for.
const PREFETCH_MAX: usize = 4096;
/// Shortest lease that can be renewed in time.
const LEASE_MIN: Duration = Duration::from_millis(50);
/// Interval of comparing the clock with the next due time; not one long sleep, because the clock may be set.
const DUE_CHECK_EVERY: Duration = Duration::from_millis(100);
/// Delays after failed exchanges: doubling from the first value up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// Failed exchanges after which a close gives up and leaves the jobs to the expiry of the lease.
const CLOSE_TRIES_MAX: u32 = 4;

struct Driver {
    file: Arc<QueueFile>,
    shared: Arc<ConsumerShared>,
    name: String,
    queue: String,
    prefetch: usize,
    lease: Duration,
    commands: mpsc::UnboundedReceiver<Command>,
    deliveries: mpsc::Sender<Delivery>,
    /// Dropped with the driver.
    _alive: oneshot::Sender<EngineError>,
    wake: watch::Receiver<()>,
    stopped: watch::Receiver<bool>,
    /// Settlements that are not durable yet.
    settled: Vec<Settled>,
    /// Jobs claimed so far.
    starts: u64,
    /// Whether there may be jobs to claim.
    may_have_ready: bool,
    next_due: Option<i64>,
    heartbeat_at: Instant,
    failures: u32,
    ending: Option<Ending>,
}

enum Ending {
    Closed(oneshot::Sender<Result<(), EngineError>>),
    Dropped,
}

/// Registers a consumer and starts its loop.
pub(super) async fn start(
    file: Arc<QueueFile>,
    queue: &str,
    options: ConsumeOptions,
) -> Result<Consumer, EngineError> {
    let prefetch = options.prefetch.clamp(1, PREFETCH_MAX);
    let lease = options.lease.max(LEASE_MIN);
    let wake = file.wakes.subscribe(queue);
    let until = lease_until(&file, lease);
    let (name, to, process) = (options.name.clone(), queue.to_owned(), file.process.clone());
    let session = file
        .write(move |c| Box::pin(async move { lease::open(c, &name, &to, &process, until).await }))
        .await?;
    let shared = Arc::new(ConsumerShared::new(session, file.ambient.now()));
    file.add_consumer(&shared);
    let (to_driver, commands) = mpsc::unbounded_channel();
    let (deliveries, to_worker) = mpsc::channel(prefetch);
    let (alive, ended) = oneshot::channel();
    let driver = Driver {
        stopped: shared.stopped.subscribe(),
        shared: shared.clone(),
        name: options.name,
        queue: queue.to_owned(),
        prefetch,
        lease,
        commands,
        deliveries,
        _alive: alive,
        wake,
        settled: Vec::new(),
        starts: 0,
        may_have_ready: true,
        next_due: None,
        heartbeat_at: Instant::now() + lease / 3,
        failures: 0,
        ending: None,
        file,
    };
    tokio::spawn(driver.run());
    Ok(Consumer {
        deliveries: to_worker,
        settler: Arc::new(SqliteSettler { shared, commands: to_driver }),
        ended,
    })
}

fn lease_until(file: &QueueFile, lease: Duration) -> i64 {
    file.now_ms().saturating_add(i64::try_from(lease.as_millis()).unwrap_or(i64::MAX))
}

impl Driver {
    async fn run(mut self) {
        while self.ending.is_none() {
            if !self.has_work() {
                self.wait().await;
            }
            self.drain();
            if self.has_work() {
                self.exchange().await;
            }
        }
        self.end().await;
    }

    fn has_work(&self) -> bool {
        let due = self.next_due.is_some_and(|at| at <= self.file.now_ms());
        !self.settled.is_empty()
            || (self.free() > 0 && (self.may_have_ready || due))
            || Instant::now() >= self.heartbeat_at
    }

    /// Free slots. Deliveries of a lost lease may still be in the channel, so its capacity is a bound, too.
    fn free(&self) -> usize {
        if self.ending.is_some() || *self.stopped.borrow() || self.deliveries.is_closed() {
            return 0;
        }
        self.prefetch.saturating_sub(self.shared.held()).min(self.deliveries.capacity())
    }

    async fn wait(&mut self) {
        let free = self.free() > 0;
        let due = free && self.next_due.is_some();
        let until_due = self.until_due();
        tokio::select! {
            command = self.commands.recv() => match command {
                Some(command) => self.execute(command),
                None => self.ending = Some(Ending::Dropped),
            },
            _ = self.wake.changed() => self.may_have_ready = true,
            _ = self.stopped.changed() => {}
            () = tokio::time::sleep_until(self.heartbeat_at) => {}
            () = tokio::time::sleep(until_due), if due => {}
        }
    }

    fn until_due(&self) -> Duration {
        let millis = self.next_due.map_or(0, |at| at.saturating_sub(self.file.now_ms()));
        Duration::from_millis(u64::try_from(millis).unwrap_or(0)).min(DUE_CHECK_EVERY)
    }

    fn drain(&mut self) {
        while self.ending.is_none() {
            match self.commands.try_recv() {
                Ok(command) => self.execute(command),
                Err(mpsc::error::TryRecvError::Empty) => return,
                Err(mpsc::error::TryRecvError::Disconnected) => self.ending = Some(Ending::Dropped),
            }
        }
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::Settle(settled) => self.settled.push(settled),
            Command::Close(reply) => self.ending = Some(Ending::Closed(reply)),
        }
    }

    async fn exchange(&mut self) {
        // Armed before the file is read: a later wake-up causes another round.
        self.wake.borrow_and_update();
        let heartbeat = Instant::now() >= self.heartbeat_at;
        let exchange = Exchange {
            name: self.name.clone(),
            process: self.file.process.clone(),
            queue: self.queue.clone(),
            session: self.shared.session(),
            now: self.file.now_ms(),
            lease_until: lease_until(&self.file, self.lease),
            heartbeat: heartbeat.then(|| serde_json::Value::from(self.file.live_sessions()).to_string()),
            held: (self.failures > 0).then(|| self.shared.held_json()),
            settled: self.settled.clone(),
            free: self.free(),
            starts: self.starts,
        };
        let answer = self.file.database.write(move |c| Box::pin(async move { exchange.run(c).await })).await;
        match answer {
            Ok(exchanged) => {
                if heartbeat {
                    self.heartbeat_at = Instant::now() + self.lease / 3;
                }
                self.succeed(exchanged);
            }
            Err(fault) => self.fail(&EngineError::from(fault)).await,
        }
    }

    fn succeed(&mut self, exchanged: Exchanged) {
        self.failures = 0;
        if self.shared.health.well(self.file.ambient.now()) {
            tracing::info!(job.queue = self.queue, consumer = self.name, "queue file available again");
        }
        let settled = std::mem::take(&mut self.settled);
        let held_up = self.file.held_up.load(Ordering::Relaxed) && !settled.is_empty();
        if self.shared.forget(&settled) || held_up || exchanged.released > 0 {
            // A concurrency or order key may have become free, or the turn of a suspect have come, in any queue.
            self.file.wakes.wake_all();
        } else if settled.iter().any(|s| !s.ends()) {
            self.file.wakes.wake(&self.queue);
        }
        self.shared.health.count_stale(exchanged.stale);
        if exchanged.session != self.shared.session() {
            tracing::warn!(
                job.queue = self.queue,
                consumer = self.name,
                "consumer lease lost, jobs run elsewhere"
            );
            self.shared.lose_all(exchanged.session);
        }
        self.shared.fire_cancelled(&exchanged.cancel_requests);
        if exchanged.released > 0 {
            tracing::warn!(jobs = exchanged.released, "jobs of expired leases released");
        }
        let Some(claim) = exchanged.claim else { return };
        for (id, why) in &claim.undecodable {
            tracing::error!(
                job.id = id,
                job.queue = self.queue,
                error = why,
                "undecodable job moved to the dead queue"
            );
        }
        self.file.held_up.store(claim.held_up, Ordering::Relaxed);
        self.may_have_ready = claim.more;
        self.next_due = claim.next_due;
        self.starts += claim.jobs.len() as u64;
        for delivery in self.shared.take_in(claim.jobs, claim.fence) {
            // `free` guarantees capacity; when the receiver is closed, the job is released at the end of the session.
            drop(self.deliveries.try_send(delivery));
        }
    }

    async fn fail(&mut self, error: &EngineError) {
        self.failures = self.failures.saturating_add(1);
        let trouble = describe(error);
        if self.shared.health.troubled(trouble.clone()) {
            tracing::warn!(
                job.queue = self.queue,
                consumer = self.name,
                error = trouble,
                "queue file unavailable, retrying"
            );
        }
        self.may_have_ready = true;
        let ceiling = BACKOFF.0.saturating_mul(1 << self.failures.min(10)).min(BACKOFF.1);
        tokio::time::sleep(ceiling / 2 + self.file.ambient.jitter(ceiling / 2)).await;
    }

    /// Makes the last settlements durable and releases the other jobs; they are charged a crash unless the end is an
    /// orderly close.
    async fn end(mut self) {
        self.shared.stopped.send_replace(true);
        let crashed = !matches!(self.ending, Some(Ending::Closed(_)));
        let mut outcome = Ok(());
        for _ in 0..CLOSE_TRIES_MAX {
            outcome = self.release_all(crashed).await;
            match &outcome {
                Ok(()) => break,
                Err(error) => self.fail(error).await,
            }
        }
        // No session: if the last write failed, the lease has to expire.
        self.shared.lose_all(0);
        self.file.wakes.wake_all();
        self.reject_commands(outcome.is_ok());
        if let Some(Ending::Closed(reply)) = self.ending {
            drop(reply.send(outcome));
        }
    }

    /// Answers commands sent after the close: further closes get the result of the first one, settlements are too late.
    fn reject_commands(&mut self, well: bool) {
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Settle(_) => self.shared.health.count_stale(1),
                Command::Close(reply) => {
                    drop(reply.send(if well { Ok(()) } else { Err(EngineError::Closed) }));
                }
            }
        }
    }

    async fn release_all(&mut self, crashed: bool) -> Result<(), EngineError> {
        if !self.settled.is_empty() {
            self.exchange().await;
        }
        if !self.settled.is_empty() {
            return Err(super::fault::unavailable("the last settlements are not durable"));
        }
        let (queue, session, now) = (self.queue.clone(), self.shared.session(), self.file.now_ms());
        self.file
            .write(move |c| Box::pin(async move { lease::close(c, &queue, session, crashed, now).await }))
            .await
    }
}
