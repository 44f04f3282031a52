//! Errors of the stores. Business outcomes (out of stock, key reused) are values, not errors.
//!
//! Errors that waiting does not help are counted for the whole process, where they are made: they pass through callers
//! of many kinds, and each of them is one too many.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use base::{ErrorClass, error_class::describe};

/// Defects by store. Locked for a moment by each error that ought not to exist; names of stores are literals, so there
/// are few.
static DEFECTS: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

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
            ErrorClass::Defect => {
                count_defect(store);
                Self::Defect { store, source }
            }
            ErrorClass::Corrupt => Self::corrupt(store, describe(source.as_ref())),
        }
    }

    /// [`Self::Corrupt`], with the row and column.
    pub fn corrupt(store: &'static str, detail: String) -> Self {
        count_defect(store);
        Self::Corrupt { store, detail }
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

/// Errors of the classes [`ErrorClass::Defect`] and [`ErrorClass::Corrupt`] since the start of the process, by store;
/// stores without one are left out.
pub fn defects() -> BTreeMap<&'static str, u64> {
    DEFECTS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn count_defect(store: &'static str) {
    *DEFECTS.lock().unwrap_or_else(PoisonError::into_inner).entry(store).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_no_waiting_helps_are_counted() {
        // A name of its own: the counts are those of the process.
        let store = "counted";
        for class in [ErrorClass::Unavailable, ErrorClass::Busy, ErrorClass::Defect, ErrorClass::Corrupt] {
            assert_eq!(StoreError::new(class, store, "why").class(), class);
        }
        assert_eq!(defects().get(store), Some(&2));
    }
}
