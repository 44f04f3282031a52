//! Sandbox provider: run by this process, or configured elsewhere.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::Context;
use base::Ambient;
use secrecy::{ExposeSecret, SecretString};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use url::Url;
use workers::provider::{
    sandbox_client::{SandboxConfig, SandboxProvider},
    sandbox_server::SandboxServer,
};

use crate::config::{Payments, ProviderKind};

pub(crate) struct Sandbox {
    provider: Provider,
    task: JoinHandle<std::io::Result<()>>,
    asked: CancellationToken,
}

/// URL of a sandbox provider, and its API key.
#[derive(Clone)]
pub(crate) struct Provider {
    url: Url,
    key: SecretString,
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
        Ok(Self { provider: Provider { url, key }, task, asked })
    }

    pub(crate) fn ledger_url(&self) -> String {
        format!("{}v1/ledger", self.provider.url)
    }

    /// The API key it requires.
    pub(crate) fn key(&self) -> &str {
        self.provider.key.expose_secret()
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.asked.cancel();
        self.task.await.context("the sandbox provider panicked")?.context("the sandbox provider failed")
    }
}

impl Provider {
    /// The ledger that an audit can read; none if another provider is in use or no sandbox is known.
    pub(crate) fn with_books(
        payments: &Payments,
        sandbox: Option<&Sandbox>,
        ambient: &Ambient,
    ) -> anyhow::Result<Option<SandboxProvider>> {
        let chosen = match payments.provider {
            ProviderKind::Sandbox => Self::choose(payments, sandbox).ok(),
            ProviderKind::Stripe => None,
        };
        chosen.map(|provider| provider.connect(payments.timeout, ambient)).transpose()
    }

    /// The configured sandbox, else the sandbox of this process.
    pub(crate) fn choose(payments: &Payments, sandbox: Option<&Sandbox>) -> anyhow::Result<Self> {
        let configured =
            payments.provider_url.clone().map(|url| Self { url, key: payments.provider_key.clone() });
        configured.or_else(|| sandbox.map(|sandbox| sandbox.provider.clone())).context(
            "payments.provider_url must be set for workers started apart (`orderworks sandbox` runs one)",
        )
    }

    pub(crate) fn connect(self, timeout: Duration, ambient: &Ambient) -> anyhow::Result<SandboxProvider> {
        let config = SandboxConfig { url: self.url, api_key: self.key, timeout };
        Ok(SandboxProvider::new(config, ambient.clone())?)
    }
}
