//! Arrivals of messages on any shard, as one signal.

use std::sync::OnceLock;

use tokio::{sync::watch, task::AbortHandle};

use super::member::Member;
use crate::notify::bump;

/// The arrivals of all shards. Nothing is forwarded before the first subscription.
#[derive(Default)]
pub(super) struct MergedArrivals {
    arrivals: watch::Sender<u64>,
    tasks: OnceLock<Vec<AbortHandle>>,
}

impl MergedArrivals {
    pub(super) fn subscribe(&self, members: &[Member]) -> watch::Receiver<u64> {
        let forwarding =
            members.iter().map(|member| forward(member.primary.arrivals(), self.arrivals.clone()));
        self.tasks.get_or_init(|| forwarding.collect());
        self.arrivals.subscribe()
    }
}

impl Drop for MergedArrivals {
    fn drop(&mut self) {
        for task in self.tasks.get().into_iter().flatten() {
            task.abort();
        }
    }
}

/// Forwards arrivals until the shard's connections are dropped or the task is aborted.
fn forward(mut from: watch::Receiver<u64>, to: watch::Sender<u64>) -> AbortHandle {
    let forwarding = async move {
        while from.changed().await.is_ok() {
            bump(&to);
        }
    };
    tokio::spawn(forwarding).abort_handle()
}
