//! Command `dev`: every role in one process, with a demo shop and example requests.

use std::{net::SocketAddr, path::PathBuf, time::Instant};

use api::{DocsConfig, DocsKeys, HealthStatus, Origin, StorefrontConfig};
use base::Ambient;
use serde::{Deserialize, Serialize};

use super::role::{listen, listen_nearby};
use crate::{
    cli::DevArgs,
    config::Config,
    logging, output,
    roles::{Pages, Roles},
    sandbox::Sandbox,
    seed,
    signals::Stop,
    wiring::{Wiring, migrate},
};

/// Name of the process in leases and records. The same across restarts, so that the relay reclaims its own messages at
/// once.
const NAME: &str = "embedded";

/// Payment methods of the demo shop: a card that is accepted, one that is declined, and one that takes a while.
const PAYMENT_METHODS: [&str; 3] = ["pm_card_visa", "pm_card_chargeDeclined", "pm_sandbox_slow"];

/// Addresses and keys that a user, or a program reading `--json`, needs to start.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) url: String,
    pub(crate) publishable_key: String,
    pub(crate) secret_key: String,
    pub(crate) ledger_url: String,
    /// For separate workers that share this sandbox; the key of a provider without real money.
    pub(crate) provider_key: String,
    pub(crate) mail_folder: PathBuf,
    /// Signs in to the operations console, once.
    pub(crate) console_url: String,
    pub(crate) start_ms: u64,
}

pub(super) async fn run(args: DevArgs, mut config: Config, as_json: bool) -> anyhow::Result<()> {
    let began = Instant::now();
    // Log lines follow the text for people; they never stand within it.
    let quiet = (!as_json).then(logging::hold);
    let stop = Stop::listen()?;
    let ambient = Ambient::system();
    let listener = listen(args.listen.unwrap_or(config.listen)).await?;
    let address = listener.local_addr()?;
    let console_listener = listen_nearby(config.console.listen).await?;
    let console_address = console_listener.local_addr()?;
    // Receivers on this machine, for trying webhooks; only its own users can register them.
    config.api.webhook_urls.allow_loopback |= address.ip().is_loopback();
    if config.api.cors_origins.is_empty() && address.ip().is_loopback() {
        // For a storefront that is developed on another port.
        config.api.cors_origins = vec![Origin::any()];
    }
    if config.mail.storefront_url.is_empty() && address.ip().is_loopback() {
        // Mails about accounts lead to the pages of the demo shop.
        config.mail.storefront_url = format!("http://{address}");
    }
    // Files need no separate migration, so servers should not need one here either.
    Box::pin(migrate(&config.engines, &ambient)).await?;
    // Every part is open before any role runs; the queues are declared, because the relay may publish first.
    let wiring = Wiring::of_server(&config, NAME.to_owned(), &ambient)?;
    let api = wiring.api(stop.orderly.clone()).await?;
    let (worker, relay) = (wiring.worker().await?, wiring.relay().await?);
    let (scheduler, console) = (wiring.scheduler().await?, wiring.console().await?);
    let (orders, secret) = (api.orders.as_ref(), args.sec_key.as_ref());
    let keys = seed::demo_shop(orders, &config.folder, args.keys, secret, &ambient).await?;
    let sandbox =
        Sandbox::start(SocketAddr::from(([127, 0, 0, 1], 0)), &config.folder, None, &ambient).await?;
    let mut roles = Roles::new(&wiring, &stop, HealthStatus::Degraded);
    roles.workers(worker, Some(&sandbox)).await?;
    roles.relay(relay);
    roles.scheduler(scheduler, Some(&sandbox))?;
    let console = roles.console(console, console_listener);
    let is_local = address.ip().is_loopback();
    // Who reaches a form acts as the demo shop.
    let docs_keys = is_local.then(|| DocsKeys {
        publishable: keys.publishable.clone().into(),
        secret: keys.secret.clone().into(),
    });
    let docs = Some(DocsConfig { keys: docs_keys });
    let storefront = Some(demo_storefront(&keys.publishable));
    roles.api(api, listener, is_local, Pages { docs, storefront });
    let ready = Ready {
        url: format!("http://{address}"),
        publishable_key: keys.publishable,
        secret_key: keys.secret,
        ledger_url: sandbox.ledger_url(),
        provider_key: sandbox.key().to_owned(),
        mail_folder: std::path::absolute(config.folder.join("mail"))?,
        console_url: format!("http://{console_address}{}", console.sign_in_path("dev")),
        start_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    output::answer(as_json, &ready, || banner(&ready))?;
    drop(quiet);
    let outcome = roles.until_stopped().await;
    sandbox.stop().await?;
    outcome
}

/// Pages of the demo shop. Its payment methods are those of the sandbox.
fn demo_storefront(publishable_key: &str) -> StorefrontConfig {
    StorefrontConfig {
        name: seed::MERCHANT_NAME.to_owned(),
        key: publishable_key.into(),
        host: None,
        https: false,
        payment_methods: PAYMENT_METHODS.map(str::to_owned).to_vec(),
    }
}

fn banner(ready: &Ready) -> String {
    let Ready { url, publishable_key, secret_key, ledger_url, mail_folder, console_url, start_ms, .. } =
        ready;
    let mails = mail_folder.display();
    format!(
        r#"Orderworks is ready, after {start_ms} ms. Everything runs in this process.

  shop         {url}/
  API          {url}
  publishable  {publishable_key}
  secret       {secret_key}
  ledger       {ledger_url}
  mails        {mails}
  console      {console_url}
  reference    {url}/docs

The console shows what an order sets in motion, as it happens; the link signs in once.
Place an order, look at the orders, look at the catalog:

  curl -s {url}/v1/orders -H 'Authorization: Bearer {publishable_key}' \
    -H 'Content-Type: application/json' -H "Idempotency-Key: $(date +%s%N)" \
    -d '{{"customer":{{"email":"ada@example.com","name":"Ada"}},"currency":"EUR","items":[{{"sku":"CUP-ENAMEL","quantity":2}}],"payment_method":"pm_card_visa"}}'

  curl -s {url}/v1/orders -H 'Authorization: Bearer {secret_key}'

  curl -s '{url}/v1/products?category=kitchen' -H 'Authorization: Bearer {publishable_key}'

Ctrl-C stops in order; the next start goes on where this one stopped.
"#
    )
}
