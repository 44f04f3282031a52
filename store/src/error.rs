//! What a store could not do. Business outcomes (out of stock, key reused) are values, not errors.

/// A store did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The server or file cannot be reached now. Whether a write took effect is unknown: repeat it, every method
    /// is idempotent by its ids.
    #[error("the {store} store is unavailable")]
    Unavailable {
        /// Which store.
        store: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Stored data does not read back; a defect or outside damage, named so that it can be found.
    #[error("the {store} store holds damaged data: {detail}")]
    Corrupt {
        /// Which store.
        store: &'static str,
        /// What and where.
        detail: String,
    },
}
