//! The roles: each can run alone or beside others in one process, and they stop in order.
//!
//! Stop order: the API answers what is open and takes nothing new, the relay leaves, the workers drain; then the
//! sandbox provider (a draining charge still needs it), then the attempt log is written out. A role that ends unasked
//! stops the whole process: a shop that takes orders and charges nobody is worse than one that is down.

mod settings;

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use api::{ApiParts, ApiState, HealthCheck, HealthStatus, OrdersCheck, PaymentsCheck, Readiness};
use base::Ambient;
use jobs::{
    engine::{EngineError, QueueSpec},
    recorder::{Recorder, RecorderConfig},
    worker::Workers,
};
use tokio::{net::TcpListener, task::JoinSet};
use workers::{Env, Parts, relay::Relay, webhook::WebhookSender};

use crate::{
    config::{CacheEngine, Config},
    engines::{Engines, Role},
    health::{CacheCheck, RelayCheck, ShardsCheck, WorkersCheck},
    housekeeping::Housekeeping,
    mail,
    sandbox::{Provider, Sandbox},
    signals::Stop,
};

/// What a role is started with.
pub(crate) struct Roles<'a> {
    config: &'a Config,
    engines: &'a Engines,
    ambient: &'a Ambient,
    stop: &'a Stop,
    /// Names this process in leases and records.
    name: String,
    health: Vec<Arc<dyn HealthCheck>>,
    /// What this process is when its relay or its workers cannot work.
    without: HealthStatus,
    running: JoinSet<anyhow::Result<()>>,
    recorder: Option<Recorder>,
    sandbox: Option<Sandbox>,
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
        let (mut health, running, recorder, sandbox) =
            (Vec::<Arc<dyn HealthCheck>>::new(), JoinSet::new(), None, None);
        health.extend(
            engines.shards.clone().map(|shards| Arc::new(ShardsCheck(shards)) as Arc<dyn HealthCheck>),
        );
        Self { config, engines, ambient, stop, name, health, without, running, recorder, sandbox }
    }

    /// Makes sure the queues exist, where the engine can be reached. A broker that is down is waited for by whoever
    /// uses it; one that turns us away is an error now.
    pub(crate) async fn declare_queues(&self) -> anyhow::Result<()> {
        let queues: Vec<_> =
            self.config.workers.queues.iter().map(|(name, _)| QueueSpec::new(name)).collect();
        match self.engines.queue()?.declare(&queues).await {
            Err(EngineError::Unavailable { .. }) => Ok(()),
            declared => Ok(declared?),
        }
    }

    /// A sandbox provider of this process, unless another provider is configured.
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
        let env = self.environment()?;
        let registry = Arc::new(workers::registry()?);
        let settings = &self.config.workers;
        let queue = self.engines.queue()?;
        let pool = Workers::new(queue, registry, env, self.ambient.clone())
            .name(self.name.clone())
            .recorder(recorder)
            .lease(settings.lease)
            .drain_timeout(settings.drain)
            .abort(self.stop.now.clone());
        let pool = settings.queues.iter().fold(pool, |pool, (name, slots)| pool.queue(name, *slots));
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
            records: Arc::clone(&self.engines.records),
            partitions: self.engines.partitions.clone(),
            keep: settings::keep(self.config),
            ambient: self.ambient.clone(),
        };
        let asked = self.stop.orderly.clone();
        self.running.spawn(async move {
            house.run(asked).await;
            Ok(())
        });
        Ok(())
    }

    /// Serves the API. Started last, so that its readiness asks every role of this process.
    pub(crate) fn api(&mut self, listener: TcpListener) -> anyhow::Result<()> {
        let shared = self.engines.shared()?;
        if self.config.engines.cache == CacheEngine::Redis {
            self.health.push(Arc::new(CacheCheck(Arc::clone(&shared.cache))));
        }
        let parts = ApiParts {
            orders: self.engines.orders(Role::Api)?,
            payments: self.engines.payments()?,
            cache: shared.cache,
            limits: shared.limits,
            records: Arc::clone(&self.engines.records),
            ambient: self.ambient.clone(),
            health: self.health.clone(),
            shutdown: self.stop.orderly.clone(),
        };
        self.serve(listener, api::app(ApiState::new(parts, settings::api(self.config))));
        Ok(())
    }

    /// Serves liveness and readiness only; asks what this role needs.
    pub(crate) fn health(&mut self, listener: TcpListener, role: Role) -> anyhow::Result<()> {
        let mut checks: Vec<Arc<dyn HealthCheck>> = vec![Arc::new(OrdersCheck(self.engines.orders(role)?))];
        if role == Role::Worker {
            checks.push(Arc::new(PaymentsCheck(self.engines.payments()?)));
        }
        checks.extend(self.health.iter().cloned());
        let (ambient, stop) = (self.ambient.clone(), self.stop.orderly.clone());
        self.serve(listener, api::health_app(Readiness::new(checks, ambient, stop)));
        Ok(())
    }

    /// Waits for the stop, or for a role that ends unasked, and stops the rest in order.
    pub(crate) async fn until_stopped(mut self) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        while let Some(ended) = self.running.join_next().await {
            let ended = ended.context("a role panicked").and_then(|result| result);
            if !self.stop.orderly.is_cancelled() {
                self.stop.orderly.cancel();
                outcome = ended.and(Err(anyhow::anyhow!("a role ended unasked")));
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
        let (asked, limits) = (self.stop.orderly.clone(), settings::server_limits(&self.config.server));
        self.running.spawn(async move { Ok(api::run(listener, app, asked, limits).await?) });
    }

    fn environment(&self) -> anyhow::Result<Env> {
        let provider = Provider::choose(&self.config.payments, self.sandbox.as_ref())?;
        Ok(Env::new(Parts {
            orders: self.engines.orders(Role::Worker)?,
            payments: self.engines.payments()?,
            provider: Arc::new(provider.connect(self.config.payments.timeout, self.ambient)?),
            mailer: mail::mailer(&self.config.mail, &self.engines.folder)?,
            webhooks: WebhookSender::new(settings::url_policy(self.config), self.ambient.clone())?,
            ambient: self.ambient.clone(),
            worker: self.name.clone(),
        }))
    }
}
