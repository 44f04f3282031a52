//! Role of the relay: publishes the outbox.

use workers::relay::Relay;

use super::Roles;
use crate::{
    health::{self, Checks},
    metrics::register_relay,
};

impl Roles<'_> {
    pub(crate) fn relay(&mut self, (relay, checks): (Relay, Checks)) {
        self.stores.extend(checks);
        self.health.push(health::relay(relay.health.subscribe(), self.without));
        register_relay(&self.metrics, &relay.health.subscribe());
        let asked = self.shutdown();
        self.spawn(async move { relay.run(asked).await });
    }
}
