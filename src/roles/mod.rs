//! Roles of a process: each can run alone or with others in one process, and they stop in order.
//!
//! Stop order: the API completes open requests and accepts no more; the relay stops; the workers drain; then the
//! sandbox provider stops (a draining charge still needs it); then the attempt log is flushed. A role that ends
//! unexpectedly stops the whole process: a shop that accepts orders but charges no one is worse than one that is down.

pub(crate) mod settings;

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use api::{ApiParts, ApiState, HealthCheck, HealthStatus, OrdersCheck, PaymentsCheck, Readiness};
use base::Ambient;
use jobs::{
    engine::QueueSpec,
    recorder::{Recorder, RecorderConfig},
    worker::Workers,
};
use tokio::{net::TcpListener, task::JoinSet};
use webhooks::WebhookSender;
use workers::{
    Env, Parts, WebhookDelivery, provider::guard::Guarded, queues::PAYMENTS, relay::Relay, verify::Verify,
};

use crate::{
    config::{CacheEngine, Config},
    descriptors,
    health::{CacheCheck, ProviderCheck, RelayCheck, ShardsCheck, WorkersCheck},
    housekeeping::Housekeeping,
    mail,
    metrics::Metrics,
    provider, rate_limits,
    sandbox::{Provider, Sandbox},
    signals::Stop,
    verify::{Auditor, VerifyGauges},
    webhook_metrics,
    wiring::{Engines, Role},
};

/// Everything the roles of a process are started with.
pub(crate) struct Roles<'a> {
    config: &'a Config,
    engines: &'a Engines,
    ambient: &'a Ambient,
    stop: &'a Stop,
    /// Name of this process in leases and records.
    name: String,
    health: Vec<Arc<dyn HealthCheck>>,
    /// State that this process reports when its relay or its workers cannot work.
    without: HealthStatus,
    running: JoinSet<anyhow::Result<()>>,
    recorder: Option<Recorder>,
    sandbox: Option<Sandbox>,
    metrics: Metrics,
    /// The configured bound, reduced to what the file descriptors allow.
    connections_max: usize,
}

impl<'a> Roles<'a> {
    pub(crate) fn new(
        config: &'a Config,
        engines: &'a Engines,
        ambient: &'a Ambient,
        stop: &'a Stop,
        name: String,
        without: HealthStatus,
    ) -> Self {
        let shards =
            engines.shards.clone().map(|shards| Arc::new(ShardsCheck(shards)) as Arc<dyn HealthCheck>);
        let (health, running, recorder, sandbox) = (Vec::from_iter(shards), JoinSet::new(), None, None);
        let (metrics, connections_max) =
            (Metrics::default(), descriptors::connections(config.server.connections_max));
        Self {
            config,
            engines,
            ambient,
            stop,
            name,
            health,
            without,
            running,
            recorder,
            sandbox,
            metrics,
            connections_max,
        }
    }

    /// Declares the queues if the engine is reachable. The users of an unreachable broker wait for it themselves; a
    /// broker that rejects the login is an error at once.
    pub(crate) async fn declare_queues(&self) -> anyhow::Result<()> {
        let queues: Vec<_> =
            self.config.workers.queues.iter().map(|(name, _)| QueueSpec::new(name)).collect();
        match self.engines.queue()?.declare(&queues).await {
            Err(error) if error.is_transient() => Ok(()),
            declared => Ok(declared?),
        }
    }

    /// Starts the sandbox provider of this process, unless another provider is configured.
    pub(crate) async fn sandbox(&mut self) -> anyhow::Result<&Sandbox> {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let sandbox = Sandbox::start(address, &self.engines.folder, None, self.ambient).await?;
        Ok(self.sandbox.insert(sandbox))
    }

    pub(crate) fn workers(&mut self) -> anyhow::Result<()> {
        let recorder = Recorder::spawn(
            Arc::clone(&self.engines.records),
            RecorderConfig { default_level: self.config.records.level, ..RecorderConfig::default() },
        );
        self.recorder = Some(recorder.clone());
        let provider = provider::connect(&self.config.payments, self.sandbox.as_ref(), self.ambient)?;
        let breaker = provider.breaker().clone();
        let env = self.environment(provider)?;
        let registry = Arc::new(workers::registry()?);
        let settings = &self.config.workers;
        let queue = self.engines.queue()?;
        let pool = Workers::new(queue, registry, env, self.ambient.clone())
            .name(self.name.clone())
            .recorder(recorder)
            .lease(settings.lease)
            .drain_timeout(settings.drain)
            .abort(self.stop.now.clone());
        // While the circuit breaker is open, payment jobs are left to processes that may reach the provider.
        let pool = settings.queues.iter().fold(pool, |pool, (name, slots)| match name.as_str() {
            PAYMENTS => pool.queue_behind(name, *slots, breaker.gate()),
            _ => pool.queue(name, *slots),
        });
        if settings.queues.iter().any(|(name, _)| name == PAYMENTS) {
            self.health.push(Arc::new(ProviderCheck(breaker.standing())));
        }
        self.health.push(Arc::new(WorkersCheck(pool.health(), self.without)));
        let asked = self.stop.orderly.clone();
        self.running.spawn(async move { Ok(pool.run(asked).await?) });
        Ok(())
    }

    pub(crate) fn relay(&mut self) -> anyhow::Result<()> {
        let (orders, queue) = (self.engines.orders(Role::Relay)?, self.engines.queue()?);
        let relay = Relay::new(orders, queue, self.ambient.clone(), self.name.clone());
        self.health.push(Arc::new(RelayCheck(relay.health.subscribe(), self.without)));
        let asked = self.stop.orderly.clone();
        self.running.spawn(async move {
            relay.run(asked).await;
            Ok(())
        });
        Ok(())
    }

    pub(crate) fn scheduler(&mut self) -> anyhow::Result<()> {
        let orders = self.engines.orders(Role::Scheduler)?;
        let house = Housekeeping {
            orders,
            sessions: self.engines.sessions()?,
            records: Arc::clone(&self.engines.records),
            partitions: self.engines.partitions.clone(),
            keep: settings::keep(self.config),
            pending_expires: self.config.orders.pending_expires,
            ambient: self.ambient.clone(),
        };
        let asked = self.stop.orderly.clone();
        self.running.spawn(async move {
            house.run(asked).await;
            Ok(())
        });
        Ok(())
    }

    /// Starts the scheduled audit, if it is configured.
    pub(crate) fn auditor(&mut self) -> anyhow::Result<()> {
        let Some(every) = self.config.verify.every else { return Ok(()) };
        // A process without its own provider does not read the ledger.
        let provider = Provider::with_books(&self.config.payments, self.sandbox.as_ref(), self.ambient)?;
        let verify = Verify {
            orders: self.engines.orders(Role::Scheduler)?,
            payments: self.engines.payments()?,
            provider: provider.map(|provider| Arc::new(provider) as _),
            engine: self.engines.queue()?,
            records: Arc::clone(&self.engines.records),
            ambient: self.ambient.clone(),
            kept: settings::kept(self.config),
        };
        let gauges = VerifyGauges::register(&self.metrics);
        let auditor = Auditor { verify, gauges, every, grace: self.config.verify.grace };
        let asked = self.stop.orderly.clone();
        self.running.spawn(async move {
            auditor.run(asked).await;
            Ok(())
        });
        Ok(())
    }

    /// Serves the API. Started last, so that its readiness covers every role of this process.
    pub(crate) fn api(&mut self, listener: TcpListener) -> anyhow::Result<()> {
        let app = self.api_app()?;
        self.serve(listener, app);
        Ok(())
    }

    /// As [`Self::api`], with `/metrics`, whose figures cover all merchants: for a listener that the public cannot
    /// reach.
    pub(crate) fn api_with_metrics(&mut self, listener: TcpListener) -> anyhow::Result<()> {
        let app = self.api_app()?;
        self.serve(listener, app.merge(self.metrics.routes()));
        Ok(())
    }

    fn api_app(&mut self) -> anyhow::Result<axum::Router> {
        let shared = self.engines.shared()?;
        if self.config.engines.cache == CacheEngine::Redis {
            self.health.push(Arc::new(CacheCheck(Arc::clone(&shared.cache))));
        }
        let parts = ApiParts {
            orders: self.engines.orders(Role::Api)?,
            payments: self.engines.payments()?,
            cache: shared.cache,
            limits: shared.limits,
            sessions: self.engines.sessions()?,
            records: Arc::clone(&self.engines.records),
            ambient: self.ambient.clone(),
            health: self.health.clone(),
            shutdown: self.stop.orderly.clone(),
        };
        let state = ApiState::new(parts, settings::api(self.config));
        rate_limits::register(&self.metrics, &state);
        Ok(api::app(state))
    }

    /// Serves liveness, readiness and metrics only; readiness checks the dependencies of this role.
    pub(crate) fn health(&mut self, listener: TcpListener, role: Role) -> anyhow::Result<()> {
        let mut checks: Vec<Arc<dyn HealthCheck>> = vec![Arc::new(OrdersCheck(self.engines.orders(role)?))];
        if matches!(role, Role::Api | Role::Worker) {
            checks.push(Arc::new(PaymentsCheck(self.engines.payments()?)));
        }
        checks.extend(self.health.iter().cloned());
        let (ambient, stop) = (self.ambient.clone(), self.stop.orderly.clone());
        let app = api::health_app(Readiness::new(checks, ambient, stop));
        self.serve(listener, app.merge(self.metrics.routes()));
        Ok(())
    }

    /// Waits for the stop signal, or for a role that ends unexpectedly, and stops the rest in order.
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
        if let Some(sandbox) = self.sandbox {
            sandbox.stop().await?;
        }
        if let Some(recorder) = self.recorder {
            recorder.close().await;
        }
        outcome
    }

    fn serve(&mut self, listener: TcpListener, app: axum::Router) {
        let limits = settings::server_limits(&self.config.server, self.connections_max);
        let asked = self.stop.orderly.clone();
        self.running.spawn(async move { Ok(api::run(listener, app, asked, limits).await?) });
    }

    fn environment(&self, provider: Arc<Guarded>) -> anyhow::Result<Env> {
        let sender = WebhookSender::new(settings::url_policy(self.config), self.ambient.clone())?;
        let webhooks = WebhookDelivery {
            disable_after: self.config.webhooks.disable_after,
            ..WebhookDelivery::new(sender, settings::shares(self.config), self.ambient.clone())
        };
        webhook_metrics::register(&self.metrics, &webhooks);
        Ok(Env::new(Parts {
            orders: self.engines.orders(Role::Worker)?,
            payments: self.engines.payments()?,
            provider,
            mailer: mail::mailer(&self.config.mail, &self.engines.folder)?,
            webhooks,
            ambient: self.ambient.clone(),
            worker: self.name.clone(),
        }))
    }
}
