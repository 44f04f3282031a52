//! Role of the relay: publishes the outbox.

use prometheus_client::{encoding::EncodeMetric as _, metrics::counter::ConstCounter};
use workers::relay::Relay;

use super::Roles;
use crate::health::{self, Checks};

impl Roles<'_> {
    pub(crate) fn relay(&mut self, (relay, checks): (Relay, Checks)) {
        self.stores.extend(checks);
        self.health.push(health::relay(relay.health.subscribe(), self.without));
        let health = relay.health.subscribe();
        let help = "Times that a message of the outbox was set aside, as this relay cannot read it";
        self.metrics.counter("outbox_set_aside", help, move |encoder| {
            ConstCounter::new(health.borrow().set_aside).encode(encoder)
        });
        let asked = self.shutdown();
        self.spawn(async move { relay.run(asked).await });
    }
}
