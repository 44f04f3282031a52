//! Role of the relay: publishes the outbox.

use std::sync::Arc;

use super::Roles;
use crate::{health, metrics::register_relay, wiring::RelayParts};

impl Roles<'_> {
    pub(crate) fn relay(&mut self, parts: RelayParts) {
        let RelayParts { relay, queue, store, checks } = parts;
        self.stores.extend(checks);
        self.health.push(health::relay(relay.health.subscribe(), self.without));
        register_relay(&self.metrics, &relay.health.subscribe());
        self.show_queues(queue, store);
        self.show_outbox(Arc::clone(&relay.store));
        let asked = self.shutdown();
        self.spawn(async move { relay.run(asked).await });
    }
}
