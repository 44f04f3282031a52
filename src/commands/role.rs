//! Commands `worker`, `api`, `relay`, `scheduler`: one role per process, any number of processes; and `sandbox`.

use std::{net::SocketAddr, path::Path};

use anyhow::Context;
use api::HealthStatus;
use base::Ambient;
use tokio::net::TcpListener;

use crate::{
    cli::{ApiArgs, HealthArgs, SandboxArgs, WorkerArgs},
    config::Config,
    output,
    roles::Roles,
    sandbox::Sandbox,
    signals::Stop,
    wiring::{Engines, Role},
};

pub(super) async fn worker(args: WorkerArgs, mut config: Config) -> anyhow::Result<()> {
    if !args.queues.is_empty() {
        config.workers.queues = args.queues;
    }
    alone(&config, Role::Worker, args.health.health, async |roles| {
        roles.declare_queues().await?;
        roles.workers()
    })
    .await
}

pub(super) async fn relay(args: HealthArgs, config: Config) -> anyhow::Result<()> {
    alone(&config, Role::Relay, args.health, async |roles| {
        roles.declare_queues().await?;
        roles.relay()
    })
    .await
}

pub(super) async fn scheduler(args: HealthArgs, config: Config) -> anyhow::Result<()> {
    alone(&config, Role::Scheduler, args.health, async |roles| {
        roles.scheduler()?;
        roles.auditor()
    })
    .await
}

pub(super) async fn api(args: ApiArgs, config: Config) -> anyhow::Result<()> {
    let listener = listen(args.listen.unwrap_or(config.server.listen)).await?;
    alone(&config, Role::Api, args.health.health, async |roles| roles.api(listener)).await
}

/// Runs the sandbox provider until stopped.
pub(super) async fn sandbox(args: SandboxArgs, config: Config) -> anyhow::Result<()> {
    let stop = Stop::listen()?;
    let folder = &config.data.folder;
    std::fs::create_dir_all(folder)
        .with_context(|| format!("the data folder {} cannot be used", folder.display()))?;
    let key = Some(config.payments.provider_key.clone());
    let sandbox = Sandbox::start(args.listen, folder, key, &Ambient::system()).await?;
    output::text(&format!("sandbox provider ready; ledger: {}\n", sandbox.ledger_url()))?;
    stop.orderly.cancelled().await;
    sandbox.stop().await
}

/// Binds the listener; the error names the option that changes the address.
pub(super) async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let hint = || format!("cannot listen on {address}; choose another address with --listen");
    TcpListener::bind(address).await.with_context(hint)
}

async fn alone(
    config: &Config,
    role: Role,
    health: Option<SocketAddr>,
    start: impl AsyncFnOnce(&mut Roles<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (stop, ambient, name) = (Stop::listen()?, Ambient::system(), process_name());
    let health = match health {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let engines = Engines::open(config, &name, &ambient, &[role]).await?;
    let mut roles = Roles::new(config, &engines, &ambient, &stop, name, HealthStatus::Down);
    start(&mut roles).await?;
    if let Some(listener) = health {
        roles.health(listener, role)?;
    }
    roles.until_stopped().await
}

/// Host name and process id: unique among the processes of a deployment, and easy to find.
fn process_name() -> String {
    let host = std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}
