//! Sandbox provider: run by this process, or configured elsewhere.

use std::{net::SocketAddr, path::Path};

use anyhow::Context;
use base::Ambient;
use secrecy::{ExposeSecret, SecretString};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use url::Url;
use workers::provider::{ClientConfig, sandbox_client::SandboxProvider, sandbox_server::SandboxServer};

use crate::config::Payments;

pub(crate) struct Sandbox {
    url: Url,
    key: SecretString,
    task: JoinHandle<std::io::Result<()>>,
    asked: CancellationToken,
}

impl Sandbox {
    /// Listens on `address` and keeps its ledger in `folder`. Without a key a random one is drawn, known to this
    /// process only.
    pub(crate) async fn start(
        address: SocketAddr,
        folder: &Path,
        key: Option<SecretString>,
        ambient: &Ambient,
    ) -> anyhow::Result<Self> {
        let key = key.unwrap_or_else(|| hex::encode(ambient.secret::<32>()).into());
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
        let server = SandboxServer::open(&folder.join("provider.db"), key.clone(), ambient.clone()).await?;
        let url = format!("http://{}", listener.local_addr()?).parse()?;
        let asked = CancellationToken::new();
        let task = tokio::spawn(server.run(listener, asked.clone().cancelled_owned()));
        Ok(Self { url, key, task, asked })
    }

    pub(crate) fn ledger_url(&self) -> String {
        format!("{}v1/ledger", self.url)
    }

    /// The API key it requires.
    pub(crate) fn key(&self) -> &str {
        self.key.expose_secret()
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.asked.cancel();
        self.task.await.context("the sandbox provider panicked")?.context("the sandbox provider failed")
    }
}

/// A client of the configured sandbox, else of the sandbox of this process.
pub(crate) fn connect(
    payments: &Payments,
    sandbox: Option<&Sandbox>,
    ambient: &Ambient,
) -> anyhow::Result<SandboxProvider> {
    let configured = payments.provider_url.clone().map(|url| (url, payments.provider_key.clone()));
    let known = configured.or_else(|| sandbox.map(|sandbox| (sandbox.url.clone(), sandbox.key.clone())));
    let (url, api_key) = known.context(
        "payments.provider_url must be set for workers started apart (`orderworks sandbox` runs one)",
    )?;
    let config = ClientConfig { url, key: api_key, timeout: payments.timeout };
    Ok(SandboxProvider::new(config, ambient.clone())?)
}
