//! Roles of a process: each can run alone or with others in one process.
//!
//! One signal stops all roles at the same time: the API reports not ready, goes on serving for the lead, then accepts
//! no more and completes open requests; the relay and the scheduler end; the workers drain, then the attempt log is
//! flushed. Orders accepted meanwhile wait in the outbox for the next start. The sandbox provider of the process stops
//! after all roles, because a draining charge still needs it. A role that ends unexpectedly stops the whole process: a
//! shop that accepts orders but charges no one is worse than one that is down.

mod http_api;
mod operations_console;
mod relay;
mod scheduler;
mod worker;

pub(crate) use http_api::Pages;

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use api::{HealthCheck, HealthStatus, Readiness, ServerLimits};
use axum::Router;
use jobs::{
    Engine,
    job_store::JobStore,
    scaling::{QueuePlan, Scaling, rule::Bounds},
};
use store::OrderStore;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use workers::queues::{PAYMENTS, QUEUES};

use crate::{
    config::Config,
    descriptors,
    metrics::{
        Buffers, Metrics, ScalingView, WorkerMetrics, register_outbox, register_process, register_queues,
        register_scaling, register_traces,
    },
    signals::Stop,
    wiring::Wiring,
};

/// Version of this program in the list of workers.
const RELEASE: &str = env!("CARGO_PKG_VERSION");

pub(crate) struct Roles<'a> {
    wiring: &'a Wiring<'a>,
    stop: &'a Stop,
    /// State that this process reports when its relay or its workers cannot work.
    without: HealthStatus,
    limits: ServerLimits,
    metrics: Metrics,
    /// Buffers of what the runs of this process leave.
    buffers: Buffers,
    workers: WorkerMetrics,
    /// Whether the metrics show the queues and the outbox, which several roles of a process may tell of.
    shows_queues: bool,
    shows_outbox: bool,
    /// The scaling signal, where a role has an engine.
    scaling: Option<ScalingView>,
    /// Checks of the stores that the roles use.
    stores: Vec<HealthCheck>,
    /// Checks of the roles themselves.
    health: Vec<HealthCheck>,
    running: JoinSet<anyhow::Result<()>>,
}

impl<'a> Roles<'a> {
    pub(crate) fn new(wiring: &'a Wiring<'a>, stop: &'a Stop, without: HealthStatus) -> Self {
        let set = &wiring.config.server;
        let connections_max = descriptors::connections(set.connections_max);
        let metrics = Metrics::default();
        register_process(&metrics, wiring.ambient.now());
        register_traces(&metrics);
        wiring.views.register(&metrics);
        Self {
            wiring,
            stop,
            without,
            limits: ServerLimits { connections_max, ..set.clone() },
            metrics,
            buffers: Buffers::default(),
            workers: WorkerMetrics::default(),
            shows_queues: false,
            shows_outbox: false,
            scaling: None,
            stores: Vec::new(),
            health: Vec::new(),
            running: JoinSet::new(),
        }
    }

    /// Serves liveness, readiness, metrics and scaling signal only; readiness covers the roles started before.
    pub(crate) fn health(&mut self, listener: TcpListener) {
        let checks = self.stores.iter().chain(&self.health).cloned().collect();
        let (ambient, stop) = (self.wiring.ambient.clone(), self.stop.orderly.clone());
        let app = api::health_app(Readiness::new(checks, ambient, stop));
        // No balancer stands before this listener.
        self.serve(listener, app.merge(self.routes_of_operators()), Duration::ZERO);
    }

    /// Waits for the stop signal, or for a role that ends unexpectedly, and stops the rest.
    pub(crate) async fn until_stopped(mut self) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        while let Some(ended) = self.running.join_next().await {
            let ended = ended.context("a role panicked").and_then(|result| result);
            if !self.stop.orderly.is_cancelled() {
                self.stop.orderly.cancel();
                outcome = ended.and(Err(anyhow::anyhow!("a role ended unexpectedly")));
            } else if outcome.is_ok() {
                outcome = ended;
            }
        }
        outcome
    }

    /// Asks for an orderly stop.
    pub(crate) fn shutdown(&self) -> CancellationToken {
        self.stop.orderly.clone()
    }

    /// Serves until this time after an orderly stop was requested, or until an immediate one: what is still open then
    /// ends with the process.
    fn serve(&mut self, listener: TcpListener, app: Router, lead: Duration) {
        let (limits, stop, closing) = (self.limits.clone(), self.stop.clone(), CancellationToken::new());
        let (close, now) = (closing.clone(), stop.now.clone());
        tokio::spawn(async move {
            stop.announced(lead).await;
            close.cancel();
        });
        self.running.spawn(async move {
            tokio::select! {
                served = api::run(listener, app, closing, limits) => Ok(served?),
                () = now.cancelled() => Ok(()),
            }
        });
    }

    /// `/metrics`, and `/scaling` where a role has an engine. Their figures cover all merchants.
    fn routes_of_operators(&self) -> Router {
        let scaling = self.scaling.as_ref().map(ScalingView::routes).unwrap_or_default();
        self.metrics.routes().merge(scaling)
    }

    /// Shows the queues of the engine, and the workers that they need, once for all roles of the process.
    fn show_queues(&mut self, engine: Arc<dyn Engine>, store: Arc<dyn JobStore>) {
        if !std::mem::replace(&mut self.shows_queues, true) {
            let (config, ambient) = (self.wiring.config, self.wiring.ambient);
            register_queues(&self.metrics, Arc::clone(&engine), ambient);
            let scaling = Scaling::new(engine, store, plans(config), ambient.clone());
            self.scaling = Some(register_scaling(&self.metrics, scaling));
        }
    }

    /// Shows the outbox of the store in the metrics, once for all roles of the process.
    fn show_outbox(&mut self, orders: Arc<dyn OrderStore>) {
        if !std::mem::replace(&mut self.shows_outbox, true) {
            register_outbox(&self.metrics, orders, self.wiring.ambient);
        }
    }

    /// Runs a role that ends when it is told to stop.
    fn spawn(&mut self, role: impl Future<Output = ()> + Send + 'static) {
        self.running.spawn(async move {
            role.await;
            Ok(())
        });
    }
}

/// The queues of workers, as the configuration of this process scales them.
pub(crate) fn plans(config: &Config) -> Vec<QueuePlan> {
    let slots = |queue: &str| {
        let here = config.workers.queues.iter().find(|(name, _)| name == queue).map(|(_, slots)| *slots);
        // Other queues than those of this process have the slots of their default.
        here.or_else(|| QUEUES.iter().find(|(name, _)| *name == queue).map(|(_, slots)| *slots))
    };
    let plan = |(queue, bounds): &(String, Bounds)| QueuePlan {
        queue: queue.clone(),
        slots: slots(queue).and_then(|slots| u32::try_from(slots).ok()).unwrap_or(1),
        bounds: *bounds,
        pace: config.scaling.pace,
        concurrent_max: config.payments.concurrent_max.filter(|_| queue == PAYMENTS),
    };
    config.scaling.queues.iter().map(plan).collect()
}
