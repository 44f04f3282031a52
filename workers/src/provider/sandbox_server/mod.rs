//! Sandbox provider: a real HTTP server with a durable ledger of its own, so that tests about money hold over process
//! boundaries and restarts.
//!
//! Guarantees: an idempotency key takes effect once and gets the same bytes ever after; another body under it is
//! rejected with 422; the ledger is written before the answer. Does not know cards, people or merchants.
//!
//! | payment method | result |
//! |---|---|
//! | `pm_card_visa` | captured |
//! | `pm_card_chargeDeclined`, `pm_card_chargeDeclinedInsufficientFunds` | declined |
//! | `pm_sandbox_slow` | captured after two seconds |
//! | `pm_sandbox_timeout` | captured, but the first call is never answered |
//! | `pm_sandbox_flaky` | 503 twice per key, then captured |
//! | anything else | declined with `invalid_payment_method` |

mod books;
mod inner;
mod ledger;
mod routes;

use std::{future::Future, io, path::Path, sync::Arc};

use base::{
    Ambient,
    sqlite::{Database, OpenError},
};
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use books::{CurrencySum, Entry, Summary};
use inner::SandboxInner;

const READERS_MAX: u32 = 2;

/// A sandbox server with its open ledger; clones share it.
#[derive(Clone)]
pub struct SandboxServer(Arc<SandboxInner>);

impl SandboxServer {
    /// Opens (or creates) the ledger file. Callers must send `api_key` as bearer token.
    pub async fn open(ledger: &Path, api_key: SecretString, ambient: Ambient) -> Result<Self, OpenError> {
        let migrations = base::migrations!("../migrations/sqlite/provider", ["0001_ledger"]);
        let database = Database::open(ledger, &migrations, READERS_MAX).await?;
        Ok(Self(Arc::new(SandboxInner { database, api_key, ambient, stopping: CancellationToken::new() })))
    }

    /// Serves until `shutdown` completes, then finishes the running calls.
    pub async fn run(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let stopping = self.0.stopping.clone();
        axum::serve(listener, routes::router(self.0))
            .with_graceful_shutdown(async move {
                shutdown.await;
                stopping.cancel();
            })
            .await
    }
}
