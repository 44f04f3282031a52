//! The value of one in-memory store, called over a link.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use store::{error::StoreError, rules::Damage};

use super::{Call, Link, Passage};

/// Whether the caller of a write still waits for its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timing {
    Awaited,
    Late,
}

/// The value and the link to it; clones share the value.
pub(super) struct Linked<S> {
    state: Arc<Mutex<S>>,
    link: Arc<dyn Link>,
    store: &'static str,
}

impl<S> Clone for Linked<S> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state), link: Arc::clone(&self.link), store: self.store }
    }
}

/// No answer came; whether the call took effect is unknown.
#[derive(Debug, thiserror::Error)]
#[error("no answer to `{0}`")]
struct Unanswered(&'static str);

impl<S: Send + 'static> Linked<S> {
    pub(super) fn new(store: &'static str, state: S, link: Arc<dyn Link>) -> Self {
        Self { state: Arc::new(Mutex::new(state)), link, store }
    }

    /// The same value over another link.
    pub(super) fn through(&self, link: Arc<dyn Link>) -> Self {
        Self { link, ..self.clone() }
    }

    /// Reads the value without a call, so without the link's failures.
    pub(super) fn look<T>(&self, see: impl FnOnce(&S) -> T) -> T {
        see(&lock(&self.state))
    }

    /// Changes the value without a call.
    pub(super) fn touch<T>(&self, change: impl FnOnce(&mut S) -> T) -> T {
        change(&mut lock(&self.state))
    }

    /// A call that changes nothing.
    pub(super) async fn read<T: Send>(
        &self,
        name: &'static str,
        see: impl FnOnce(&S) -> T + Send,
    ) -> Result<T, StoreError> {
        self.see(name, see, || None).await
    }

    /// A look-up by id.
    pub(super) async fn find<T: Send>(
        &self,
        name: &'static str,
        see: impl FnOnce(&S) -> Option<T> + Send,
    ) -> Result<Option<T>, StoreError> {
        self.see(name, see, || Some(None)).await
    }

    async fn see<T: Send>(
        &self,
        name: &'static str,
        see: impl FnOnce(&S) -> T + Send,
        astray: impl FnOnce() -> Option<T> + Send,
    ) -> Result<T, StoreError> {
        let call = Call { store: self.store, name, writes: false };
        let seen = match self.link.request(call).await {
            Passage::Arrives => Some(self.look(see)),
            Passage::Astray => astray(),
            Passage::Lost | Passage::Late(_) => None,
        };
        let seen = seen.ok_or_else(|| self.unanswered(name))?;
        if self.link.answer(call).await { Ok(seen) } else { Err(self.unanswered(name)) }
    }

    /// A call that changes the value completely or, when it fails, not at all.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        name: &'static str,
        effect: impl FnOnce(&mut S, Timing) -> Result<T, Damage> + Send + 'static,
    ) -> Result<T, StoreError> {
        let call = Call { store: self.store, name, writes: true };
        match self.link.request(call).await {
            Passage::Arrives => {}
            Passage::Lost | Passage::Astray => return Err(self.unanswered(name)),
            Passage::Late(delay) => {
                let state = Arc::clone(&self.state);
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    // The caller has its error already; the result has no receiver.
                    drop(effect(&mut lock(&state), Timing::Late));
                });
                return Err(self.unanswered(name));
            }
        }
        let done = self.touch(|state| effect(state, Timing::Awaited));
        let done = done.map_err(|Damage(detail)| StoreError::corrupt(self.store, detail))?;
        if self.link.answer(call).await { Ok(done) } else { Err(self.unanswered(name)) }
    }

    fn unanswered(&self, name: &'static str) -> StoreError {
        StoreError::Unavailable { store: self.store, source: Box::new(Unanswered(name)) }
    }
}

/// Ignores poisoning: a panic under the lock fails the simulation anyway.
fn lock<S>(state: &Mutex<S>) -> MutexGuard<'_, S> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
