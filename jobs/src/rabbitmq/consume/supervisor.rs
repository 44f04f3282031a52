//! The supervisor of a consumer: opens one [`ConsumerSession`] after the other for as long as the consumer lives.
//!
//! Guarantees: the delivery channel stays open whatever the broker does; attempts are spaced with capped backoff and
//! jitter, which starts again after each success; failures show as health and are logged once per change.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};

use super::{
    consumer::{Command, ConsumerShared, RabbitSettler},
    session::{ConsumerSession, Plan, SessionEnd},
};
use crate::{
    engine::{ConsumeOptions, Consumer, EngineError},
    error::describe,
    job::Backoff,
    rabbitmq::{RabbitClient, wire::fault::unavailable},
};

/// Most unsettled deliveries a consumer may ask for.
const PREFETCH_MAX: usize = 4096;
/// Delay before reconnecting.
const RECONNECT: Backoff =
    Backoff::FullJitter { base: Duration::from_millis(200), cap: Duration::from_secs(5) };
/// Longest wait for the first subscription.
const FIRST_TIMEOUT: Duration = Duration::from_secs(10);

struct Supervisor {
    plan: Plan,
    commands: mpsc::UnboundedReceiver<Command>,
    failures: u32,
}

/// Starts a consumer. Fails when the first attempt does, so that a wrong password ends a worker instead of making it
/// wait.
pub(crate) async fn start(
    inner: Arc<RabbitClient>,
    queue: &str,
    options: ConsumeOptions,
) -> Result<Consumer, EngineError> {
    let prefetch = options.prefetch.clamp(1, PREFETCH_MAX);
    let (to_supervisor, commands) = mpsc::unbounded_channel();
    let (deliveries, to_worker) = mpsc::channel(prefetch);
    let shared = Arc::new(ConsumerShared::new(queue, inner.ambient.now(), to_supervisor.downgrade()));
    inner.add_consumer(&shared);
    let plan = Plan {
        inner,
        shared: shared.clone(),
        name: options.name,
        prefetch: u16::try_from(prefetch).unwrap_or(u16::MAX),
        deliveries,
    };
    let (first, opened) = oneshot::channel();
    tokio::spawn(Supervisor { plan, commands, failures: 0 }.run(first));
    match timeout(FIRST_TIMEOUT, opened).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => return Err(error),
        Ok(Err(_)) | Err(_) => return Err(unavailable("subscription timed out")),
    }
    Ok(Consumer {
        deliveries: to_worker,
        settler: Arc::new(RabbitSettler { shared, commands: to_supervisor }),
    })
}

impl Supervisor {
    async fn run(mut self, first: oneshot::Sender<Result<(), EngineError>>) {
        let mut first = Some(first);
        loop {
            let opened = {
                let opening = ConsumerSession::open(&self.plan);
                tokio::pin!(opening);
                loop {
                    tokio::select! {
                        opened = &mut opening => break opened,
                        command = self.commands.recv() => if idle(&self.plan.shared, command) { return },
                    }
                }
            };
            let error = match opened {
                Ok(session) => {
                    connected(&self.plan, &mut self.failures);
                    if let Some(first) = first.take() {
                        drop(first.send(Ok(())));
                    }
                    match session.run(&mut self.commands).await {
                        SessionEnd::Closed(reply, result) => return drop(reply.send(result)),
                        SessionEnd::Dropped => return,
                        SessionEnd::Lost(error) => error,
                    }
                }
                Err(error) => match first.take() {
                    Some(first) => return drop(first.send(Err(error))),
                    None => error,
                },
            };
            self.troubled(&error);
            if self.wait().await {
                return;
            }
        }
    }

    fn troubled(&mut self, error: &EngineError) {
        self.failures = self.failures.saturating_add(1);
        let error = describe(error);
        if self.plan.shared.troubled(error.clone()) {
            let (queue, consumer) = (&self.plan.shared.queue, &self.plan.name);
            tracing::warn!(job.queue = queue, consumer, error, "consumer connection lost, reconnecting");
        }
    }

    /// Waits for the next attempt. Returns true when the consumer ended meanwhile.
    async fn wait(&mut self) -> bool {
        let until = Instant::now() + RECONNECT.delay(self.failures, &self.plan.inner.ambient);
        loop {
            tokio::select! {
                () = sleep_until(until) => return false,
                command = self.commands.recv() => if idle(&self.plan.shared, command) { return true },
            }
        }
    }
}

fn connected(plan: &Plan, failures: &mut u32) {
    *failures = 0;
    if plan.shared.well(plan.inner.ambient.now()) {
        tracing::info!(job.queue = plan.shared.queue, consumer = plan.name, "consumer reconnected");
    }
}

/// Handles commands while there is no connection, and so no held job. Returns true when the consumer has ended.
fn idle(shared: &ConsumerShared, command: Option<Command>) -> bool {
    match command {
        None => return true,
        Some(Command::Settle(..)) => shared.count_stale(1),
        Some(Command::Held(_, reply)) => drop(reply.send(Vec::new())),
        Some(Command::Obey(reply)) => {
            let _ = reply.send(());
        }
        Some(Command::Close(reply)) => {
            // The held jobs went back to the queue with the connection.
            drop(reply.send(Ok(())));
            return true;
        }
    }
    false
}
