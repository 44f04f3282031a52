//! Locking of mutexes without regard to poison.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex. Every critical section of this crate leaves its value intact, so a poisoned one may be used.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
