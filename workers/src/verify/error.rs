//! Errors of an audit.

use jobs::engine::EngineError;
use store::StoreError;

use crate::provider::ProviderError;

/// The audit could not be completed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The queue failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The provider's ledger cannot be read.
    #[error("the provider's ledger cannot be read")]
    Provider(#[from] ProviderError),
}
