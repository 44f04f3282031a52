//! Wake-up channels of waiting consumers.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use tokio::sync::watch;

/// One wake-up channel per queue. A watch channel rather than a `Notify`: a consumer that was busy at the time still
/// sees the wake-up.
#[derive(Default)]
pub(super) struct Wakes {
    bells: Mutex<HashMap<String, watch::Sender<()>>>,
}

impl Wakes {
    pub(super) fn subscribe(&self, queue: &str) -> watch::Receiver<()> {
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        bells.entry(queue.to_owned()).or_default().subscribe()
    }

    pub(super) fn wake(&self, queue: &str) {
        if let Some(bell) = self.bells.lock().unwrap_or_else(PoisonError::into_inner).get(queue) {
            bell.send_replace(());
        }
    }

    pub(super) fn wake_all(&self) {
        for bell in self.bells.lock().unwrap_or_else(PoisonError::into_inner).values() {
            bell.send_replace(());
        }
    }
}
