//! The roles of the embedded mode, started together and stopped in order; the order stands in [`crate::commands`].

use std::{num::NonZeroU32, sync::Arc};

use anyhow::Context;
use api::{ApiConfig, ApiParts, ApiState, CheckoutLimits, ServerLimits};
use base::Ambient;
use jobs::{
    engine::QueueSpec,
    recorder::{Recorder, RecorderConfig},
    worker::Workers,
};
use secrecy::SecretString;
use store::webhook_url::UrlPolicy;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use workers::{
    Env, Parts,
    provider::{
        sandbox_client::{SandboxConfig, SandboxProvider},
        sandbox_server::SandboxServer,
    },
    relay::Relay,
    webhook::WebhookSender,
};

use crate::{
    config::{self, Config},
    embedded::Embedded,
    health::{RelayCheck, WorkersCheck},
    housekeeping, mail,
    signals::Stop,
};

/// Names the one process of the embedded mode in leases and records. The same over restarts, so that the relay takes
/// up its own messages at once.
const NAME: &str = "embedded";

/// Everything that runs.
pub(crate) struct Roles {
    pub(crate) ledger_url: String,
    running: JoinSet<anyhow::Result<()>>,
    provider: tokio::task::JoinHandle<std::io::Result<()>>,
    provider_stop: CancellationToken,
    recorder: Recorder,
}

impl Roles {
    pub(crate) async fn start(
        config: &Config,
        files: &Embedded,
        listener: TcpListener,
        ambient: &Ambient,
        stop: &Stop,
    ) -> anyhow::Result<Self> {
        let provider_stop = CancellationToken::new();
        let sandbox = Sandbox::start(files, ambient, provider_stop.clone()).await?;
        let recorder = Recorder::spawn(
            Arc::new(files.queue.records()),
            RecorderConfig { default_level: config.records.level, ..RecorderConfig::default() },
        );
        let env = environment(config, files, &sandbox, ambient)?;
        let queue: Arc<dyn jobs::Engine> = Arc::new(files.queue.clone());
        // Before anything runs: the relay may be first to publish, and a stop may come before the workers' own turn.
        let queues: Vec<_> = config.workers.queues.iter().map(|(name, _)| QueueSpec::new(name)).collect();
        queue.declare(&queues).await?;
        let workers = pool(config, env, Arc::clone(&queue), recorder.clone(), ambient, stop)?;
        let relay = Relay::new(Arc::new(files.orders.clone()), queue, ambient.clone(), NAME);
        let checks: Vec<Arc<dyn api::HealthCheck>> =
            vec![Arc::new(RelayCheck(relay.health.subscribe())), Arc::new(WorkersCheck(workers.health()))];
        let state = ApiState::new(
            ApiParts {
                orders: Arc::new(files.orders.clone()),
                payments: Arc::new(files.payments.clone()),
                records: Arc::new(files.queue.records()),
                ambient: ambient.clone(),
                health: checks,
                shutdown: stop.orderly.clone(),
            },
            api_config(config),
        );
        let mut running = JoinSet::new();
        let asked = stop.orderly.clone();
        let limits = server_limits(&config.server);
        running.spawn(async move { Ok(api::run(listener, api::app(state), asked, limits).await?) });
        let asked = stop.orderly.clone();
        running.spawn(async move {
            relay.run(asked).await;
            Ok(())
        });
        let asked = stop.orderly.clone();
        running.spawn(async move { Ok(workers.run(asked).await?) });
        running.spawn(keep_house(config, files, ambient, stop));
        Ok(Self {
            ledger_url: sandbox.ledger_url(),
            running,
            provider: sandbox.task,
            provider_stop,
            recorder,
        })
    }

    /// Waits for the stop, or for a role that ends unasked, and stops the rest in order.
    pub(crate) async fn until_stopped(mut self, stop: &Stop) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        while let Some(ended) = self.running.join_next().await {
            let ended = ended.context("a role panicked").and_then(|result| result);
            if !stop.orderly.is_cancelled() {
                stop.orderly.cancel();
                outcome = ended.and(Err(anyhow::anyhow!("a role ended unasked")));
            } else if outcome.is_ok() {
                outcome = ended;
            }
        }
        self.provider_stop.cancel();
        self.provider.await.context("the sandbox provider panicked")??;
        self.recorder.close().await;
        outcome
    }
}

/// The sandbox provider, a server of its own inside this process.
struct Sandbox {
    url: String,
    api_key: SecretString,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Sandbox {
    async fn start(files: &Embedded, ambient: &Ambient, stop: CancellationToken) -> anyhow::Result<Self> {
        // Known to this process only: the ledger is read without it.
        let api_key = SecretString::from(ambient.uuid().to_string());
        let server =
            SandboxServer::open(&files.folder.join("provider.db"), api_key.clone(), ambient.clone()).await?;
        let listener =
            TcpListener::bind(("127.0.0.1", 0)).await.context("cannot listen for the sandbox provider")?;
        let url = format!("http://{}", listener.local_addr()?);
        let task = tokio::spawn(server.run(listener, stop.cancelled_owned()));
        Ok(Self { url, api_key, task })
    }

    fn ledger_url(&self) -> String {
        format!("{}/v1/ledger", self.url)
    }
}

fn environment(
    config: &Config,
    files: &Embedded,
    sandbox: &Sandbox,
    ambient: &Ambient,
) -> anyhow::Result<Env> {
    let provider = SandboxConfig {
        url: sandbox.url.parse()?,
        api_key: sandbox.api_key.clone(),
        timeout: config.payments.timeout,
    };
    Ok(Env::new(Parts {
        orders: Arc::new(files.orders.clone()),
        payments: Arc::new(files.payments.clone()),
        provider: Arc::new(SandboxProvider::new(provider, ambient.clone())?),
        mailer: mail::mailer(&config.mail, &files.folder)?,
        webhooks: WebhookSender::new(url_policy(config), ambient.clone())?,
        ambient: ambient.clone(),
        worker: NAME.to_owned(),
    }))
}

fn pool(
    config: &Config,
    env: Env,
    queue: Arc<dyn jobs::Engine>,
    recorder: Recorder,
    ambient: &Ambient,
    stop: &Stop,
) -> anyhow::Result<Workers<Env>> {
    let registry = Arc::new(workers::registry()?);
    let pool = Workers::new(queue, registry, env, ambient.clone())
        .name(NAME)
        .recorder(recorder)
        .lease(config.workers.lease)
        .drain_timeout(config.workers.drain)
        .abort(stop.now.clone());
    let queues = config.workers.queues.iter();
    Ok(queues.fold(pool, |pool, (name, concurrency)| pool.queue(name, *concurrency)))
}

fn keep_house(
    config: &Config,
    files: &Embedded,
    ambient: &Ambient,
    stop: &Stop,
) -> impl Future<Output = anyhow::Result<()>> + use<> {
    let (orders, records) = (Arc::new(files.orders.clone()), Arc::new(files.queue.records()));
    let (keep, ambient, stop) = (config.records.keep, ambient.clone(), stop.orderly.clone());
    async move {
        housekeeping::run(orders, records, keep, ambient, stop).await;
        Ok(())
    }
}

fn url_policy(config: &Config) -> UrlPolicy {
    UrlPolicy { allow_loopback: config.webhooks.allow_loopback }
}

fn api_config(config: &Config) -> ApiConfig {
    let at_least_one = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    ApiConfig {
        checkout: CheckoutLimits {
            per_key_per_second: at_least_one(config.checkout.per_key_per_second),
            per_ip_per_second: at_least_one(config.checkout.per_ip_per_second),
            burst: at_least_one(config.checkout.burst),
        },
        webhook_urls: url_policy(config),
        trusted_proxies: config.server.trusted_proxies.clone(),
        ..ApiConfig::default()
    }
}

fn server_limits(server: &config::Server) -> ServerLimits {
    ServerLimits {
        connections_max: server.connections_max,
        drain_timeout: server.drain,
        ..ServerLimits::default()
    }
}
