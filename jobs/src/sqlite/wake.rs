//! Wake-up channels of waiting consumers.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::watch;

/// One wake-up channel per queue. A watch channel rather than a `Notify`: a consumer that was busy at the time still
/// sees the wake-up.
#[derive(Default)]
pub(super) struct Wakes {
    channels: Mutex<HashMap<String, watch::Sender<()>>>,
}

impl Wakes {
    pub(super) fn subscribe(&self, queue: &str) -> watch::Receiver<()> {
        let mut channels = self.channels.lock();
        channels.entry(queue.to_owned()).or_default().subscribe()
    }

    pub(super) fn wake(&self, queue: &str) {
        if let Some(channel) = self.channels.lock().get(queue) {
            channel.send_replace(());
        }
    }

    pub(super) fn wake_all(&self) {
        for channel in self.channels.lock().values() {
            channel.send_replace(());
        }
    }
}
