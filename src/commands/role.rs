//! Commands `worker`, `api`, `relay`, `scheduler`, `console`: one role per process, any number of processes; and
//! `sandbox`.

use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use api::HealthStatus;
use base::Ambient;
use store::OrderStore;
use tokio::net::TcpListener;

use crate::{
    cli::{ApiArgs, ConsoleArgs, HealthArgs, SandboxArgs, WorkerArgs},
    config::Config,
    output,
    roles::{Pages, Roles},
    sandbox::Sandbox,
    seed::DEMO_MERCHANT,
    signals::Stop,
    wiring::{Wiring, create_folder},
};

/// Longest statement of a console on PostgreSQL: a page is never worth more of a server that takes orders.
const CONSOLE_STATEMENT_MAX: Duration = Duration::from_millis(500);

pub(super) async fn worker(args: WorkerArgs, mut config: Config) -> anyhow::Result<()> {
    if !args.queues.is_empty() {
        config.workers.queues = args.queues;
    }
    alone(&config, args.health.health, async |roles, wiring| {
        roles.workers(wiring.worker().await?, None).await
    })
    .await
}

pub(super) async fn relay(args: HealthArgs, config: Config) -> anyhow::Result<()> {
    alone(&config, args.health, async |roles, wiring| {
        roles.relay(wiring.relay().await?);
        Ok(())
    })
    .await
}

pub(super) async fn scheduler(args: HealthArgs, config: Config) -> anyhow::Result<()> {
    alone(&config, args.health, async |roles, wiring| roles.scheduler(wiring.scheduler().await?, None)).await
}

pub(super) async fn api(args: ApiArgs, config: Config) -> anyhow::Result<()> {
    let listener = listen(args.listen.unwrap_or(config.listen)).await?;
    alone(&config, args.health.health, async |roles, wiring| {
        let parts = wiring.api(roles.shutdown()).await?;
        // Beside the start, which no store may hold up.
        tokio::spawn(warn_of_demo_shop(Arc::clone(&parts.orders)));
        roles.api(parts, listener, false, Pages::default());
        Ok(())
    })
    .await
}

/// The console changes nothing by itself, so it may run beside the servers of a folder.
pub(super) async fn console(args: ConsoleArgs, mut config: Config) -> anyhow::Result<()> {
    if config.console.config.tokens.is_empty() {
        bail!("no sign-in would be possible: set console.tokens, see `orderworks config show --defaults`");
    }
    config.engines.bound_statements(CONSOLE_STATEMENT_MAX);
    let listener = listen(args.listen.unwrap_or(config.console.listen)).await?;
    let ambient = Ambient::system();
    let wiring = Wiring::beside(&config, process_name(), &ambient);
    run(&wiring, args.health.health, async |roles, wiring| {
        roles.console(wiring.console().await?, listener);
        Ok(())
    })
    .await
}

pub(super) async fn sandbox(args: SandboxArgs, config: Config) -> anyhow::Result<()> {
    let stop = Stop::listen()?;
    let folder = &config.folder;
    create_folder(folder)?;
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

/// Binds the listener, or any port of its address where another process has the port.
pub(super) async fn listen_nearby(address: SocketAddr) -> anyhow::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            listen(SocketAddr::new(address.ip(), 0)).await
        }
        bound => bound.with_context(|| format!("cannot listen on {address}; set console.listen")),
    }
}

/// Runs one role of a server over its folder.
async fn alone(
    config: &Config,
    health: Option<SocketAddr>,
    start: impl AsyncFnOnce(&mut Roles<'_>, &Wiring<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let ambient = Ambient::system();
    let wiring = Wiring::of_server(config, process_name(), &ambient)?;
    run(&wiring, health, start).await
}

/// Opens the parts of one role and runs it until stopped.
async fn run(
    wiring: &Wiring<'_>,
    health: Option<SocketAddr>,
    start: impl AsyncFnOnce(&mut Roles<'_>, &Wiring<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let stop = Stop::listen()?;
    let health = match health {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let mut roles = Roles::new(wiring, &stop, HealthStatus::Down);
    start(&mut roles, wiring).await?;
    // A role that cannot start says why, and nothing else.
    for (setting, why) in wiring.config.development_settings() {
        tracing::warn!(setting, why, "development setting in force");
    }
    if let Some(listener) = health {
        roles.health(listener);
    }
    roles.until_stopped().await
}

/// A store that cannot be read now is not asked again: each start asks.
async fn warn_of_demo_shop(orders: Arc<dyn OrderStore>) {
    if let Ok(Some(_)) = orders.merchant_name(DEMO_MERCHANT).await {
        let why = "its merchant is in the order store";
        tracing::warn!(setting = "demo shop", why, "development setting in force");
    }
}

/// Host name and process id: unique among the processes of a deployment, and easy to find.
fn process_name() -> String {
    let host = std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}
