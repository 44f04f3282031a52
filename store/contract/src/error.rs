//! Errors of the stores. Business outcomes (out of stock, key reused) are values, not errors.

use base::{ErrorClass, error_class::describe};

/// What a store answers.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// The cause of a [`StoreError`].
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A store gave no answer. The variants are those of [`ErrorClass`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The server or file cannot be reached now. Whether a write took effect is unknown: repeat it, every method
    /// is idempotent by its ids.
    #[error("the {store} store is unavailable")]
    Unavailable {
        /// `order`, `payment`, …
        store: &'static str,
        /// What the server or driver said.
        #[source]
        source: Cause,
    },
    /// A timeout, a lost conflict or an exhausted pool; repeat it as with [`StoreError::Unavailable`].
    #[error("the {store} store is busy")]
    Busy {
        store: &'static str,
        #[source]
        source: Cause,
    },
    /// A mistake in a statement, the schema or a permission; repeating it does not help.
    #[error("the {store} store does not work as this release expects")]
    Defect {
        store: &'static str,
        #[source]
        source: Cause,
    },
    /// Stored data does not read back: damage from outside, or a defect when it was written.
    #[error("the {store} store holds corrupt data: {detail}")]
    Corrupt {
        store: &'static str,
        /// The row and column.
        detail: String,
    },
}

impl StoreError {
    /// The variant of this class; a cause of class [`ErrorClass::Corrupt`] becomes its text.
    pub fn new(class: ErrorClass, store: &'static str, source: impl Into<Cause>) -> Self {
        let source = source.into();
        match class {
            ErrorClass::Unavailable => Self::Unavailable { store, source },
            ErrorClass::Busy => Self::Busy { store, source },
            ErrorClass::Defect => Self::Defect { store, source },
            ErrorClass::Corrupt => Self::Corrupt { store, detail: describe(source.as_ref()) },
        }
    }

    /// What follows from it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unavailable { .. } => ErrorClass::Unavailable,
            Self::Busy { .. } => ErrorClass::Busy,
            Self::Defect { .. } => ErrorClass::Defect,
            Self::Corrupt { .. } => ErrorClass::Corrupt,
        }
    }
}
