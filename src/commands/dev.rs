//! `dev`: every role in one process on SQLite, with a demo shop and what to try next.
//!
//! Stop order: the API answers what is open and takes nothing new, the relay leaves, the workers drain; then the
//! sandbox provider (a draining charge still needs it), then the attempt log is written out. A role that ends unasked
//! stops the whole: a shop that takes orders and charges nobody is worse than one that is down.

use std::{net::SocketAddr, path::PathBuf, time::Instant};

use anyhow::Context;
use base::Ambient;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::{
    cli::DevArgs, config::Config, embedded::Embedded, output, roles::Roles, seed, seed::DemoKeys,
    signals::Stop,
};

/// What a user, or a program reading `--json`, needs to begin.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) url: String,
    pub(crate) publishable_key: String,
    pub(crate) secret_key: String,
    pub(crate) ledger_url: String,
    pub(crate) mail_folder: PathBuf,
    pub(crate) start_ms: u64,
}

pub(super) async fn run(args: DevArgs, config: Config, as_json: bool) -> anyhow::Result<()> {
    let began = Instant::now();
    let stop = Stop::listen()?;
    let ambient = Ambient::system();
    let listener = listen(args.listen.unwrap_or(config.server.listen)).await?;
    let address = listener.local_addr()?;
    let files = Embedded::open(&config.data.folder, &ambient).await?;
    let keys = DemoKeys::settle(&files.folder, args.pub_key, args.sec_key)?;
    seed::demo_shop(&files.orders, &keys, &ambient).await?;
    let roles = Roles::start(&config, &files, listener, &ambient, &stop).await?;
    let ready = Ready {
        url: format!("http://{address}"),
        publishable_key: keys.publishable,
        secret_key: keys.secret,
        ledger_url: roles.ledger_url.clone(),
        mail_folder: std::path::absolute(files.folder.join("mail"))?,
        start_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    if as_json {
        output::json(&ready)?;
    } else {
        output::text(&banner(&ready))?;
    }
    roles.until_stopped(&stop).await
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let hint = || format!("cannot listen on {address}; choose another address with --listen");
    TcpListener::bind(address).await.with_context(hint)
}

fn banner(ready: &Ready) -> String {
    let Ready { url, publishable_key, secret_key, ledger_url, mail_folder, start_ms } = ready;
    let mails = mail_folder.display();
    format!(
        r#"Orderworks is ready, after {start_ms} ms. Everything runs in this process.

  API          {url}
  publishable  {publishable_key}
  secret       {secret_key}
  ledger       {ledger_url}
  mails        {mails}

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
