//! Errors of an audit.

use jobs::engine::EngineError;
use store::StoreError;

use crate::provider::ProviderError;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("the provider's ledger cannot be read")]
    Provider(#[from] ProviderError),
}
